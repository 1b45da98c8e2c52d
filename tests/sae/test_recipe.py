import dataclasses

import pytest

from splat_assets.errors import InputError
from splat_assets.sae import SaeRecipe


def test_the_default_width_is_48_times_the_input() -> None:
    assert SaeRecipe().checked_for(512).d_sae == 24_576


def test_d_sae_overrides_the_expansion_factor() -> None:
    assert SaeRecipe(d_sae=100, expansion_factor=4).checked_for(16).d_sae == 100


def test_k_larger_than_the_dictionary_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"k = 65 is larger than the dictionary of 64 features \(inputs of width 16\)"):
        SaeRecipe(k=65, expansion_factor=4).checked_for(16)


def test_a_dictionary_that_no_machine_holds_is_refused() -> None:
    with pytest.raises(InputError, match="16,000,000,000,000 features are more than the 10,000,000"):
        SaeRecipe(expansion_factor=1e12).checked_for(16)


def test_k_does_not_matter_to_relu_l1() -> None:
    assert SaeRecipe(architecture="relu_l1", d_sae=8).checked_for(16).d_sae == 8


def test_dead_features_get_half_the_input_width_up_to_256_and_twice_k() -> None:
    assert SaeRecipe().checked_for(64).aux_k == 32
    assert SaeRecipe(k=500).checked_for(2048).aux_k == 256
    assert SaeRecipe(k=4).checked_for(2048).aux_k == 8
    assert SaeRecipe(aux_k=0).checked_for(64).aux_k == 0


def test_the_default_learning_rate_falls_with_k() -> None:
    assert SaeRecipe(d_sae=500, k=2).checked_for(64).lr == 0.008
    assert SaeRecipe(d_sae=500, k=8).checked_for(64).lr == pytest.approx(0.003)
    assert SaeRecipe(d_sae=24_576, k=64).checked_for(512).lr == pytest.approx(3.75e-4)
    assert SaeRecipe(d_sae=900, architecture="relu_l1").checked_for(64).lr == pytest.approx(0.006)
    assert SaeRecipe(lr=1e-5).checked_for(64).lr == 1e-5


def test_silence_is_counted_in_rows_from_ten_batches_to_a_quarter_million_and_a_tenth_of_all_that_are_seen() -> None:
    recipe = SaeRecipe(batch_size=100, epochs=5)
    assert [recipe.dead_after(n) for n in (1, 500, 3_000, 40_000, 10_000_000)] == [1, 250, 1_000, 10_000, 250_000]
    assert SaeRecipe(batch_size=4096, epochs=40).dead_after(1_000) == 4_000, "a batch holds 1,000 rows here, not 4,096"
    assert SaeRecipe(dead_after_samples=7).dead_after(40_000) == 7


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"architecture": "gated"}, "architecture 'gated' is not one of batch_topk, relu_l1"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
        ({"lr": float("nan")}, "lr must be above 0, not nan"),
        ({"l1_coeff": -1.0}, "l1_coeff must be 0 or more"),
        ({"lr_warmup_fraction": 1.5}, "lr_warmup_fraction must be between 0 and 1"),
        ({"adam_beta2": 1.0}, r"adam_beta2 must be in \[0, 1\)"),
        ({"d_sae": 0}, "d_sae must be at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SaeRecipe(**setting)


def test_every_setting_has_a_line_of_help() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(SaeRecipe))
