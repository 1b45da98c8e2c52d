"""Results of running the model, as values that serialize to JSON, and feature edits.

No torch here, so that the server can describe these answers without loading a model.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from splat_serving.database.errors import ParameterError
from splat_serving.model.typed_builds import SeenBuild

Operation = Literal["set", "scale", "ablate"]
LARGEST_VALUE = 1e6


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of one feature: `set` it to a value, `scale` it by one, or `ablate` it (set it to 0).

    Raises ParameterError for another operation, for a missing or superfluous value, and for one beyond ±LARGEST_VALUE.
    """

    feature: int
    op: Operation
    value: float | None = None

    def __post_init__(self) -> None:
        what = f"feature {self.feature}"
        if self.op not in get_args(Operation):
            raise ParameterError(
                "edits", f"{what}: unknown operation {self.op!r}; choose from {', '.join(get_args(Operation))}"
            )
        if self.op == "ablate":
            if self.value is not None:
                raise ParameterError("edits", f"{what}: ablate takes no value")
        elif self.value is None:
            raise ParameterError("edits", f"{what}: {self.op} needs a value")
        elif not (math.isfinite(self.value) and abs(self.value) <= LARGEST_VALUE):
            raise ParameterError(
                "edits", f"{what}: the absolute value must be at most {LARGEST_VALUE:,.0f}, not {self.value}"
            )

    def of(self, activation: float) -> float:
        """The edited activation."""
        if self.op == "scale":
            return activation * (self.value or 0.0)
        return self.value or 0.0


@dataclass(frozen=True, slots=True)
class TopFeatures:
    """Features that fire on a build, strongest first, one array a column.

    token_position: where in the build's tokens each one fires, for a hook per token; None for a hook of the whole build.
    """

    feature_id: tuple[int, ...]
    activation: tuple[float, ...]
    token_position: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Prediction of the base model for one token: its logit and the sigmoid of it, the probability that the build has it.

    in_data: whether the token occurs in the data, None if that was not counted; tokens that never do are listed last.
    """

    token_id: int
    token: str
    logit: float
    probability: float
    in_data: bool | None = None


@dataclass(frozen=True, slots=True)
class BuildFeatures:
    """Features and predictions of one build.

    n_active: all features that fire, at all of its tokens for a hook per token. reconstruction: ||x - x_hat||^2 / ||x||^2
    of the hook's values, None where those are 0. predictions: the most probable tokens that the build does not have.
    of_build: the tokens it has, in its order. Padding and the empty build's token are in neither list.
    """

    build: SeenBuild
    n_active: int
    features: TopFeatures
    reconstruction: float | None
    predictions: tuple[Prediction, ...]
    of_build: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class EditedFeature:
    """An edited feature before and after; token_position as in TopFeatures."""

    feature_id: int
    token_position: int | None
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class ChangedPrediction:
    """The probability of one token before and after, and the change of its logit. in_data: as `Prediction`."""

    token_id: int
    token: str
    in_build: bool
    before: float
    after: float
    logit_change: float
    in_data: bool | None = None


@dataclass(frozen=True, slots=True)
class BuildIntervention:
    """Effect of feature edits on the predictions for one build.

    predictions: those whose logit moves furthest, without padding and the empty build's token. mean_abs_logit_change and
    kl_nats (Bernoulli KL(before || after)): means over all outputs of the model.
    """

    build: SeenBuild
    edited: tuple[EditedFeature, ...]
    predictions: tuple[ChangedPrediction, ...]
    mean_abs_logit_change: float
    kl_nats: float
