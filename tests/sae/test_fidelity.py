from collections.abc import Callable

import numpy as np
import pytest
import torch

from splat_assets.errors import InputError
from splat_assets.sae.evaluate import downstream_fidelity
from tests.data.making import builds_of
from tests.model.conftest import tiny_model

BUILDS = builds_of(([0, 1], 0), ([2], 1), ([0, 3, 4], 2), ([1, 4], 1), ([0], 0), ([1, 2, 3], 2))
ROWS = np.array([0, 2, 3, 4, 5])


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def constant(value: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.from_numpy(value).expand_as(x)


def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


def mean_of(hook_target: str) -> np.ndarray:
    tokens, weapons = (torch.from_numpy(part) for part in BUILDS.batch(ROWS, 5))
    return tiny_model().activations(tokens, weapons, hook_target=hook_target).values.mean(dim=0).numpy()


def measured(
    reconstruct: Callable[[torch.Tensor], torch.Tensor], hook_target: str = "masked_mean"
) -> dict[str, float | None]:
    return downstream_fidelity(
        tiny_model(), reconstruct, BUILDS, ROWS, mean=mean_of(hook_target), hook_target=hook_target
    )


@pytest.mark.parametrize("hook_target", ["masked_mean", "token_ff"])
def test_a_perfect_reconstruction_scores_one_and_changes_nothing(hook_target: str) -> None:
    found = measured(identity, hook_target)

    assert found["fidelity"] == pytest.approx(1, abs=1e-6)
    assert found["fidelity_to_zero"] == pytest.approx(1, abs=1e-6)
    assert found["kl_sae"] == found["top1_change_sae"] == found["top10_change_sae"] == 0
    assert found["n_fidelity_builds"] == 5


@pytest.mark.parametrize("hook_target", ["masked_mean", "token_ff"])
def test_the_mean_in_place_scores_zero(hook_target: str) -> None:
    found = measured(constant(mean_of(hook_target)), hook_target)

    assert found["fidelity"] == pytest.approx(0, abs=1e-6)
    assert found["kl_sae"] == pytest.approx(found["kl_mean"])


def test_the_figures_follow_their_formulas() -> None:
    model = tiny_model()
    tokens, weapons = (torch.from_numpy(part) for part in BUILDS.batch(ROWS, 5))
    values = model.activations(tokens, weapons).values
    before = model(tokens, weapons).double()
    after = ((values / 2) @ model.output_weight.T + before.float() - values @ model.output_weight.T).double()
    worn = torch.zeros(5, 6, dtype=torch.float64)
    for i, row in enumerate(ROWS):
        worn[i, BUILDS.tokens_of(int(row)).tolist()] = 1

    found = measured(halved)

    p, q = before.sigmoid(), after.sigmoid()
    kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    bce = -(worn * q.log() + (1 - worn) * (1 - q).log())
    assert found["kl_sae"] == pytest.approx(float(kl.mean()), rel=1e-4)
    assert found["bce_sae"] == pytest.approx(float(bce.mean()), rel=1e-4)
    assert found["top1_change_sae"] == float((before.argmax(dim=1) != after.argmax(dim=1)).double().mean())
    assert found["fidelity"] == pytest.approx(1 - found["kl_sae"] / found["kl_mean"])


def one_build_with_ablation_that(shift: float) -> tuple[np.ndarray, np.ndarray]:
    """A build, and what to put in place of its activation: shift > 0 lowers the loss, < 0 raises it, 0 is the activation."""
    row, model = ROWS[:1], tiny_model()
    tokens, weapons = (torch.from_numpy(part) for part in BUILDS.batch(row, 5))
    worn = torch.zeros(6)
    worn[BUILDS.tokens_of(int(row[0])).tolist()] = 1
    downhill = (worn - model(tokens, weapons)[0].sigmoid()) @ model.output_weight
    return row, (model.activations(tokens, weapons).values[0] + shift * downhill).detach().numpy()


def test_the_loss_won_back_is_a_share_of_what_ablation_costs() -> None:
    row, worse = one_build_with_ablation_that(-1)

    perfect, worst, half = (
        downstream_fidelity(tiny_model(), reconstruct, BUILDS, row, mean=worse)
        for reconstruct in (identity, constant(worse), halved)
    )

    assert perfect["bce_recovered"] == pytest.approx(1)
    assert worst["bce_recovered"] == pytest.approx(0)
    cost = half["bce_mean"] - half["bce_original"]
    assert half["bce_recovered"] == pytest.approx(1 - (half["bce_sae"] - half["bce_original"]) / cost)


@pytest.mark.parametrize("shift", [1.0, 0.0])
def test_what_ablation_does_not_cost_cannot_be_won_back(shift: float) -> None:
    row, ablated = one_build_with_ablation_that(shift)

    found = downstream_fidelity(tiny_model(), halved, BUILDS, row, mean=ablated)

    assert found["bce_mean"] <= found["bce_original"]
    assert found["bce_recovered"] is None
    assert (found["fidelity"] is None) == (shift == 0)


def test_no_builds_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="at least one build"):
        downstream_fidelity(tiny_model(), identity, BUILDS, np.arange(0), mean=mean_of("masked_mean"))
