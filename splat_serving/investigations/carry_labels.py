"""Labels moved to a retrained SAE: each goes to the feature whose activations agree with the old one's, or is reported lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.text.wording import counted, visible
from splat_serving.investigations.subject import Subject
from splat_serving.labels.correlations import nearest_features
from splat_serving.labels.event import Event, LabelFields

LEAST_R = 0.7
_CARRIED = "carried from feature"


@dataclass(frozen=True, slots=True)
class Carried:
    """The outcome for one label. new: the new feature, None if the label is lost. r: correlation with the nearest new feature
    over all samples, zeros included; None if the old feature never fires. why: the reason of a loss."""

    old: int
    new: int | None
    r: float | None
    nearest: int | None
    text: str
    why: str = ""


def match_labels(
    old: Subject, new: Subject, least_r: float = LEAST_R, step: Callable[[int, int], None] = lambda done, all_: None
) -> list[Carried]:
    """Where each label of the old SAE belongs in the new one: the mutually nearest feature with a correlation of least_r or more.

    Of old features that are equally near to a new one the first wins; a label that a new feature already has stays.
    Raises FingerprintMismatchError when the two were run over other data, InputError when they have other numbers of samples or
    are the same SAE.
    """
    _refuse_unless_comparable(old, new)
    current = old.labels.current()
    features = sorted(current)
    nearest = nearest_features(old.database, new.database, features, step)
    taken = {feature for feature, event in new.labels.current().items() if not _is_carried(event)}
    matches = []
    for row, feature in enumerate(features):
        label = current[feature].label
        assert label is not None
        candidate, r = int(nearest.left[row]), float(nearest.left_r[row])
        if r <= 0 and not old.feature(feature).n_active:
            matches.append(Carried(feature, None, None, None, label.text, "the old feature never fires"))
            continue
        best = int(nearest.right[candidate])
        why = ""
        if r < least_r:
            why = f"no new feature correlates with it at {least_r:g} or more"
        elif best != row:
            nearer = "nearer" if nearest.right_r[candidate] > r else "as near"
            why = f"feature {candidate} is {nearer} to old feature {features[best]}"
        elif candidate in taken:
            why = f"feature {candidate} already has a label of its own"
        matches.append(Carried(feature, None if why else candidate, r, candidate, label.text, why))
    return matches


def carry_labels(old: Subject, new: Subject, matches: Sequence[Carried], author: str | None) -> int:
    """Write the labels that have a place, each with its old author, feature and SAE as its origin; returns how many.

    All are checked before one is written: InputError names a feature whose old label could not be written today.
    """
    current, sae = old.labels.current(), str(old.about.provenance.get("sae", ""))[:12]
    prepared = []
    for match in matches:
        event = current[match.old]
        if match.new is None or event.label is None:
            continue
        origin = f"{_CARRIED} {match.old} of SAE {sae} (r = {match.r:.3f}); by {visible(event.author)}, {event.at}"
        fields = LabelFields(**{**event.label.model_dump(), "origin": origin})
        before = new.labels.label(match.new)
        if before is None or before.label != fields:
            try:
                prepared.append(new.labels.prepared("label", match.new, author, label=fields))
            except InputError as error:
                raise InputError(
                    f"the label of old feature {match.old}: {error}; nothing was carried, set it again first"
                ) from error
    for event_to_write in prepared:
        new.labels.write(event_to_write)
    return len(prepared)


def _is_carried(event: Event) -> bool:
    return event.label is not None and event.label.origin.startswith(_CARRIED)


def _refuse_unless_comparable(old: Subject, new: Subject) -> None:
    for name in ("data", "vocabulary", "contexts"):
        here, there = str(old.about.provenance.get(name)), str(new.about.provenance.get(name))
        if here != there:
            raise FingerprintMismatchError(
                f"the {name} of {new.source}",
                here,
                there,
                f"labels are carried between SAEs run over the same data as {old.source}",
            )
    if old.n_samples != new.n_samples:
        raise InputError(
            f"{old.source} has {counted(old.n_samples, 'samples')} and {new.source} {new.n_samples:,}: labels are "
            "carried between SAEs that were run over the same samples"
        )
    if old.about.provenance.get("sae") == new.about.provenance.get("sae"):
        raise InputError(f"{old.source} and {new.source} have the same SAE: their labels are the same already")
