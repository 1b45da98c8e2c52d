import gzip
import io
import zipfile
from pathlib import Path

import pytest

from splat_assets.data import packed_files
from splat_assets.data.statink_rows import read_rows
from splat_assets.errors import InputError


def written(path: Path, text: str) -> Path:
    raw = text.encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_the_requested_columns_come_back_whatever_the_packing(name: str, end: str, start: str, tmp_path: Path) -> None:
    lines = ["id,weapon,abilities", '1,bold,"{""a"": 1, ""b"": 2}"', "2,52gal,"]

    rows = read_rows(written(tmp_path / name, start + end.join(lines)), ["abilities", "weapon"])

    assert rows.cells == [('{"a": 1, "b": 2}', "bold"), ("", "52gal")]
    assert rows.damage == {}


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "id,weapon,weapon\n1,bold,52gal\n")

    with pytest.raises(InputError, match="has 2 columns weapon, so it is ambiguous which one counts"):
        read_rows(path, ["id", "weapon"])
    assert read_rows(path, ["id"]).cells == [("1",)]


def test_a_blank_line_is_no_row(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path / "a.csv", "id,weapon\n\n1,bold\n  \n\n2,52gal\n\n"), ["weapon"])

    assert rows.cells == [("bold",), ("52gal",)]
    assert rows.damage == {}


def test_a_row_with_more_or_fewer_fields_is_damaged_and_has_no_cells(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path / "a.csv", "id,weapon\n1\n2,bold\n3,bold,x\n"), ["weapon"])

    assert rows.cells == [("",), ("bold",), ("",)]
    assert rows.damage == {0: "1 instead of 2 fields (line 2)", 2: "3 instead of 2 fields (line 4)"}


def test_a_cut_or_unquoted_row_is_damaged_and_reading_goes_on_behind_it(tmp_path: Path) -> None:
    text = 'id,weapon,note\n1,"bold,a\n2,"52gal",b\n3,bold,c\n4,bold,"d'

    rows = read_rows(written(tmp_path / "a.csv", text), ["weapon"])

    assert rows.cells == [("",), ("bold",), ("",)]
    assert rows.damage[0].endswith("(lines 2 to 3)")
    assert rows.damage[2].endswith("(line 5)")


def test_a_cell_beyond_all_bounds_damages_its_row_alone(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path / "a.csv", f"id,weapon\n1,{'x' * 200_000}\n2,bold\n"), ["weapon"])

    assert rows.cells == [("",), ("bold",)]
    assert list(rows.damage) == [0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "it lacks 1 of the columns weapon"),
        (b"id,gun\n1,bold\n", r"it lacks 1 of the columns weapon \(the first: weapon\); it has 2 columns"),
        (b"weapon\nB\xfcrste\n", "cannot read the stat.ink export .*: it is not UTF-8"),
        (gzip.compress(b"weapon\nbold\n" * 50, mtime=0)[:-9], "cannot read the stat.ink export"),
        (gzip.compress(b"weapon\nbold\n", mtime=0)[:-8] + b"\0" * 8, "cannot read the stat.ink export"),
    ],
)
def test_what_is_no_export_is_refused(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(raw)

    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "a.csv", ["weapon"])


def test_spreadsheets_separators_and_old_line_ends_make_no_other_rows(tmp_path: Path) -> None:
    text = 'id;weapon;abilities\r1;bold;"{""a"": 1, ""b"": 2}"\r2;52gal;\r'

    rows = read_rows(written(tmp_path / "a.csv", text), ["abilities", "weapon"])

    assert rows.cells == [('{"a": 1, "b": 2}', "bold"), ("", "52gal")]
    assert rows.damage == {}


def test_comment_lines_are_left_out_before_between_and_after_rows_but_not_inside_a_cell(tmp_path: Path) -> None:
    text = (
        '# exported, by "me\n# id,weapon,note\n#,\n1,bold,"two\n# lines"\n# between '
        '"rows\n2,52gal\n#5,x\n3,bold,#\n# end'
    )

    rows = read_rows(written(tmp_path / "a.csv", text), ["weapon", "note"])

    assert rows.cells == [("bold", "two\n# lines"), ("", ""), ("bold", "#")]
    assert rows.damage == {1: "2 instead of 3 fields (line 7)"}


def zipped(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return held.getvalue()


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv", "a.zip", "a.txt"])
@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda raw: zipped(**{"day.csv": raw, "__MACOSX/._day.csv": b"x"}), bytes]
)
def test_how_a_file_is_packed_shows_in_its_bytes_not_in_its_name(name: str, pack: object, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(b"id,weapon\n1,bold\n"))  # type: ignore[operator]

    assert read_rows(tmp_path / name, ["weapon"]).cells == [("bold",)]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (zipped(a=b"weapon\n", b=b"weapon\n"), r"is a zip of 2 files \(a, b\), not of one"),
        (zipped(), "is a zip of 0 files"),
        (zipped(a=b"weapon\nbold\n" * 99)[:-30], "cannot read the stat.ink export .*zip"),
        ("weapon\nbold\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"BZh91AY&SY", "is packed with bzip2: unpack it first"),
        (gzip.compress(b"weapon\n" + b"bold\n" * 2**18), r"bytes, which unpack to more than 1,048,576: no text"),
        (zipped(a=bytes(2**21)), r"bytes, which unpack to more than 1,048,576: no text"),
    ],
    ids=["two files", "none", "cut", "utf-16", "bzip2", "gzip bomb", "zip bomb"],
)
def test_what_is_packed_otherwise_or_unpacks_without_bounds_is_one_sentence(
    raw: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packed_files._FREE_BYTES == 2**26, "what unpacks to 64 MiB is a text; less is unpacked here, to save time"
    monkeypatch.setattr(packed_files, "_FREE_BYTES", 2**20)
    (tmp_path / "a.csv").write_bytes(raw)

    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "a.csv", ["weapon"])
