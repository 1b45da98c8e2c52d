"""The training step of `step.relu_l1_loss` on a CPU, cut by feature: activations of a band of features at a time.

ReLU activations are dense while they train, so this is matrix products: two to decode, four for the gradients, of which one
multiplies rows and encoder again so that no (rows, features) array is held. Like the products of `products`, each is done by
one thread, and sums over bands are added in their order: the same bytes whatever the number of threads.
"""

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled, compiled_with_sums
from splat_assets.sae.products import Floats, blocks, in_parallel, sum_of_squares, weighted_sum
from splat_assets.sae.training.feature_loops import apply_dense, square_features
from splat_assets.sae.training.gradients import adam_numbers, apply_to_vector, weights_of
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import TINY, StepOutcome, StepSettings

_BAND_VALUES = 1 << 20
_LEAST_BAND = 64
_SUMS = 8


class DenseStep:
    """A `Step` for relu_l1 on the CPU."""

    @torch.no_grad()
    def __call__(self, state: TrainingState, x: torch.Tensor, settings: StepSettings) -> StepOutcome:
        """See `Step`."""
        batch = _Batch(state, torch.from_numpy(x.numpy() - state.b_dec.numpy()))
        residual = batch.residual()
        squared_error = sum_of_squares(residual.numpy())
        batch.measure(residual, settings.l1_weight)
        norm = self._update(state, batch, residual, settings)
        dead = state.silent_for >= settings.dead_after
        state.silent_for += x.shape[0]
        state.silent_for[torch.from_numpy(batch.n_active > 0)] = 0
        state.step += 1
        return StepOutcome(
            loss=squared_error / residual.numel() + settings.l1_weight * float(batch.sums.sum()) / x.shape[0],
            squared_error=squared_error,
            n_active=int(batch.n_active.sum()),
            n_dead=int(dead.sum()),
            aux_loss=0.0,
            gradient_norm=norm,
        )

    def _update(self, state: TrainingState, batch: "_Batch", residual: torch.Tensor, settings: StepSettings) -> float:
        through_encoder = weighted_sum(batch.of_bias, state.encoder.numpy())
        of_b_dec = np.float32(-2 / residual.numel()) * residual.numpy().sum(axis=0) - through_encoder
        norm = float(np.sqrt(batch.squares.sum() + np.square(of_b_dec, dtype=np.float64).sum()))
        clip = np.float32(1.0 if settings.clip_norm is None else min(1.0, settings.clip_norm / max(norm, TINY)))
        encoder, decoder = weights_of(state, "encoder"), weights_of(state, "decoder")
        shared = (
            encoder,
            decoder,
            batch.of_encoder.numpy(),
            batch.of_decoder.numpy(),
            clip,
            adam_numbers(state, settings),
        )
        in_parallel(apply_dense, [(*shared, *band) for band in batch.bands])
        apply_to_vector(state, "b_enc", batch.of_bias * clip, settings)
        apply_to_vector(state, "b_dec", of_b_dec * clip, settings)
        return norm


class _Batch:
    """One batch on its way through the bands, and the gradients that come of it.

    of_encoder, of_decoder: float32, shape (d_sae, d_in). n_active, sums: per feature, how many activations and their sum.
    """

    def __init__(self, state: TrainingState, centred: torch.Tensor) -> None:
        self._state = state
        self._centred = centred
        d_sae, n_rows = state.decoder.shape[0], centred.shape[0]
        self.bands = blocks(d_sae, max(_LEAST_BAND, min(-(-d_sae // _SUMS), _BAND_VALUES // n_rows)))
        self.of_encoder = torch.empty_like(state.encoder)
        self.of_decoder = torch.empty_like(state.decoder)
        self.of_bias = np.zeros(d_sae, dtype=np.float32)
        self.squares = np.zeros(d_sae, dtype=np.float64)
        self.n_active = np.zeros(d_sae, dtype=np.int64)
        self.sums = np.zeros(d_sae, dtype=np.float64)

    def _hidden(self, first: int, last: int) -> torch.Tensor:
        """Activations of a band of features: (n_features, n_rows)."""
        hidden = torch.mm(self._state.encoder[first:last], self._centred.t())
        bias = self._state.b_enc.numpy()[first:last]
        _rectify(hidden.numpy(), bias, self.n_active[first:last], self.sums[first:last])
        return hidden

    def residual(self) -> torch.Tensor:
        """What the features leave of the batch: (n_rows, d_in)."""

        def decoded(first: int, last: int) -> torch.Tensor:
            total = torch.zeros_like(self._centred)
            for band in self.bands[first:last]:
                total.addmm_(self._hidden(*band).t(), self._state.decoder[slice(*band)])
            return total

        left = self._centred.numpy().copy()
        share = -(-len(self.bands) // _SUMS)
        for part in in_parallel(decoded, blocks(len(self.bands), share)):
            left -= part.numpy()
        return torch.from_numpy(left)

    def measure(self, residual: torch.Tensor, l1_weight: float) -> None:
        """Every gradient, and the squares of those of each feature."""
        factor, l1_share = np.float32(-2 / residual.numel()), np.float32(l1_weight / residual.shape[0])

        def measure_band(first: int, last: int) -> None:
            band = slice(first, last)
            hidden = self._hidden(first, last)
            of_hidden = torch.mm(self._state.decoder[band], residual.t())
            _through_relu(of_hidden.numpy(), hidden.numpy(), factor, l1_share, self.of_bias[band])
            torch.mm(hidden, residual, out=self.of_decoder[band])
            torch.mm(of_hidden, self._centred, out=self.of_encoder[band])
            of_encoder, of_decoder = self.of_encoder[band].numpy(), self.of_decoder[band].numpy()
            of_decoder *= factor
            decoder = self._state.decoder[band].numpy()
            square_features(of_encoder, of_decoder, decoder, self.of_bias[band], self.squares[band])

        in_parallel(measure_band, self.bands)


@compiled
def _rectify(products: Floats, bias: Floats, n_active: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]) -> None:
    """products + bias where positive, 0 elsewhere, in place."""
    for feature in range(products.shape[0]):
        row = products[feature]
        active = 0
        total = np.float32(0)
        for i in range(row.size):
            value = max(row[i] + bias[feature], np.float32(0))
            row[i] = value
            active += value > 0
            total += value
        n_active[feature] = active
        sums[feature] = total


@compiled_with_sums
def _through_relu(of_hidden: Floats, hidden: Floats, factor: np.float32, l1_share: np.float32, of_bias: Floats) -> None:
    """The gradient before the ReLU: factor * of_hidden + l1_share where active, 0 elsewhere, in place; and its row sums."""
    for feature in range(hidden.shape[0]):
        row = of_hidden[feature]
        total = np.float32(0)
        for i in range(row.size):
            value = factor * row[i] + l1_share if hidden[feature, i] > 0 else np.float32(0)
            row[i] = value
            total += value
        of_bias[feature] = total
