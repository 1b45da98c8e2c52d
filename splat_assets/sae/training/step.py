"""One training step, written plainly: loss by its formula, gradients by autograd, dense tensors, any device.

This is the meaning of a step. `fused_step` computes the same numbers on a CPU from the active entries alone, and a test
holds it to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from splat_assets.sae.training.state import PARAMETERS, TrainingState

ADAM_EPSILON = 6.25e-10
TINY = 1e-12
_ROUNDING = 1e-10
Decode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step needs of the recipe and the schedule."""

    learning_rate: float
    k: int
    aux_k: int
    aux_coeff: float
    dead_after: int
    beta1: float
    beta2: float
    clip_norm: float | None
    l1_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step saw, before it changed the weights.

    loss: the minimised quantity. squared_error: sum of ||x - x_hat||^2, in scaled units. n_active: activations > 0.
    aux_loss: the share of the residual's variance that the dead features leave (0 where none are dead).
    gradient_norm: of the whole gradient, before clipping.
    """

    loss: float
    squared_error: float
    n_active: int
    n_dead: int
    aux_loss: float
    gradient_norm: float


class Step(Protocol):
    """Changes the state by one batch.

    An implementation takes a step of Adam on every parameter in place, leaves decoder rows at unit norm, counts `silent_for`
    and `step` up, and gives the same bytes for the same state, rows and number of threads. Called from one thread.
    """

    def __call__(self, state: TrainingState, x: torch.Tensor, settings: StepSettings) -> StepOutcome:
        """x: scaled rows, float32, shape (n, d_in), on the state's device."""
        ...


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable loss and what it is made of."""

    total: torch.Tensor
    squared_error: torch.Tensor
    fired: torch.Tensor
    n_active: int
    aux: torch.Tensor


def batch_topk_loss(
    weights: dict[str, torch.Tensor],
    x: torch.Tensor,
    settings: StepSettings,
    dead: torch.Tensor,
    decode: Decode = torch.matmul,
) -> Loss:
    """Mean squared error of the k * n largest activations, plus aux_coeff times the dead features' normalised error.

    BatchTopK: Bussmann et al. 2024 (arXiv 2412.06410). AuxK: Gao et al. 2024 (arXiv 2406.04093), section 2.2: the aux_k
    largest positive pre-activations of dead features in each row model the residual, which is detached; the error is
    divided by the residual's variance over the batch; what they model is without b_dec. decode: the product of activations
    and decoder, which a test replaces by one that hides the decoder from the gradient.
    """
    pre = torch.nn.functional.linear(x - weights["b_dec"], weights["encoder"], weights["b_enc"])
    hidden = pre * largest_positive(pre.detach(), settings.k * x.shape[0])
    residual = x - decode(hidden, weights["decoder"]) - weights["b_dec"]
    squared_error = residual.square().sum()
    total = squared_error / residual.numel()
    aux = torch.zeros((), device=x.device)
    if settings.aux_k and settings.aux_coeff and bool(dead.any()):
        aux = _aux_loss(pre, weights["decoder"], residual.detach(), dead, settings.aux_k, decode)
        total = total + settings.aux_coeff * aux
    return Loss(total, squared_error.detach(), (hidden > 0).any(dim=0), int((hidden > 0).sum()), aux.detach())


def _aux_loss(
    pre: torch.Tensor, decoder: torch.Tensor, residual: torch.Tensor, dead: torch.Tensor, aux_k: int, decode: Decode
) -> torch.Tensor:
    ids = dead.nonzero()[:, 0]
    among_dead = pre[:, ids].relu()
    if ids.numel() > aux_k:
        kept = torch.zeros_like(among_dead)
        among_dead = among_dead * kept.scatter(1, among_dead.topk(aux_k, dim=1).indices, 1.0)
    variance = residual_variance(residual)
    if variance == 0:
        return torch.zeros((), device=pre.device)
    return (residual - decode(among_dead, decoder[ids])).square().sum() / variance


def residual_variance(residual: torch.Tensor) -> float:
    """Sum of ||r - mean||^2 over the rows; 0 where rounding is all there is of it: for one row, or rows that are equal."""
    exact = residual.cpu().numpy().astype(np.float64)  # numpy: the same bytes whatever the number of threads
    deviations = exact - exact.mean(axis=0)
    variance = float(np.square(deviations).sum())
    return variance if variance > _ROUNDING * float(np.square(exact).sum()) else 0.0


def largest_positive(pre: torch.Tensor, n: int) -> torch.Tensor:
    """A mask of the n largest values > 0; equal values at the cut-off go by lower feature (column), then by lower row."""
    by_feature = pre.t().reshape(-1)
    n_positive = int((by_feature > 0).sum())
    if n_positive <= n:
        return pre > 0
    smallest = by_feature.topk(n, sorted=False).values.min()
    mask = by_feature > smallest
    equal = (by_feature == smallest).nonzero()[:, 0]
    mask[equal[: n - int(mask.sum())]] = True
    return mask.reshape(pre.shape[1], pre.shape[0]).t()


def relu_l1_loss(
    weights: dict[str, torch.Tensor],
    x: torch.Tensor,
    settings: StepSettings,
    dead: torch.Tensor,
) -> Loss:
    """Mean squared error over all elements plus l1_weight times the mean over rows of the sum of activations."""
    hidden = torch.nn.functional.linear(x - weights["b_dec"], weights["encoder"], weights["b_enc"]).relu()
    residual = x - hidden @ weights["decoder"] - weights["b_dec"]
    squared_error = residual.square().sum()
    total = squared_error / residual.numel() + settings.l1_weight * hidden.sum() / x.shape[0]
    active = hidden.detach() > 0
    return Loss(total, squared_error.detach(), active.any(dim=0), int(active.sum()), torch.zeros((), device=x.device))


class AutogradStep:
    """A step of a loss by autograd."""

    def __init__(
        self, loss: Callable[[dict[str, torch.Tensor], torch.Tensor, StepSettings, torch.Tensor], Loss]
    ) -> None:
        self._loss = loss

    def __call__(self, state: TrainingState, x: torch.Tensor, settings: StepSettings) -> StepOutcome:
        """See `Step`."""
        dead = state.silent_for >= settings.dead_after
        weights = {name: state.parameter(name).detach().requires_grad_() for name in PARAMETERS}
        loss = self._loss(weights, x, settings, dead)
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = {name: w.grad if w.grad is not None else torch.zeros_like(w) for name, w in weights.items()}
        norm = apply_gradients(state, gradients, settings)
        state.silent_for += x.shape[0]
        state.silent_for[loss.fired] = 0
        state.step += 1
        return StepOutcome(
            float(loss.total.detach()), float(loss.squared_error), loss.n_active, int(dead.sum()), float(loss.aux), norm
        )


@torch.no_grad()
def apply_gradients(state: TrainingState, gradients: dict[str, torch.Tensor], settings: StepSettings) -> float:
    """Adam on every parameter, in place; returns the gradient's norm before clipping.

    The part of the decoder's gradient along each row is removed first, the norm of the whole is clipped, and after the
    update decoder rows are made unit norm again.
    """
    decoder = state.decoder
    along = (gradients["decoder"] * decoder).sum(dim=1, keepdim=True)
    gradients = gradients | {"decoder": gradients["decoder"] - along * decoder}
    norm = float(torch.stack([g.double().square().sum() for g in gradients.values()]).sum().sqrt())
    factor = 1.0 if settings.clip_norm is None else min(1.0, settings.clip_norm / max(norm, TINY))
    for name, gradient in gradients.items():
        adam_update(state, name, gradient * factor, settings)
    decoder.div_(decoder.norm(dim=1, keepdim=True))
    return norm


def adam_update(state: TrainingState, name: str, gradient: torch.Tensor, settings: StepSettings) -> None:
    """One step of Adam (Kingma & Ba 2015) on a parameter, in place; epsilon as in Gao et al. 2024."""
    t = state.step + 1
    mean, square = state.mean_of[name], state.square_of[name]
    mean.lerp_(gradient, 1 - settings.beta1)
    square.mul_(settings.beta2).addcmul_(gradient, gradient, value=1 - settings.beta2)
    spread = square.sqrt().div_((1 - settings.beta2**t) ** 0.5).add_(ADAM_EPSILON)
    state.parameter(name).addcdiv_(mean, spread, value=-settings.learning_rate / (1 - settings.beta1**t))
