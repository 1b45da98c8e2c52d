from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.errors import InputError
from splat_assets.model import HOOK_TARGETS, BaseModel, load_base_model
from tests.model.conftest import PAD, tiny_model

TOKENS = torch.tensor([[0, 1, 2, PAD], [3, PAD, PAD, PAD], [4, 2, 1, 0]])
WEAPONS = torch.tensor([[0], [2], [1]])


class TestUpstreamCheckpoint:
    def test_logits_pooled_vector_and_last_feed_forward_equal_what_upstream_computes(self, upstream: Path) -> None:
        expected = np.load(upstream / "expected.npz")
        tokens, weapons = torch.from_numpy(expected["ability_tokens"]), torch.from_numpy(expected["weapon_token"])
        model = load_base_model(upstream)

        logits = model(tokens, weapons)
        pooled = model.activations(tokens, weapons, hook_target="masked_mean")
        fed = model.activations(tokens, weapons, hook_target="token_ff")

        np.testing.assert_allclose(logits, expected["logits"], atol=1e-5)
        np.testing.assert_allclose(pooled.values, expected["masked_mean"], atol=1e-5)
        there = expected["token_ff_last_layer_module2"][fed.rows, fed.positions]
        np.testing.assert_allclose(fed.values, there, atol=1e-5)
        assert len(fed.values) == int((expected["ability_tokens"] != model.pad_id).sum())


def test_padding_changes_no_logit() -> None:
    model = tiny_model()

    alone = torch.cat([model(TOKENS[i : i + 1][TOKENS[i : i + 1] != PAD][None], WEAPONS[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(model(TOKENS, WEAPONS), alone, atol=1e-5, rtol=0)


def test_the_order_of_tokens_changes_no_logit() -> None:
    model = tiny_model()

    torch.testing.assert_close(model(TOKENS.flip(1), WEAPONS), model(TOKENS, WEAPONS), atol=1e-5, rtol=0)


def test_the_pooled_vector_times_the_output_layer_is_the_logits() -> None:
    model = tiny_model()

    pooled = model.activations(TOKENS, WEAPONS)

    assert pooled.rows.tolist() == [0, 1, 2] and pooled.positions.tolist() == [-1, -1, -1]
    logits = pooled.values @ model.output_weight.T + model.output_layer.bias
    torch.testing.assert_close(logits, model(TOKENS, WEAPONS), atol=1e-5, rtol=0)


def test_token_activations_leave_padding_out_and_keep_positions() -> None:
    found = tiny_model().activations(
        torch.tensor([[PAD, 1, PAD, 2], [3, PAD, PAD, PAD]]), WEAPONS[:2], hook_target="token_ff"
    )

    assert found.rows.tolist() == [0, 0, 1]
    assert found.positions.tolist() == [1, 3, 0]
    assert found.values.shape == (3, 8)


def test_activations_can_be_trained_on() -> None:
    values = tiny_model().activations(TOKENS, WEAPONS).values
    weight = torch.ones(8, requires_grad=True)

    (values * weight).sum().backward()

    assert weight.grad is not None


HOOKS = [("masked_mean", -1, 2), *[("token_ff", layer, module) for layer in (0, 1, -1) for module in (0, 1, 2)]]


@pytest.mark.parametrize(("target", "layer", "module"), HOOKS)
def test_replacing_values_by_themselves_changes_no_logit(target: str, layer: int, module: int) -> None:
    model = tiny_model()
    hook = {"hook_target": target, "layer_index": layer, "ff_module_index": module}

    logits = model.logits_with(TOKENS, WEAPONS, lambda values: values.clone(), **hook)

    torch.testing.assert_close(logits, model(TOKENS, WEAPONS), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("target", "layer", "module"), HOOKS)
def test_what_is_replaced_is_what_activations_give_and_the_logits_follow(target: str, layer: int, module: int) -> None:
    model = tiny_model()
    hook = {"hook_target": target, "layer_index": layer, "ff_module_index": module}
    seen = []

    def zeroed(values: torch.Tensor) -> torch.Tensor:
        seen.append(values)
        return torch.zeros_like(values)

    logits = model.logits_with(TOKENS, WEAPONS, zeroed, **hook)

    torch.testing.assert_close(seen[0], model.activations(TOKENS, WEAPONS, **hook).values, atol=1e-5, rtol=0)
    assert seen[0].shape[1] == model.hook_width(target, module)
    assert not torch.allclose(logits, model(TOKENS, WEAPONS), atol=1e-3)
    if target == "masked_mean":
        torch.testing.assert_close(logits, model.output_layer.bias.expand(3, -1))


def test_a_replacement_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(3, 7\); the hook's values have \(3, 8\)"):
        tiny_model().logits_with(TOKENS, WEAPONS, lambda values: values[:, 1:])


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1)])
def test_a_batch_may_hold_no_row_or_one(rows: slice) -> None:
    model = tiny_model()

    assert model(TOKENS[rows], WEAPONS[rows]).shape == (rows.stop, 6)
    assert model.activations(TOKENS[rows], WEAPONS[rows]).values.shape == (rows.stop, 8)


def test_a_row_of_padding_is_refused_by_its_number() -> None:
    tokens = torch.tensor([[0, 1], [PAD, PAD]])

    with pytest.raises(InputError, match="row 1 of the batch holds only padding"):
        tiny_model()(tokens, WEAPONS[:2])
    with pytest.raises(InputError, match="row 1 of the batch holds only padding"):
        tiny_model().activations(tokens, WEAPONS[:2])


@pytest.mark.parametrize(
    ("tokens", "weapons", "said"),
    [
        ([[0, 1], [6, 1]], [[0], [0]], "row 1 of the batch holds ability token 6; the model has 0 to 5"),
        ([[0, -1]], [[0]], "row 0 of the batch holds ability token -1"),
        ([[0], [0]], [[0], [3]], "row 1 of the batch holds weapon 3; the model has 0 to 2"),
        ([0, 1], [[0]], r"shape \(B, S\)"),
        ([[0, 1]], [0], r"shape \(B, 1\)"),
    ],
)
def test_ids_and_shapes_the_model_does_not_have_are_refused(tokens: list, weapons: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tiny_model()(torch.tensor(tokens), torch.tensor(weapons))


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({"hook_target": "residual"}, "unknown hook target 'residual'; the targets are masked_mean, token_ff"),
        (
            {"hook_target": "token_ff", "layer_index": 2},
            "layer 2 does not exist in the model: its 2 layers are 0 to 1, or -1 for the last",
        ),
        ({"hook_target": "token_ff", "ff_module_index": 3}, "module 3 of a feed-forward"),
    ],
)
def test_an_unknown_hook_is_refused_with_what_there_is(hook: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tiny_model().activations(TOKENS, WEAPONS, **hook)


def test_widths_follow_the_hook() -> None:
    model: BaseModel = tiny_model()

    assert HOOK_TARGETS == ("masked_mean", "token_ff")
    assert [model.hook_width("token_ff", module) for module in (0, 1, 2)] == [32, 32, 8]
    assert model.hook_width("masked_mean") == 8


def test_the_fingerprint_follows_weights_heads_and_padding() -> None:
    model, same, other = tiny_model(), tiny_model(), tiny_model()
    other.output_layer.bias[0] += 1e-3

    assert model.fingerprint == same.fingerprint
    assert len({model.fingerprint, other.fingerprint, tiny_model(num_heads=4).fingerprint}) == 3
