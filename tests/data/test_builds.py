from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from tests.data.making import builds_of

THREE = builds_of(([5, 6], 1), ([7], 0), ([8, 5, 9], 1))


def test_a_build_has_its_own_tokens_in_their_order() -> None:
    assert [THREE.tokens_of(i).tolist() for i in range(THREE.n_builds)] == [[5, 6], [7], [8, 5, 9]]
    assert THREE.build_of_token.tolist() == [0, 0, 1, 2, 2, 2]


def test_a_batch_is_padded_to_its_longest_build() -> None:
    tokens, weapons = THREE.batch(np.array([2, 0, 0]), pad_id=99)

    assert tokens.tolist() == [[8, 5, 9], [5, 6, 99], [5, 6, 99]]
    assert weapons.tolist() == [[1], [1], [1]]
    assert tokens.dtype == weapons.dtype == np.int64


def test_a_batch_of_no_builds_is_empty() -> None:
    tokens, weapons = THREE.batch(np.array([], dtype=np.int64), pad_id=99)

    assert tokens.shape == (0, 0)
    assert weapons.shape == (0, 1)


def test_taking_rows_keeps_their_columns_together() -> None:
    taken = THREE.with_split(np.array([0, 1, 2], dtype=np.uint8)).take(np.array([2, 1, 2]))

    assert [taken.tokens_of(i).tolist() for i in range(3)] == [[8, 5, 9], [7], [8, 5, 9]]
    assert taken.split.tolist() == [2, 1, 2]
    assert taken.source_row.tolist() == [2, 1, 2]


def test_rows_of_a_split_are_selected_by_its_name() -> None:
    split = THREE.with_split(np.array([1, 0, 1], dtype=np.uint8))

    assert split.rows_of("train").tolist() == [1]
    assert split.rows_of("validation").tolist() == [0, 2]
    assert split.rows_of("test").tolist() == []


def test_saved_builds_load_as_they_were(tmp_path: Path) -> None:
    split = THREE.with_split(np.array([1, 0, 2], dtype=np.uint8))

    split.save(tmp_path / "builds.parquet")
    loaded = Builds.load(tmp_path / "builds.parquet")

    assert loaded.fingerprint == split.fingerprint
    assert [loaded.tokens_of(i).tolist() for i in range(3)] == [[5, 6], [7], [8, 5, 9]]


def test_the_same_builds_are_saved_as_the_same_bytes(tmp_path: Path) -> None:
    THREE.save(tmp_path / "one.parquet")
    THREE.save(tmp_path / "two.parquet")

    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_no_builds_save_and_load(tmp_path: Path) -> None:
    THREE.take(np.array([], dtype=np.int64)).save(tmp_path / "none.parquet")

    assert Builds.load(tmp_path / "none.parquet").n_builds == 0


def test_the_fingerprint_changes_with_every_column() -> None:
    variants = [
        THREE,
        builds_of(([5], 1), ([6, 7], 0), ([8, 5, 9], 1)),
        replace(THREE, weapons=np.array([1, 1, 1], dtype=np.int32)),
        THREE.with_split(np.array([0, 0, 1], dtype=np.uint8)),
        replace(THREE, source_row=np.array([0, 1, 3])),
        replace(THREE, tokens=np.array([5, 6, 7, 8, 5, 10], dtype=np.int32)),
    ]

    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_columns_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree in length"):
        replace(THREE, split=np.zeros(2, dtype=np.uint8))
    with pytest.raises(ValueError, match="offsets must rise"):
        replace(THREE, offsets=np.array([0, 2, 2, 6]))
    with pytest.raises(ValueError, match="have the types"):
        replace(THREE, tokens=THREE.tokens.astype(np.int64))


def test_a_file_that_holds_no_builds_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"tokens": [[1]]}).write_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")

    with pytest.raises(InputError, match=r"other\.parquet does not hold builds"):
        Builds.load(tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"cannot read the builds .*text\.parquet"):
        Builds.load(tmp_path / "text.parquet")
    with pytest.raises(InputError, match=r"cannot read the builds .*gone\.parquet"):
        Builds.load(tmp_path / "gone.parquet")
