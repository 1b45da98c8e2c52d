"""Labels moved to a retrained SAE: each goes to the feature whose activations agree with the old one's, or is reported lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.similarity import inverse_spread, pearson
from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_serving.database import ActivationDatabase
from splat_serving.investigations.subject import Subject
from splat_serving.labels.event import Event, LabelFields

LEAST_R = 0.7
_BLOCK = 2_048
_CARRIED = "carried from feature"


@dataclass(frozen=True, slots=True)
class Carried:
    """What becomes of one label. new: the new feature, None where it is lost. r: correlation with the nearest new feature over
    all samples, zeros included; None where the old feature never fires. why: it is lost."""

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

    Of old features that are equally near to a new one the first has it; a label that people gave a new feature stays.
    Raises FingerprintMismatchError when the two were run over other data, InputError when they have other numbers of samples or
    are the same SAE.
    """
    _refuse_unless_comparable(old, new)
    current = old.labels.current()
    features = sorted(current)
    r = correlations(old, new, features, step)
    taken = {feature for feature, event in new.labels.current().items() if not _is_carried(event)}
    found = []
    for row, feature in enumerate(features):
        label = current[feature].label
        assert label is not None
        nearest = int(r[row].argmax()) if r.shape[1] else -1
        value = float(r[row, nearest]) if nearest >= 0 else 0.0
        if not old.feature(feature).n_active:
            found.append(Carried(feature, None, None, None, label.text, "it never fires"))
            continue
        best = int(r[:, nearest].argmax())
        why = ""
        if value < least_r:
            why = f"no new feature correlates with it at {least_r:g} or more"
        elif best != row:
            nearer = "nearer" if r[best, nearest] > value else "as near"
            why = f"feature {nearest} is {nearer} to old feature {features[best]}"
        elif nearest in taken:
            why = f"feature {nearest} has a label already that was not carried"
        found.append(Carried(feature, None if why else nearest, value, nearest, label.text, why))
    return found


def carry_labels(old: Subject, new: Subject, matches: Sequence[Carried], author: str) -> int:
    """Write the labels that have a place, each with its old author, feature and SAE as its origin; returns how many."""
    current, sae, written = old.labels.current(), str(old.about.provenance.get("sae", ""))[:12], 0
    for match in matches:
        event = current[match.old]
        if match.new is None or event.label is None:
            continue
        origin = f"{_CARRIED} {match.old} of SAE {sae} (r = {match.r:.3f}); by {event.author}, {event.at}"
        fields = LabelFields(**{**event.label.model_dump(), "origin": origin})
        before = new.labels.label(match.new)
        if before is None or before.label != fields:
            new.labels.add(match.new, fields, author)
            written += 1
    return written


def _is_carried(event: Event) -> bool:
    return event.label is not None and event.label.origin.startswith(_CARRIED)


def correlations(
    old: Subject, new: Subject, features: Sequence[int], step: Callable[[int, int], None] = lambda done, all_: None
) -> npt.NDArray[np.float64]:
    """Pearson's r of old features with all new ones over all samples, zeros included: float64, shape (len(features), n_new)."""
    n_samples = old.n_samples
    left = [old.feature(feature) for feature in features]
    dense = np.zeros((n_samples, len(features)), dtype=np.float32) if features else np.zeros((n_samples, 0), np.float32)
    for column, found in enumerate(left):
        dense[found.sample_ids, column] = found.values
    sums = dense.sum(axis=0, dtype=np.float64)
    spread = inverse_spread(sums, np.square(dense, dtype=np.float64).sum(axis=0), n_samples)
    result = np.zeros((len(features), new.n_features))
    for start in range(0, new.n_features, _BLOCK):
        for feature in range(start, min(start + _BLOCK, new.n_features)):
            sample_ids, activations = _activations(new.database, feature)
            values = activations.astype(np.float64)
            total = float(values.sum())
            own = inverse_spread(total, float((values * values).sum()), n_samples)
            product = dense[sample_ids].T.astype(np.float64) @ values
            result[:, feature] = pearson(product, sums, total, spread, own, n_samples)
        step(min(start + _BLOCK, new.n_features), new.n_features)
    return result


def _activations(database: ActivationDatabase, feature: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.float32]]:
    found = database.activations(feature, columns=("global_index", "activation"))
    return found.sample_ids, found.values


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
            f"{old.source} has {old.n_samples:,} samples and {new.source} {new.n_samples:,}: labels are carried between SAEs "
            "that were run over the same samples"
        )
    if old.about.provenance.get("sae") == new.about.provenance.get("sae"):
        raise InputError(f"{old.source} and {new.source} have the same SAE: their labels are the same already")
