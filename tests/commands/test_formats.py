"""The guide's steps 3 and 4 as commands, where folders are in use already."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from tests.contracts.sources import VOCABULARY
from tests.store.making import bytes_below, write_raw

DENSE = np.eye(6, 3, dtype=np.float32)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_raw(tmp_path / "raw", DENSE, 4)
    VOCABULARY.save(tmp_path / "raw" / "vocabulary.json")
    return tmp_path / "raw"


def splat(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def convert(raw: Path) -> Result:
    return splat("convert", "--input-dir", raw, "--output-dir", raw.parent / "tree")


def test_tables_of_other_activations_in_precomputed_are_pointed_out(raw: Path) -> None:
    (raw.parent / "tree" / "precomputed").mkdir(parents=True)

    first, again = convert(raw), convert(raw)
    write_raw(raw, DENSE * 2, 4)
    other = convert(raw)

    assert [result.exit_code for result in (first, again, other)] == [0, 0, 0]
    assert "precomputed was computed from other activations" in first.stderr and "precomputed" in other.stderr
    assert "precomputed" not in again.stderr


@pytest.mark.parametrize(
    ("command", "foreign"),
    [
        (("sparse-extract", "--source-dir", "raw", "--output-dir", "out"), "thesis.tex"),
        (("convert", "--input-dir", "raw", "--output-dir", "out"), "metadata/notes.txt"),
        (("convert", "--input-dir", "raw", "--output-dir", "out"), "embeddings/vectors.csv"),
    ],
)
def test_files_of_others_are_never_replaced(
    command: tuple[str, ...], foreign: str, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(raw.parent)
    (raw.parent / "out" / foreign).parent.mkdir(parents=True)
    (raw.parent / "out" / foreign).write_text("precious")

    result = splat(*command)

    assert result.exit_code == 2
    assert f"{Path(foreign).name}, which would be lost" in result.stderr
    assert bytes_below(raw.parent / "out") == {foreign: b"precious"}


def test_a_folder_is_not_extracted_over_its_own_source(raw: Path) -> None:
    before = bytes_below(raw)

    result = splat("sparse-extract", "--source-dir", raw, "--output-dir", raw)

    assert result.exit_code == 2
    assert "is inside" in result.stderr
    assert bytes_below(raw) == before


def test_nothing_is_written_into_a_run_by_hand(raw: Path) -> None:
    (raw.parent / "my_run").mkdir()
    (raw.parent / "my_run" / "run.toml").touch()
    inside = raw.parent / "my_run" / "activations_efficient"

    shown = [
        splat("convert", "--input-dir", raw, "--output-dir", inside),
        splat("transpose", "--source-dir", raw, "--target-dir", inside),
        splat("histograms", "--data-dir", raw, "--output-dir", inside / "precomputed"),
        splat("idf", "--data-dir", raw, "--output-path", inside / "idf.parquet"),
    ]

    assert [result.exit_code for result in shown] == [2, 2, 2, 2]
    assert all("belongs to the run my_run" in result.stderr for result in shown)
    assert not inside.exists()


def test_a_dataset_that_is_cut_off_is_not_converted_as_a_smaller_one(raw: Path) -> None:
    (raw / "shard-00001").rename(raw / "elsewhere")

    result = convert(raw)

    assert result.exit_code == 2
    assert "is unfinished: shard-00001 is missing" in result.stderr
    assert not (raw.parent / "tree").exists()


@pytest.mark.parametrize("name", ["idf.json", "idf.csv", "idf"])
def test_the_idf_table_must_be_named_for_what_it_is(name: str, raw: Path) -> None:
    result = splat("idf", "--data-dir", raw, "--output-path", raw.parent / name)

    assert result.exit_code == 2
    assert f"{name} must be named *.parquet" in result.stderr
    assert not (raw.parent / name).exists()


def test_a_folder_is_no_name_for_a_table(raw: Path) -> None:
    result = splat("idf", "--data-dir", raw, "--output-path", raw.parent)

    assert result.exit_code == 2
    assert "is a directory" in result.stderr
