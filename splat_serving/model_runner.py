"""Base model and SAE of a run as something to ask: the one protocol of a model on this machine and of one behind a server.

Builds are token sets by id. Everything comes in batches and in the order asked. The answers are numpy arrays; no torch here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from splat_serving.live_answers import Edit

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenSet:
    """A build by ids of the model's vocabularies. No token stands for the empty build."""

    weapon_id: int
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Effects:
    """What moving the hook's values along some directions does to the outputs, build by build.

    The first direction is the feature's own; each other one moves by as much. size: how far each build is moved, float32, shape
    (n_builds,), in units of the hook's values, with its sign. mean_abs, kl: mean |change of a logit| and mean Bernoulli KL
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
    """How the logits of one build come about.

    features: those that fire (at token_position, for a hook per token), strongest first, and their activations. contributions:
    float32, shape (n_features, n_tokens): what each adds to each logit. rest: what neither features nor bias explain, shape
    (n_tokens,): the SAE's error term. bias: the logits where nothing fires. For a hook of the whole build these add up exactly to
    `logits`; for a hook per token a contribution is what is lost when the feature alone is taken away, and they need not
    (`exact` is False, rest is what is left).
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

    Every method raises FeatureNotFoundError for a feature that the SAE does not have, UnknownNameError or ParameterError for a
    build that the model cannot see, NotComputedError where the model cannot be run, FingerprintMismatchError where it is not the
    one that the version was made from.
    """

    def per_token(self) -> bool:
        """Whether the hook has a value at each token of a build, or one of the whole build."""
        ...

    def activations(
        self, builds: Sequence[TokenSet], features: Sequence[int], positions: Sequence[int] | None = None
    ) -> Floats:
        """Activations of features on builds: float32, shape (n_builds, len(features)).

        positions: for a hook per token, at which of its tokens each build is asked.
        """
        ...

    def probabilities(self, builds: Sequence[TokenSet]) -> Floats:
        """Probability of each token, the sigmoid of its logit: float32, shape (n_builds, n_tokens)."""
        ...

    def effects(
        self,
        builds: Sequence[TokenSet],
        edit: Edit,
        n_random: int = 20,
        matched: Sequence[int] = (),
        seed: int = 0,
    ) -> Effects:
        """What an edit of a feature does to the outputs, beside n_random random directions and those of matched features.

        What the SAE does not rebuild stays in place. All tokens of a build are edited, for a hook per token.
        """
        ...

    def trace(self, build: TokenSet, top_k: int = 20) -> Trace:
        """How the logits of a build come about: the top_k strongest features and what each contributes."""
        ...


class RemoteRunner:
    """The model behind a server as a `ModelRunner`."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]], per_token: bool) -> None:
        """ask: sends a body to a path below /live and returns the answer. per_token: what the version's hook is."""
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
            body: dict[str, Any] = {"builds": _bodies(builds[start : start + MOST_BUILDS]), "features": list(features)}
            if positions is not None:
                body["positions"] = list(positions[start : start + MOST_BUILDS])
            parts.append(_array(self._ask("activations", body)["activations"], len(features)))
        return np.concatenate(parts)

    def probabilities(self, builds: Sequence[TokenSet]) -> Floats:
        """Probability of each token: float32, shape (n_builds, n_tokens)."""
        parts = [
            _array(
                self._ask("probabilities", {"builds": _bodies(builds[start : start + MOST_BUILDS])})["probabilities"]
            )
            for start in range(0, max(len(builds), 1), MOST_BUILDS)
        ]
        return np.concatenate(parts)

    def effects(
        self,
        builds: Sequence[TokenSet],
        edit: Edit,
        n_random: int = 20,
        matched: Sequence[int] = (),
        seed: int = 0,
    ) -> Effects:
        """What an edit of a feature does to the outputs, beside random directions and those of matched features."""
        body = {
            "edit": {"feature": edit.feature, "op": edit.op, "value": edit.value},
            "n_random": n_random,
            "matched": list(matched),
            "seed": seed,
        }
        parts = [
            self._ask("effects", {**body, "builds": _bodies(builds[start : start + MOST_EFFECT_BUILDS])})
            for start in range(0, len(builds), MOST_EFFECT_BUILDS)
        ]

        def joined(name: str, axis: int) -> Floats:
            return np.concatenate([np.asarray(part[name], dtype=np.float32) for part in parts], axis=axis)

        return Effects(
            joined("size", 0),
            joined("mean_abs", 1),
            joined("kl", 1),
            joined("own", 0),
            tuple(parts[0]["kinds"]),
            tuple(parts[0]["ids"]),
        )

    def trace(self, build: TokenSet, top_k: int = 20) -> Trace:
        """How the logits of a build come about."""
        found = self._ask("trace", {"build": _bodies([build])[0], "top_k": top_k})
        logits = np.asarray(found["logits"], dtype=np.float32)
        positions = found["token_positions"]
        return Trace(
            tuple(found["features"]),
            tuple(found["activations"]),
            None if positions is None else tuple(positions),
            _array(found["contributions"], logits.size),
            np.asarray(found["bias"], dtype=np.float32),
            np.asarray(found["rest"], dtype=np.float32),
            logits,
            bool(found["exact"]),
        )


MOST_BUILDS = 4_096
"""In one question about activations or probabilities."""
MOST_EFFECT_BUILDS = 256
"""In one question about effects."""


def _bodies(builds: Sequence[TokenSet]) -> list[dict[str, Any]]:
    return [{"weapon_id": build.weapon_id, "tokens": list(build.tokens)} for build in builds]


def _array(rows: Any, width: int = -1) -> Floats:
    found: Floats = np.asarray(rows, dtype=np.float32)
    return found.reshape(len(rows), width) if len(rows) or width >= 0 else found.reshape(0, 0)
