"""Adam on the weights of one feature, and the rule of unit-norm decoder rows, as compiled loops.

What the numbers mean is said plainly in `step.apply_gradients`, which a test holds this to.
"""

import math
from typing import NamedTuple

import numpy as np

from splat_assets.sae.kernels import compiled_with_sums
from splat_assets.sae.products import Floats
from splat_assets.sae.state import TrainingState
from splat_assets.sae.step import ADAM_EPSILON, StepSettings


class AdamNumbers(NamedTuple):
    """The numbers of one step of Adam, all float32; what is left of 1 was taken in double."""

    keep_mean: np.float32
    add_mean: np.float32
    keep_square: np.float32
    add_square: np.float32
    rate: np.float32
    correction: np.float32
    epsilon: np.float32


class Weights(NamedTuple):
    """A parameter and its moments, as arrays that share the state's memory."""

    value: Floats
    mean: Floats
    square: Floats


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


@compiled_with_sums
def adam_row(row: Floats, mean: Floats, square: Floats, gradient: Floats, numbers: AdamNumbers) -> None:
    """One step of Adam on a row, in place."""
    for j in range(row.size):
        mean_j = numbers.keep_mean * mean[j] + numbers.add_mean * gradient[j]
        square_j = numbers.keep_square * square[j] + numbers.add_square * gradient[j] * gradient[j]
        mean[j] = mean_j
        square[j] = square_j
        row[j] -= numbers.rate * mean_j / (math.sqrt(square_j) * numbers.correction + numbers.epsilon)


@compiled_with_sums
def keep_across(gradient: Floats, row: Floats) -> None:
    """Take away the part of a gradient that lies along the row, in place."""
    along = np.float32(0)
    for j in range(row.size):
        along += gradient[j] * row[j]
    for j in range(row.size):
        gradient[j] -= along * row[j]


@compiled_with_sums
def square_sum(row: Floats) -> np.float32:
    """The sum of squares of a row."""
    total = np.float32(0)
    for j in range(row.size):
        total += row[j] * row[j]
    return total


@compiled_with_sums
def update_feature(
    encoder: Weights, decoder: Weights, feature: int, of_encoder: Floats, of_decoder: Floats, numbers: AdamNumbers
) -> None:
    """Adam on the encoder and decoder row of a feature; the decoder row ends at unit norm.

    of_encoder, of_decoder: their gradients, clipped; of_decoder across the row only.
    """
    adam_row(encoder.value[feature], encoder.mean[feature], encoder.square[feature], of_encoder, numbers)
    row = decoder.value[feature]
    adam_row(row, decoder.mean[feature], decoder.square[feature], of_decoder, numbers)
    scale = np.float32(1) / math.sqrt(square_sum(row))
    for j in range(row.size):
        row[j] *= scale
