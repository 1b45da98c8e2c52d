from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from splat_assets.sae import SaeRecipe
from splat_assets.sae.training.fused_step import FusedStep
from splat_assets.sae.training.state import PARAMETERS, TrainingState, initial_state, measure_inputs
from splat_assets.sae.training.step import AutogradStep, Decode, StepSettings, adam_update, batch_topk_loss
from tests.sae.planted import planted

D_IN, D_SAE, BATCH = 20, 300, 130
NEVER_DEAD = 10**9


def a_state(seed: int = 0) -> TrainingState:
    x = planted(400, D_IN, 60, 4, seed=1).values
    return initial_state(SaeRecipe(d_sae=D_SAE, k=4, seed=seed), measure_inputs(x, np.arange(400)), x)


def a_batch(step: int) -> torch.Tensor:
    x = planted(400, D_IN, 60, 4, seed=1).values
    scaled = x * np.float32(measure_inputs(x, np.arange(400)).scale)
    return torch.from_numpy(scaled[np.arange(step * BATCH, (step + 1) * BATCH) % 400])


def settings(
    dead_after: int = NEVER_DEAD, aux_k: int = 10, clip_norm: float | None = 0.01, **other: float
) -> StepSettings:
    return StepSettings(
        learning_rate=1e-3, k=4, aux_k=aux_k, aux_coeff=1 / 32, dead_after=dead_after, beta1=0.9, beta2=0.999,
        clip_norm=clip_norm, **other,
    )  # fmt: skip


def disagreement(decode: Decode | None = None, n_steps: int = 6, **chosen: float | None) -> dict[str, float]:
    """Largest differences between the fused step and the plain one after some steps."""
    plain = AutogradStep(partial(batch_topk_loss, decode=decode) if decode else batch_topk_loss)
    fused, expected, found = FusedStep(), a_state(), a_state()
    worst = {"loss": 0.0, "norm": 0.0}
    for step in range(n_steps):
        one, two = plain(expected, a_batch(step), settings(**chosen)), fused(found, a_batch(step), settings(**chosen))
        assert (one.n_active, one.n_dead) == (two.n_active, two.n_dead)
        worst["loss"] = max(worst["loss"], abs(one.loss / two.loss - 1), abs(one.squared_error / two.squared_error - 1))
        worst["norm"] = max(worst["norm"], abs(one.gradient_norm / two.gradient_norm - 1))
    for name, value in expected.tensors().items():
        difference = (value - found.tensors()[name]).abs().max()
        worst[name] = float(difference / value.abs().max().clamp(min=1e-30)) if "." in name else float(difference)
    return worst


@pytest.mark.parametrize("clip_norm", [None, 0.01])
@pytest.mark.parametrize(
    ("dead_after", "aux_k"),
    [(NEVER_DEAD, 10), (BATCH, 0), (BATCH, 10), (BATCH, 10_000)],
    ids=["none dead", "aux off", "more dead than aux_k", "fewer dead than aux_k"],
)
def test_the_fused_step_equals_the_plain_one(dead_after: int, aux_k: int, clip_norm: float | None) -> None:
    worst = disagreement(dead_after=dead_after, aux_k=aux_k, clip_norm=clip_norm)

    assert worst["silent_for"] == 0
    assert max(worst.values()) < 1e-5, worst


@pytest.mark.parametrize("n_rows", [1, 5, 64])
def test_rows_whose_residual_does_not_vary_have_no_share_for_dead_features_to_model(n_rows: int) -> None:
    chosen = settings(dead_after=1, clip_norm=None)
    for row in range(BATCH):
        x = a_batch(0)[row : row + 1].repeat(n_rows, 1)
        expected, found = a_state(), a_state()
        for state in (expected, found):
            state.silent_for[10:] = NEVER_DEAD

        one, two = AutogradStep(batch_topk_loss)(expected, x, chosen), FusedStep()(found, x, chosen)

        assert one.aux_loss == two.aux_loss == 0
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)


def without_gradient(hidden: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        directions = decoder / decoder.norm(dim=1, keepdim=True)
    return hidden @ directions


def test_a_decode_that_hides_the_decoder_from_the_gradient_does_not_equal_it() -> None:
    worst = disagreement(without_gradient)

    assert worst["decoder.mean"] > 0.9


@pytest.mark.parametrize("step", [AutogradStep(batch_topk_loss), FusedStep()], ids=["plain", "fused"])
def test_every_parameter_has_a_gradient_at_the_first_step(step: Callable[..., object]) -> None:
    state = a_state()

    step(state, a_batch(0), settings())

    for name in PARAMETERS:
        assert state.mean_of[name].abs().max() > 0, name


@pytest.mark.parametrize("step", [AutogradStep(batch_topk_loss), FusedStep()], ids=["plain", "fused"])
def test_dead_features_alone_are_pulled_by_the_residual_in_encoder_and_decoder(step: Callable[..., object]) -> None:
    with_aux, without = a_state(), a_state()
    dead = torch.arange(D_SAE) % 10 == 0
    for state in (with_aux, without):
        state.b_enc[dead] -= 0.2
        state.silent_for[dead] = NEVER_DEAD

    step(with_aux, a_batch(0), settings(clip_norm=None))
    step(without, a_batch(0), settings(clip_norm=None, aux_k=0))

    silent = with_aux.silent_for > BATCH
    assert silent.any()
    for name in ("encoder", "decoder", "b_enc"):
        pulled, alone = with_aux.mean_of[name], without.mean_of[name]
        torch.testing.assert_close(pulled[~dead], alone[~dead], rtol=1e-5, atol=1e-9)
        assert alone[silent].abs().max() == 0
        assert (pulled[silent].reshape(int(silent.sum()), -1).abs().amax(dim=1) > 0).float().mean() > 0.5, name


@pytest.mark.parametrize("step", [AutogradStep(batch_topk_loss), FusedStep()], ids=["plain", "fused"])
def test_decoder_rows_stay_unit_norm_and_are_pulled_across_themselves(step: Callable[..., object]) -> None:
    state = a_state()
    before = state.decoder.clone()

    step(state, a_batch(0), settings())

    torch.testing.assert_close(state.decoder.norm(dim=1), torch.ones(D_SAE), rtol=0, atol=1e-6)
    along = (state.mean_of["decoder"] * before).sum(dim=1) / state.mean_of["decoder"].norm(dim=1).clamp(min=1e-30)
    assert along.abs().max() < 1e-5


def test_our_adam_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    state, chosen = a_state(), settings()
    theirs = state.b_enc.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=chosen.learning_rate, betas=(0.9, 0.999), eps=6.25e-10)

    for step in range(20):
        gradient = torch.randn(D_SAE, generator=generator)
        theirs.grad = gradient.clone()
        optimiser.step()
        state.step = step
        adam_update(state, "b_enc", gradient, chosen)

    torch.testing.assert_close(state.b_enc, theirs.detach())
