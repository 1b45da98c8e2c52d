import pytest
import torch

from splat_assets.sae.training.dense_step import DenseStep
from splat_assets.sae.training.step import AutogradStep, relu_l1_loss
from tests.sae.test_fused_step import a_batch, a_state, settings


@pytest.mark.parametrize("clip_norm", [None, 0.01])
@pytest.mark.parametrize("l1_weight", [0.0, 0.02])
def test_the_banded_step_equals_the_plain_one(l1_weight: float, clip_norm: float | None) -> None:
    plain, banded, expected, found = AutogradStep(relu_l1_loss), DenseStep(), a_state(), a_state()
    chosen = settings(clip_norm=clip_norm, l1_weight=l1_weight)

    for step in range(6):
        one, two = plain(expected, a_batch(step), chosen), banded(found, a_batch(step), chosen)
        assert one.n_active == pytest.approx(two.n_active, abs=2)
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-5)

    for name, value in expected.tensors().items():
        torch.testing.assert_close(found.tensors()[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()))
