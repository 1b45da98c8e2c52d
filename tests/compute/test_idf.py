import math
from pathlib import Path

import polars as pl
import pytest

from splat_assets.compute.idf import mismatched_idf, write_idf
from splat_assets.errors import InputError
from splat_assets.store.errors import LayoutError
from splat_assets.store.tables import read_table, table_facts
from tests.compute.planting import rewrite, swap_rows
from tests.contracts.sources import VOCABULARY, sample_table

SAMPLES = pl.DataFrame(
    {"tokens": [[0, 1], [0], [2, 2, 0], [3]], "token_position": [-1] * 4},
    schema={"tokens": pl.List(pl.Int32), "token_position": pl.Int32},
)


def test_each_token_has_its_document_frequency_null_rows_included(tmp_path: Path) -> None:
    written = write_idf(SAMPLES, VOCABULARY, tmp_path / "idf.parquet")

    table = read_table(tmp_path / "idf.parquet")
    assert table["ability_input_tokens"].to_list() == [0, 1, 2, 3, 4]
    assert table["token"].to_list() == ["swim_speed_up_3", "swim_speed_up_6", "comeback", "<NULL>", "<PAD>"]
    assert table["doc_freq"].to_list() == [3, 1, 1, 1, 0]
    assert table["idf"].to_list() == pytest.approx([math.log(5) - math.log(n + 1) for n in (3, 1, 1, 1, 0)])
    assert (written.n_documents, written.n_tokens, written.n_unseen) == (4, 5, 1)
    assert table_facts(tmp_path / "idf.parquet")["n_documents"] == 4


def test_a_build_read_token_by_token_counts_once(tmp_path: Path) -> None:
    rows = [([0, 1], 0), ([0, 1], 1), ([2], 0), ([0, 1, 2], 0), ([0, 1, 2], 1), ([0, 1, 2], 2)]
    samples = pl.DataFrame(rows, schema={"tokens": pl.List(pl.Int32), "token_position": pl.Int32}, orient="row")

    written = write_idf(samples, VOCABULARY, tmp_path / "idf.parquet")

    assert written.n_documents == 3
    assert read_table(tmp_path / "idf.parquet")["doc_freq"].to_list() == [2, 2, 2, 0, 0]


def test_a_file_of_samples_gives_the_same_bytes_as_the_table(tmp_path: Path) -> None:
    samples = sample_table(300)
    samples.write_parquet(tmp_path / "samples.parquet")

    write_idf(samples, VOCABULARY, tmp_path / "a.parquet")
    write_idf(tmp_path / "samples.parquet", VOCABULARY, tmp_path / "b.parquet")

    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert mismatched_idf(samples, VOCABULARY, tmp_path / "b.parquet") == []


def test_a_token_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokens 2 to 5, but the vocabulary has 0 to 4"):
        write_idf(pl.DataFrame({"tokens": [[5, 2]]}), VOCABULARY, tmp_path / "idf.parquet")

    assert list(tmp_path.iterdir()) == []


def test_samples_without_tokens_or_without_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="lacks the column tokens; it has weapon"):
        write_idf(pl.DataFrame({"weapon": [1]}), VOCABULARY, tmp_path / "idf.parquet")
    with pytest.raises(LayoutError, match=r"the sample table .* does not exist"):
        write_idf(tmp_path / "none.parquet", VOCABULARY, tmp_path / "idf.parquet")


def test_the_check_finds_a_wrong_count_a_swapped_row_and_other_samples(tmp_path: Path) -> None:
    path = tmp_path / "idf.parquet"
    write_idf(SAMPLES, VOCABULARY, path)
    assert mismatched_idf(SAMPLES, VOCABULARY, path) == []

    rewrite(path, 1, doc_freq=2)
    assert mismatched_idf(SAMPLES, VOCABULARY, path) == [1]

    write_idf(SAMPLES, VOCABULARY, path)
    swap_rows(path, 0, 4)
    assert mismatched_idf(SAMPLES, VOCABULARY, path) == [0, 4]

    write_idf(SAMPLES, VOCABULARY, path)
    assert mismatched_idf(pl.concat([SAMPLES, SAMPLES]), VOCABULARY, path) == [0, 1, 2, 3, 4]
