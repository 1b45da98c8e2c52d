"""What the compiled loops of a training step need of Adam, and Adam on the biases."""

import math

import numpy as np

from splat_assets.sae.products import Floats
from splat_assets.sae.training.feature_loops import AdamNumbers, Weights, adam_row
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import ADAM_EPSILON, StepSettings


def adam_numbers(state: TrainingState, settings: StepSettings) -> AdamNumbers:
    """The numbers of the step that comes after state.step."""
    t = state.step + 1
    numbers = (
        settings.beta1,
        1 - settings.beta1,
        settings.beta2,
        1 - settings.beta2,
        settings.learning_rate / (1 - settings.beta1**t),
        1 / math.sqrt(1 - settings.beta2**t),
        ADAM_EPSILON,
    )
    return AdamNumbers(*(np.float32(number) for number in numbers))


def weights_of(state: TrainingState, name: str) -> Weights:
    """A parameter of the state by name."""
    return Weights(state.parameter(name).numpy(), state.mean_of[name].numpy(), state.square_of[name].numpy())


def apply_to_vector(state: TrainingState, name: str, gradient: Floats, settings: StepSettings) -> None:
    """Adam on b_enc or b_dec."""
    value, mean, square = weights_of(state, name)
    adam_row(value, mean, square, gradient, adam_numbers(state, settings))
