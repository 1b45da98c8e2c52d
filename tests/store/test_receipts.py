from pathlib import Path

import pytest

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.files import sha256_of_file
from splat_assets.store.receipts import Receipt, read_receipt, sha256_of_tree, write_receipt

INPUTS = {"dataset": "d" * 64}


def write(root: Path, outputs: list[Path], seconds: float = 1.0, **changes: str) -> Receipt:
    settings = {"step": "step", "code_version": "1"} | changes
    return write_receipt(
        root / "receipts", root, settings["step"], settings["code_version"], INPUTS, outputs, {"n": 3}, seconds
    )


def a_file_and_a_folder(root: Path) -> list[Path]:
    (root / "table").write_bytes(b"abc")
    (root / "tree" / "deep").mkdir(parents=True)
    (root / "tree" / "a").write_bytes(b"a")
    (root / "tree" / "deep" / "b").write_bytes(b"bb")
    return [root / "table", root / "tree"]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    written = write(tmp_path, a_file_and_a_folder(tmp_path))

    result = read_receipt(tmp_path / "receipts", "step")

    assert result == written
    assert result is not None and result.fingerprint == written.fingerprint
    assert (result.size_bytes, [output.path for output in result.outputs]) == (6, ["table", "tree"])
    assert [output.n_files for output in result.outputs] == [1, 2]


def test_the_path_of_a_receipt_is_the_folder_that_holds_all_outputs(tmp_path: Path) -> None:
    table, tree = a_file_and_a_folder(tmp_path)

    assert write(tmp_path, [tree / "deep"]).path == "tree/deep"
    assert write(tmp_path, [tree / "a", tree / "deep" / "b"]).path == "tree"
    assert write(tmp_path, [table, tree]).path == "."
    assert write(tmp_path, []).path == ""


def test_a_step_without_a_receipt_has_none(tmp_path: Path) -> None:
    assert read_receipt(tmp_path, "step") is None


def test_outputs_are_described_by_their_content(tmp_path: Path) -> None:
    table, tree = write(tmp_path, a_file_and_a_folder(tmp_path)).outputs

    assert table.sha256 == sha256_of_file(tmp_path / "table")
    names = ("a", "deep/b")
    assert tree.sha256 == sha256_of_tree((name, sha256_of_file(tmp_path / "tree" / name)) for name in names)


def test_the_fingerprint_holds_no_times_and_no_facts_but_all_else(tmp_path: Path) -> None:
    outputs = a_file_and_a_folder(tmp_path)
    first = write(tmp_path, outputs)

    assert write(tmp_path, outputs, seconds=99.0).fingerprint == first.fingerprint
    assert write(tmp_path, outputs, code_version="2").fingerprint != first.fingerprint
    assert write(tmp_path, outputs, step="other").fingerprint != first.fingerprint
    assert write(tmp_path, outputs[:1]).fingerprint != first.fingerprint
    (tmp_path / "tree" / "a").write_bytes(b"A")
    assert write(tmp_path, outputs).fingerprint != first.fingerprint


def test_a_receipt_is_for_one_code_version_and_the_same_inputs(tmp_path: Path) -> None:
    receipt = write(tmp_path, [])

    assert receipt.is_for("1", INPUTS)
    assert not receipt.is_for("2", INPUTS)
    assert not receipt.is_for("1", {})
    assert not receipt.is_for("1", INPUTS | {"more": "m"})
    assert not receipt.is_for("1", {"dataset": "e" * 64})


def test_what_is_gone_or_of_another_size_is_missing_without_reading_it(tmp_path: Path) -> None:
    receipt = write(tmp_path, a_file_and_a_folder(tmp_path))
    assert receipt.missing_outputs(tmp_path) == []

    (tmp_path / "tree" / "deep" / "b").unlink()
    assert receipt.missing_outputs(tmp_path) == ["tree"]
    (tmp_path / "table").write_bytes(b"abcd")
    assert receipt.missing_outputs(tmp_path) == ["table", "tree"]


def test_other_bytes_of_the_same_size_are_detected_by_reading(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(bytes(2_000))
    receipt = write(tmp_path, [tmp_path / "table"])

    (tmp_path / "table").write_bytes(bytes(1_999) + b"1")

    assert receipt.missing_outputs(tmp_path) == []
    assert receipt.changed_outputs(tmp_path) == ["table"]


def test_a_pointer_to_something_else_is_missing_though_its_size_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_bytes(b"0123\n")
    receipt = write(tmp_path, [tmp_path / "CURRENT"])

    (tmp_path / "CURRENT").write_bytes(b"0124\n")

    assert receipt.missing_outputs(tmp_path) == ["CURRENT"]


def test_a_file_that_changed_its_name_changes_a_folder(tmp_path: Path) -> None:
    receipt = write(tmp_path, a_file_and_a_folder(tmp_path))

    (tmp_path / "tree" / "a").rename(tmp_path / "tree" / "c")

    assert receipt.changed_outputs(tmp_path) == ["tree"]


def test_what_a_killed_writer_left_is_no_part_of_an_output(tmp_path: Path) -> None:
    receipt = write(tmp_path, a_file_and_a_folder(tmp_path))

    (tmp_path / "tree" / ".staging-0123-a").write_bytes(b"half")

    assert receipt.changed_outputs(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"step": "step", "fingerprint": "f"}'])
def test_what_is_no_receipt_says_what_to_do(text: str, tmp_path: Path) -> None:
    (tmp_path / "step.json").write_text(text)

    with pytest.raises(CorruptStoreError, match=r"step\.json is not a receipt .*delete it to run the step again"):
        read_receipt(tmp_path, "step")


def test_an_edited_receipt_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [])
    path = tmp_path / "receipts" / "step.json"
    path.write_text(path.read_text().replace('"code_version": "1"', '"code_version": "2"'))

    with pytest.raises(CorruptStoreError, match="was changed after it was written"):
        read_receipt(tmp_path / "receipts", "step")
