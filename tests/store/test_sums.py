import subprocess
from pathlib import Path

import pytest

from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import sha256_of_file
from splat_assets.store.sums import SUMS, as_recorded, record_sums, recorded_sum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "builds.csv").write_text("[0]\t1\n")
    record_sums(tmp_path, ["vocab.json", "builds.csv"])
    return tmp_path


def test_the_list_is_one_that_sha256sum_checks(folder: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, capture_output=True, text=True)

    assert checked.returncode == 0 and checked.stdout == "vocab.json: OK\nbuilds.csv: OK\n"


def test_what_others_listed_stays_and_their_forms_are_read(folder: Path) -> None:
    other = "0" * 64
    (folder / SUMS).write_text(f"# our data\n{other} *./other.bin\n{'A' * 64}  vocab.json\n")

    assert recorded_sum(folder / "vocab.json") == "a" * 64
    record_sums(folder, ["vocab.json"])

    assert recorded_sum(folder / "other.bin") == other
    assert recorded_sum(folder / "vocab.json") == sha256_of_file(folder / "vocab.json")
    assert recorded_sum(folder / "builds.csv") is None
    assert "# our data\n" in (folder / SUMS).read_text()


def test_files_that_are_as_listed_or_not_listed_are_read(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")

    with as_recorded(folder / "vocab.json", folder / "notes.txt", folder / "builds.csv", folder / "absent"):
        pass


def test_a_file_that_differs_from_its_line_is_refused_with_both_digests_and_the_way_on(folder: Path) -> None:
    listed = sha256_of_file(folder / "vocab.json")
    (folder / "vocab.json").write_text('{"b": 0}')

    with (
        pytest.raises(
            FingerprintMismatchError, match="vocab.json is damaged or was changed.*remove its line"
        ) as refusal,
        as_recorded(folder / "builds.csv", folder / "vocab.json"),
    ):
        pass
    assert (refusal.value.expected, refusal.value.actual) == (listed, sha256_of_file(folder / "vocab.json"))


def test_an_error_from_a_damaged_file_names_the_damage(folder: Path) -> None:
    (folder / "builds.csv").write_text("[9]\t1\n")

    with (
        pytest.raises(InputError, match="row 1: token id 9.*may be damage: .*builds.csv is damaged or was changed"),
        as_recorded(folder / "builds.csv"),
    ):
        raise InputError("row 1: token id 9 is not in the vocabulary")


def test_an_error_from_intact_files_is_unchanged(folder: Path) -> None:
    with pytest.raises(InputError) as refusal, as_recorded(folder / "builds.csv"):
        raise InputError("row 1: token id 9 is not in the vocabulary")
    assert str(refusal.value) == "row 1: token id 9 is not in the vocabulary"
