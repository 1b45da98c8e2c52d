"""The samples of a folder, whichever layout it has."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.opening import samples_and_vocabulary
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table
from tests.store.making import write_raw

DENSE = np.eye(6, 3, dtype=np.float32)


def by_position() -> pl.DataFrame:
    """Two builds of three tokens, a sample for each token position."""
    return sample_table(6).with_columns(
        tokens=pl.Series([[0, 1, 2]] * 6, dtype=pl.List(pl.Int32)),
        token_position=pl.Series([0, 1, 2, 0, 1, 2], dtype=pl.Int32),
    )


def test_a_batch_tree_says_which_position_of_its_build_a_sample_is(tmp_path: Path) -> None:
    write_batches(DenseSource(DENSE), by_position(), None, VOCABULARY, tmp_path, batch_rows=4)

    samples, vocabulary = samples_and_vocabulary(tmp_path)

    assert samples["tokens"].to_list() == by_position()["tokens"].to_list()
    assert samples["token_position"].to_list() == [0, 1, 2, 0, 1, 2]
    assert vocabulary == VOCABULARY


def test_a_batch_tree_of_an_older_hand_has_tokens_alone(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    pl.DataFrame({"ability_tokens": [[0, 1], [2]]}).write_parquet(tmp_path / "metadata" / "batch_0000.parquet")

    samples, vocabulary = samples_and_vocabulary(tmp_path)

    assert samples.to_dict(as_series=False) == {"tokens": [[0, 1], [2]]}
    assert vocabulary is None


def test_raw_activations_give_their_samples(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, DENSE, 4)

    assert samples_and_vocabulary(tmp_path)[0].equals(raw.samples())


def test_metadata_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "batch_0000.parquet").write_text("junk")

    with pytest.raises(CorruptStoreError, match=r"batch_0000\.parquet cannot be read as a table"):
        samples_and_vocabulary(tmp_path)


def test_a_folder_without_samples_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="holds no samples: neither shard-00000"):
        samples_and_vocabulary(tmp_path)
