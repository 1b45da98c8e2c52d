"""Causal evidence: builds sampled from the store, edited, and run through base model and SAE.

A draw holds builds on which the feature fires and builds on which it does not: removing an ability from the first shows
what it needs, adding it to the second what suffices. The two are never averaged together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from splat_assets.analysis.builds.build_table import Group
from splat_assets.analysis.builds.edits import FAR, legal, rungs_of_sets, with_rung
from splat_assets.analysis.rounding import same_activations
from splat_assets.errors import InputError
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

STRATA = ("fires", "silent")
_KINDS = ("build", "null", "unknown")
_DRAWS = 2_000


@dataclass(frozen=True)
class Draw:
    """Builds of the store to be edited. sample_ids: rising within each stratum, those that fire first. stored: the feature's
    activation there. n_firing: how many of them fire. positions: for a hook per token, the token each sample is of."""

    subject: Subject
    feature_id: int
    sample_ids: npt.NDArray[np.int64]
    stored: npt.NDArray[np.float32]
    n_firing: int
    sets: tuple[TokenSet, ...]
    own_tokens: tuple[int, ...] | None

    def stratum(self, name: str) -> slice:
        """Which of the builds fire, or do not."""
        return slice(0, self.n_firing) if name == "fires" else slice(self.n_firing, len(self.sets))

    @cached_property
    def unedited(self) -> npt.NDArray[np.float32]:
        """The feature on the unedited builds, from the model now: float32, shape (n_builds,)."""
        return self.activations(self.sets, range(len(self.sets)))

    @property
    def deviation(self) -> float:
        """Largest difference between the stored activations and those of the unedited builds: 0 but for rounding."""
        return float(np.abs(self.unedited - self.stored).max(initial=0.0))

    @property
    def warnings(self) -> list[str]:
        """Why the draw cannot be trusted, if it cannot."""
        largest = float(self.subject.feature(self.feature_id).values.max(initial=1.0))
        if same_activations(self.stored, self.unedited, largest).all():
            return []
        return [
            f"on the unedited builds the model's activations differ from the stored ones by up to {self.deviation:.2g}: model "
            "and store do not belong together; do not trust the causal results here"
        ]

    def activations(self, sets: Sequence[TokenSet], owners: Sequence[int]) -> npt.NDArray[np.float32]:
        """The feature on edited builds: float32, shape (n,). owners: which build of the draw each was made from.

        NaN for a hook per token where the edit took the token away.
        """
        model = self.subject.model
        if self.own_tokens is None:
            return model.activations(sets, [self.feature_id])[:, 0]
        values = np.full(len(sets), np.nan, dtype=np.float32)
        null = self.subject.vocabulary.null_id
        places = [_place(one, self.own_tokens[owner], null) for one, owner in zip(sets, owners, strict=True)]
        there = [at for at, place in enumerate(places) if place is not None]
        if there:
            remaining = [sets[at] for at in there]
            values[there] = model.activations(remaining, [self.feature_id], [places[at] or 0 for at in there])[:, 0]
        return values

    def with_rungs(self, group: Group, rungs: Sequence[int]) -> npt.NDArray[np.float32]:
        """The feature with a group set to each of these rungs: float32, shape (n_builds, len(rungs))."""
        edited = [TokenSet(one.weapon_id, with_rung(one.tokens, group, rung)) for one in self.sets for rung in rungs]
        owners = np.repeat(np.arange(len(self.sets)), len(rungs))
        return self.activations(edited, owners.tolist()).reshape(len(self.sets), len(rungs))

    def with_pairs(
        self, first: Group, first_rungs: Sequence[int], second: Group, second_rungs: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """The feature with two groups set, each rung by each: float32, shape (n_builds, n_first, n_second)."""
        edited = [
            TokenSet(one.weapon_id, with_rung(with_rung(one.tokens, first, a), second, b))
            for one in self.sets
            for a in first_rungs
            for b in second_rungs
        ]
        shape = (len(self.sets), len(first_rungs), len(second_rungs))
        owners = np.repeat(np.arange(len(self.sets)), shape[1] * shape[2])
        return self.activations(edited, owners.tolist()).reshape(shape)


@dataclass(frozen=True, slots=True)
class Plausibility:
    """How much the edited builds are like real ones, per edit: share that gear allows (None where that is unknown), and
    shares whose nearest real build is 0, 1, 2 or more rungs away."""

    share_legal: npt.NDArray[np.float64] | None
    near: npt.NDArray[np.float64]


def draw_builds(subject: Subject, feature_id: int, n_builds: int, seed: int) -> Draw:
    """n_builds different builds, half of them with the feature and half without where there are as many; seeded.

    Masked copies of builds are left out. Raises InputError when every sample is a masked copy.
    """
    ordinary = rerunnable(subject)
    fires = np.zeros(subject.n_samples, dtype=np.bool_)
    fires[subject.feature(feature_id).sample_ids] = True
    rng = np.random.default_rng(seed)
    firing, silent = np.flatnonzero(ordinary & fires), np.flatnonzero(ordinary & ~fires)
    if not firing.size and not silent.size:
        raise InputError(f"nothing to edit in {subject.source}: every sample is a masked copy")
    half = min(n_builds // 2, firing.size)
    chosen_silent = _different(subject, silent, n_builds - half, rng)
    chosen_firing = _different(subject, firing, n_builds - chosen_silent.size, rng)
    return draw_of(subject, feature_id, np.concatenate([chosen_firing, chosen_silent]), int(chosen_firing.size))


def draw_firing(subject: Subject, feature_id: int, n_builds: int, seed: int) -> tuple[Draw, slice]:
    """A draw, and the slice of at most n_builds of it on which the feature fires; InputError when there is none."""
    if not subject.feature(feature_id).n_active:
        raise InputError(f"feature {feature_id} never fires on these samples: there is nothing to ablate")
    draw = draw_builds(subject, feature_id, 2 * n_builds, seed)
    if not draw.n_firing:
        raise InputError(f"feature {feature_id} fires only on masked copies of builds, which cannot be run again")
    return draw, slice(0, min(n_builds, draw.n_firing))


def rerunnable(subject: Subject) -> npt.NDArray[np.bool_]:
    """Which samples are builds as the model sees them, not masked copies: bool, shape (n_samples,)."""
    return np.isin(subject.samples["kind"].to_numpy(), _KINDS)


def draw_of(subject: Subject, feature_id: int, ids: npt.NDArray[np.int64], n_firing: int) -> Draw:
    """The builds of these samples, the first n_firing of which fire."""
    table = subject.builds
    sets = tuple(
        TokenSet(int(table.weapons[at]), _ordinary(subject, table.tokens[table.offsets[at] : table.offsets[at + 1]]))
        for at in ids.tolist()
    )
    own = None
    if subject.model.per_token():
        positions = subject.samples["token_position"].to_numpy()[ids]
        own = tuple(int(table.tokens[table.offsets[at] + place]) for at, place in zip(ids, positions, strict=True))
    return Draw(subject, feature_id, ids, subject.dense(feature_id)[ids], n_firing, sets, own)


def plausibility(draw: Draw, edited: Sequence[Sequence[TokenSet]]) -> Plausibility:
    """How much edited builds are like real ones. edited: per edit, the builds."""
    builds = draw.subject.builds
    flat = [one.tokens for sets in edited for one in sets]
    rungs = rungs_of_sets(flat, builds)
    shape = (len(edited), -1)
    distances = draw.subject.real_builds.distance(rungs).reshape(shape)
    wearable = legal(rungs, builds.groups)
    near = np.stack([(distances == value).mean(axis=1) for value in range(FAR + 1)], axis=1)
    return Plausibility(None if wearable is None else wearable.reshape(shape).mean(axis=1), near)


def each_removed(subject: Subject, sets: Sequence[TokenSet]) -> list[tuple[int, Group, int, TokenSet]]:
    """Each build with each of its abilities removed, all else fixed: which build, the ability, its rung, the remaining build."""
    rungs = rungs_of_sets([one.tokens for one in sets], subject.builds)
    return [
        (at, group, rung, TokenSet(one.weapon_id, with_rung(one.tokens, group, 0)))
        for at, one in enumerate(sets)
        for group, rung in zip(subject.builds.groups, rungs[:, at].tolist(), strict=True)
        if rung
    ]


def edited_sets(draw: Draw, group: Group, rungs: Sequence[int]) -> list[list[TokenSet]]:
    """Per rung, the builds of the draw with the group set to it."""
    return [[TokenSet(one.weapon_id, with_rung(one.tokens, group, rung)) for one in draw.sets] for rung in rungs]


def mean_with_interval(values: npt.NDArray[np.floating], seed: int) -> tuple[float, float, float]:
    """Mean of what is not NaN, and its bootstrap interval over builds (percentile, 2,000 resamples)."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not known.size:
        return float("nan"), float("nan"), float("nan")
    low, high = np.quantile(_resamples(known.size, seed) @ known, [0.025, 0.975])
    return float(known.mean()), float(low), float(high)


def sign_flip_p(differences: npt.NDArray[np.floating], seed: int) -> float:
    """The p-value of a sign-flip test of a mean of 0: (1 + k) / (1 + 2,000) over random signs; NaN without values.

    If none of the 2,000 has, Student's p of the mean if that is smaller still, because 1 / 2,001 is too coarse among hundreds
    of tests; but not less than the exact test over all signs can give, 2 / 2^n.
    """
    known = differences[~np.isnan(differences)].astype(np.float64)
    if not known.size:
        return float("nan")
    extreme = np.abs(_signs(known.size, seed) @ known) >= abs(known.sum()) * (1 - 1e-12)
    p = (1 + int(extreme.sum())) / (1 + _DRAWS)
    spread = float(known.std()) / np.sqrt(max(known.size - 1, 1))
    if extreme.any():
        return p
    students = 2 * float(stdtr(known.size - 1, -abs(known.mean()) / spread)) if spread > 0 else 0.0
    return min(p, max(students, float(2.0 ** (1 - known.size))))


@lru_cache(maxsize=4)
def _resamples(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Weights of n values in each resample of as many: float64, shape (_DRAWS, n)."""
    drawn = np.random.default_rng(seed).integers(0, n, (_DRAWS, n))
    counts = np.bincount((drawn + np.arange(_DRAWS)[:, None] * n).reshape(-1), minlength=_DRAWS * n)
    return counts.reshape(_DRAWS, n) / n


@lru_cache(maxsize=4)
def _signs(n: int, seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(_DRAWS, n))


def _different(subject: Subject, ids: npt.NDArray[np.int64], n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """At most n of the ids at random, no two of the same build, rising."""
    table = subject.builds
    seen: set[tuple[int, bytes]] = set()
    kept: list[int] = []
    for at in rng.permutation(ids).tolist():
        if len(kept) == n:
            break
        build = (int(table.weapons[at]), table.tokens[table.offsets[at] : table.offsets[at + 1]].tobytes())
        if build[0] >= 0 and build not in seen:
            seen.add(build)
            kept.append(at)
    return np.sort(np.array(kept, dtype=np.int64))


def _ordinary(subject: Subject, tokens: npt.NDArray[np.int32]) -> tuple[int, ...]:
    return tuple(token for token in tokens.tolist() if token != subject.vocabulary.null_id)


def _place(build: TokenSet, token: int, null: int | None) -> int | None:
    """Where a token is in a build as the model reads it, None where it is not: an empty one is read as the null token alone."""
    read = build.tokens or (null,)
    return read.index(token) if token in read else None
