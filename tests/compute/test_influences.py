import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from splat_assets.compute.influences import mismatched_influences, read_influences, wide_influences, write_influences
from splat_assets.errors import InputError
from splat_assets.store.tables import read_table
from splat_assets.store.vocabulary import Token, Vocabulary
from tests.compute.planting import rewrite, swap_rows

NAMES = ["a", "<PAD>", "b", "c", "<NULL>"]
VOCABULARY = Vocabulary(tuple(Token(i, name, name) for i, name in enumerate(NAMES)), pad_id=1, null_id=4)
OUTPUT = np.array([[1, 0], [9, 9], [0, 1], [-1, 1], [9, 9]], dtype=np.float32)
DECODER = np.array([[2, 1], [0, 0], [-1, -3]], dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_influences(OUTPUT, DECODER, VOCABULARY, tmp_path / "influences.parquet")
    return tmp_path / "influences.parquet"


def test_the_table_holds_the_product_in_token_order_without_padding_and_null(path: Path) -> None:
    result = read_influences(path)

    assert (result.token_ids, result.token_names) == ((0, 2, 3), ("a", "b", "c"))
    assert result.values.tolist() == [[2, 1, -1], [0, 0, 0], [-1, -3, -2]]
    assert read_table(path).schema == {"feature_id": pl.UInt32, "influence": pl.Array(pl.Float32, 3)}


def test_the_wide_table_has_the_guides_columns_and_never_the_other_sign(path: Path) -> None:
    wide = wide_influences(path, 2, labels={2: "three"})

    assert wide.columns == [
        "feature_id", "feature_label", "+1_tok", "+1_val", "+2_tok", "+2_val", "-1_tok", "-1_val", "-2_tok", "-2_val",
    ]  # fmt: skip
    assert wide.rows() == [
        (0, None, "a", 2.0, "b", 1.0, "c", -1.0, None, None),
        (1, None, None, None, None, None, None, None, None, None),
        (2, "three", None, None, None, None, "b", -3.0, "c", -2.0),
    ]


def test_in_the_wide_table_outputs_that_never_occur_do_not_lead(path: Path) -> None:
    wide = wide_influences(path, 2, unseen=["a"])

    assert wide.select("+1_tok", "+2_tok").row(0) == ("b", "a")
    assert wide.select("-1_tok", "-2_tok").row(2) == ("b", "c")


@pytest.mark.parametrize("top_k", [0, 4])
def test_a_top_k_that_there_are_no_tokens_for_is_refused(top_k: int, path: Path) -> None:
    with pytest.raises(InputError, match=rf"between 1 and the 3 tokens .* not {top_k}"):
        wide_influences(path, top_k)


def test_matrices_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 outputs, the vocabulary 5 tokens"):
        write_influences(OUTPUT[:4], DECODER, VOCABULARY, tmp_path / "i.parquet")
    with pytest.raises(InputError, match="reads 2 dimensions, the SAE's decoder writes 3"):
        write_influences(OUTPUT, np.ones((3, 3), dtype=np.float32), VOCABULARY, tmp_path / "i.parquet")

    assert list(tmp_path.iterdir()) == []


def test_the_check_finds_a_changed_value_a_nan_a_swapped_row_and_another_decoder(path: Path) -> None:
    def wrong(n_sampled: int, decoder: np.ndarray = DECODER) -> list[int]:
        return mismatched_influences(OUTPUT, decoder, VOCABULARY, path, n_sampled, seed=0)

    assert wrong(3) == []
    rewrite(path, 2, influence=[-1, -3, -2.001])
    assert wrong(3) == [2]
    rewrite(path, 2, influence=[-1, math.nan, -2])
    assert wrong(0) == [2]
    rewrite(path, 2, influence=[-1, -3, -2])
    swap_rows(path, 0, 1)
    assert wrong(0) == [0, 1]
    swap_rows(path, 0, 1)
    assert wrong(3, DECODER[[1, 0, 2]]) == [0, 1]


def test_the_check_finds_a_table_about_other_tokens(path: Path) -> None:
    other = Vocabulary(tuple(Token(i, name, name) for i, name in enumerate(["b", *NAMES[1:2], "a", *NAMES[3:]])), 1, 4)

    assert mismatched_influences(OUTPUT, DECODER, other, path, 0, 0) == [0, 1, 2]


def test_influences_of_an_upstream_checkpoint_equal_what_upstream_computes(shared_dir: Path, tmp_path: Path) -> None:
    fixture = shared_dir / "fixtures" / "upstream_checkpoint"
    model = torch.load(fixture / "model.pth", weights_only=True)
    decoder = torch.load(fixture / "sae_model_final.pth", weights_only=True)["decoder.weight"].T
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    expected = np.load(fixture / "expected.npz")["influence"]
    tokens = tuple(Token(i, str(i), str(i)) for i in range(expected.shape[0] + 1))
    # One output more, as padding, so that none of the fixture's is left out.
    weights = np.vstack([model["output_layer.weight"].numpy(), np.zeros((1, decoder.shape[1]), dtype=np.float32)])

    write_influences(weights, decoder.numpy(), Vocabulary(tokens, len(tokens) - 1, None), tmp_path / "i.parquet")

    np.testing.assert_allclose(read_influences(tmp_path / "i.parquet").values, expected.T, atol=1e-5)
