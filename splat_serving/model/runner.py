"""Base model and SAE of a run behind one protocol: local or on a server.

Builds are token sets by id. Methods take batches and keep their order. Results are numpy arrays; no torch here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from splat_assets.distribution import install_line
from splat_serving.database.errors import NotComputedError
from splat_serving.model.answers import Edit

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenSet:
    """A build by ids of the model's vocabularies. The empty tuple is the empty build."""

    weapon_id: int
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects on the outputs of moving the values at the hook along some directions, per build.

    The first direction is the feature's own; the step size is the same for all. size: signed step size of each build, float32,
    shape (n_builds,), in units of the hook's values. mean_abs, kl: mean |change of a logit| and mean Bernoulli KL
    (before || after, nats) over all outputs, float32, shape (n_directions, n_builds). own: change of each logit along the
    feature's own direction, float32, shape (n_builds, n_tokens). kinds: `feature`, `random` or `matched`, by direction. ids:
    the feature of each direction, -1 for a random one.
    """

    size: Floats
    mean_abs: Floats
    kl: Floats
    own: Floats
    kinds: tuple[str, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Decomposition of the logits of one build.

    features: those that fire (at token_position, for a hook per token), strongest first, and their activations. contributions:
    float32, shape (n_features, n_tokens): contribution of each to each logit. rest: the part that neither features nor bias
    explain, shape (n_tokens,): the SAE's error term. bias: the logits if nothing fires. For a hook of the whole build these add
    up exactly to `logits`; for a hook per token a contribution is the drop when only that feature is ablated, and they need not
    (`exact` is False, rest is the remainder).
    """

    features: tuple[int, ...]
    activations: tuple[float, ...]
    token_positions: tuple[int, ...] | None
    contributions: Floats
    bias: Floats
    rest: Floats
    logits: Floats
    exact: bool


class ModelRunner(Protocol):
    """Base model and SAE, run on builds.

    An implementation guarantees: one row per build (of at least one), in their order; the same builds have the same results;
    methods may be called from several threads at once, and load the model at the first call at the latest. It need not be
    picklable.

    Every method raises FeatureNotFoundError for a feature that the SAE does not have, UnknownNameError or ParameterError for a
    build that the model cannot read, NotComputedError if the model cannot be run, FingerprintMismatchError if it is not the
    one that the version was made from.

    Examples:
        >>> from splat_serving.model.answers import Edit
        >>> from splat_serving.model.runner import TokenSet
        >>> builds = [TokenSet(0, (3, 5)), TokenSet(1)]
        >>> runner.activations(builds, [1, 2, 3]).shape
        (2, 3)
        >>> before, after = runner.probabilities(builds), runner.probabilities(builds, [Edit(1, "set", 4.0)])
        >>> before.shape == after.shape
        True
    """

    def per_token(self) -> bool:
        """Whether the hook has a value at each token of a build, or one of the whole build."""
        ...

    def activations(
        self, builds: Sequence[TokenSet], features: Sequence[int], positions: Sequence[int] | None = None
    ) -> Floats:
        """Activations of features on builds: float32, shape (n_builds, len(features)), 0 where one does not fire.

        Args:
            positions: The token position in each build, for a hook per token; left out for one of the whole build.

        Raises:
            ParameterError: For positions that the hook does not take, or outside a build.
        """
        ...

    def probabilities(self, builds: Sequence[TokenSet], edits: Sequence[Edit] = ()) -> Floats:
        """Probability of each token, the sigmoid of its logit: float32, shape (n_builds, n_tokens).

        Args:
            edits: Of features, each at most once; the reconstruction error is kept.
        """
        ...

    def effects(
        self,
        builds: Sequence[TokenSet],
        edit: Edit,
        n_random: int = 20,
        matched: Sequence[int] = (),
        seed: int = 0,
    ) -> Effects:
        """Effect of a feature edit on the outputs, with random directions and matched features as controls.

        The reconstruction error is kept. All tokens of a build are edited, for a hook per token.

        Args:
            n_random: Number of random directions, as long as the feature's own.
            matched: Features whose directions are controls, scaled to the length of the feature's own.
            seed: Of the random directions.

        Returns:
            Directions in the order: the feature's own, random ones, matched ones.
        """
        ...

    def trace(self, build: TokenSet, top_k: int = 20) -> Trace:
        """Decomposition of the logits of a build: the top_k strongest features and their contributions."""
        ...


def live_model_class() -> "type[LiveModel]":
    """The class that runs models; NotComputedError where torch is not installed."""
    try:
        from splat_serving.model.live import LiveModel
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise NotComputedError(f"running the model needs torch: {install_line('live')}") from error
    return LiveModel


Ask = Callable[[str, Mapping[str, Any], Callable[[Mapping[str, Any]], Any]], Any]


class RemoteRunner:
    """The model behind a server as a `ModelRunner`."""

    def __init__(self, ask: Ask, per_token: bool) -> None:
        """ask: posts a body, dataclasses as JSON objects, to a path below /live and returns what the parser passed makes of it.

        per_token: whether the version's hook is per token.
        """
        self._ask = ask
        self._per_token = per_token

    def per_token(self) -> bool:
        """Whether the hook has a value at each token of a build."""
        return self._per_token

    def activations(
        self, builds: Sequence[TokenSet], features: Sequence[int], positions: Sequence[int] | None = None
    ) -> Floats:
        """Activations of features on builds: float32, shape (n_builds, len(features))."""
        parts = [np.zeros((0, len(features)), dtype=np.float32)]
        for start in range(0, len(builds), MOST_BUILDS):
            batch = builds[start : start + MOST_BUILDS]
            body: dict[str, Any] = {"builds": list(batch), "features": list(features)}
            if positions is not None:
                body["positions"] = list(positions[start : start + MOST_BUILDS])
            parts.append(self._ask("activations", body, partial(_member, "activations", len(batch), len(features))))
        return np.concatenate(parts)

    def probabilities(self, builds: Sequence[TokenSet], edits: Sequence[Edit] = ()) -> Floats:
        """Probability of each token, with features edited: float32, shape (n_builds, n_tokens)."""
        parts = []
        for start in range(0, max(len(builds), 1), MOST_BUILDS):
            batch = builds[start : start + MOST_BUILDS]
            read = partial(_member, "probabilities", len(batch), None)
            parts.append(self._ask("probabilities", {"builds": list(batch), "edits": list(edits)}, read))
        return np.concatenate(parts)

    def effects(
        self,
        builds: Sequence[TokenSet],
        edit: Edit,
        n_random: int = 20,
        matched: Sequence[int] = (),
        seed: int = 0,
    ) -> Effects:
        """Effect of a feature edit on the outputs, with random directions and matched features as controls."""
        body = {"edit": edit, "n_random": n_random, "matched": list(matched), "seed": seed}
        parts: list[Effects] = []
        for start in range(0, len(builds), MOST_EFFECT_BUILDS):
            batch = builds[start : start + MOST_EFFECT_BUILDS]
            read = partial(_effects, len(batch), 1 + n_random + len(matched))
            parts.append(self._ask("effects", {**body, "builds": list(batch)}, read))
        return Effects(
            np.concatenate([part.size for part in parts]),
            np.concatenate([part.mean_abs for part in parts], axis=1),
            np.concatenate([part.kl for part in parts], axis=1),
            np.concatenate([part.own for part in parts]),
            parts[0].kinds,
            parts[0].ids,
        )

    def trace(self, build: TokenSet, top_k: int = 20) -> Trace:
        """Decomposition of the logits of a build."""
        trace: Trace = self._ask("trace", {"build": build, "top_k": top_k}, _trace)
        return trace


MOST_TOKENS = 1_000
"""Tokens in one build."""
MOST_EDITS = 64
"""Features per request, edited or read."""
MOST_DIRECTIONS = 100
"""Random directions, or matched features, per request of effects."""
MOST_BUILDS = 4_096
"""Builds per request of activations or probabilities."""
MOST_EFFECT_BUILDS = 256
"""Builds per request of effects."""


# Parsers of server answers; ValueError and the like for an answer of another shape.


def _member(name: str, n_builds: int, n_columns: int | None, answer: Mapping[str, Any]) -> Floats:
    return _floats(answer[name], n_builds, n_columns)


def _effects(n_builds: int, n_directions: int, answer: Mapping[str, Any]) -> Effects:
    effects = Effects(
        size=_floats(answer["size"], n_builds),
        mean_abs=_floats(answer["mean_abs"], n_directions, n_builds),
        kl=_floats(answer["kl"], n_directions, n_builds),
        own=_floats(answer["own"], n_builds, None),
        kinds=tuple(answer["kinds"]),
        ids=tuple(answer["ids"]),
    )
    if not len(effects.kinds) == len(effects.ids) == n_directions:
        raise ValueError(f"{len(effects.kinds)} kinds and {len(effects.ids)} ids of {n_directions} directions")
    return effects


def _trace(answer: Mapping[str, Any]) -> Trace:
    features, positions = tuple(answer["features"]), answer["token_positions"]
    logits = _floats(answer["logits"], None)
    trace = Trace(
        features=features,
        activations=tuple(answer["activations"]),
        token_positions=None if positions is None else tuple(positions),
        contributions=_floats(answer["contributions"], len(features), logits.size),
        bias=_floats(answer["bias"], logits.size),
        rest=_floats(answer["rest"], logits.size),
        logits=logits,
        exact=bool(answer["exact"]),
    )
    if any(one is not None and len(one) != len(features) for one in (trace.activations, trace.token_positions)):
        raise ValueError(f"{len(features)} features with {len(trace.activations)} activations")
    return trace


def _floats(values: Any, *shape: int | None) -> Floats:
    """The array, of this shape; None for a length that only the answer knows."""
    array: Floats = np.asarray(values, dtype=np.float32)
    if array.size == 0 and not shape[0]:
        array = array.reshape(tuple(length or 0 for length in shape))
    if array.ndim != len(shape) or any(n not in (None, there) for n, there in zip(shape, array.shape, strict=True)):
        expected = " x ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"an array of {' x '.join(map(str, array.shape)) or 'one number'} instead of {expected}")
    return array
