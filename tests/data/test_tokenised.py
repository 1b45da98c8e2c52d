import gzip
import json
import os
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.data.builds import Builds
from splat_assets.data.tokenised import least_ap, read_tokenised, write_tokenised
from splat_assets.domain.abilities import MAIN_ONLY, STACKABLE
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.errors import InputError
from tests.data.making import CONTEXTS, NAMES, VOCABULARY, builds_of
from tests.domain.ap import ap_of_tokens

NULL, PAD = NAMES["<NULL>"], NAMES["<PAD>"]


def ids(**ap: int) -> list[int]:
    return [NAMES[name] for name in tokens_of_ap(ap)]


FULL = ids(swim_speed_up=57)
FOUR = builds_of((ids(swim_speed_up=13, haunt=10), 1), ([NULL], 0), (FULL, 1), (FULL[::-1], 0))


def written(folder: Path, text: str) -> Path:
    path = folder / "tokenized_data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def read(path: Path) -> Builds:
    return read_tokenised(path, VOCABULARY, CONTEXTS)


def rows(*lines: str) -> str:
    return "\n".join(["ability_tags\tweapon_id", *lines, ""])


@pytest.mark.parametrize("name", ["tokenized_data.csv", "tokenized_data.parquet"])
def test_builds_that_were_written_are_read_back(tmp_path: Path, name: str) -> None:
    write_tokenised(tmp_path / name, FOUR)

    assert read(tmp_path / name).fingerprint == FOUR.fingerprint


def test_the_text_form_is_the_one_upstream_reads(tmp_path: Path) -> None:
    write_tokenised(tmp_path / "data.csv", builds_of(([3, 4], 1), ([NULL], 0)))

    assert (tmp_path / "data.csv").read_text() == f"ability_tags\tweapon_id\n[3, 4]\t1\n[{NULL}]\t0\n"


@pytest.mark.parametrize(
    "text",
    [
        "ability_tags\tweapon_id\n[0, 9]\t1\n",
        "ability_tags\tweapon_id\r\n[0, 9]\t1\r\n",
        "\ufeffability_tags\tweapon_id\n[0, 9]\t1",
        '"ability_tags"\t"weapon_id"\n"[0,9]"\t"1"\n\n',
        "\tweapon_id\tmode\tability_tags\n0\t1\tarea\t[ 0 , 9 ]\n",
    ],
)
def test_other_columns_orders_spaces_and_line_ends_are_accepted(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, text)).fingerprint == builds_of(([0, 9], 1)).fingerprint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[0]\t2", r"row 2: weapon_id 2 is not in the weapon vocabulary, which holds 0 to 1"),
        ("[0, 140]\t1", r"row 2: token id 140 is not in the vocabulary, which holds 0 to 139"),
        ("[]\t1", r"row 2: the build is empty; a build without abilities is the single token <NULL>"),
        ("\t1", r"row 2: the build is empty"),
        ("[0, 1, 0]\t1", r"row 2: it holds a token twice"),
        (f"[0, {PAD}]\t1", r"row 2: it holds <PAD> \(id 139\)"),
        (f"[0, {NULL}]\t1", r"row 2: it holds <NULL> \(id 138\) beside abilities"),
        ("[0]\t", r"row 2: weapon_id must be a whole number, but it is missing"),
        ("[0]\t1.0", r"row 2: weapon_id must be a whole number, but it is '1.0'"),
        ("[0]\t-1", r"row 2: weapon_id must be a whole number"),
        (
            "[0, -1]\t1",
            r"row 2: ability_tags must be a JSON list of token ids such as \[3, 17\], but it is '\[0, -1\]'",
        ),
        ("[0.5]\t1", r"row 2: ability_tags must be"),
        ("0 1\t1", r"row 2: ability_tags must be"),
        ("[0, null]\t1", r"row 2: ability_tags must be"),
        ("[0, 1\t1", r"row 2: ability_tags must be"),
        ("[99999999999999999999]\t1", r"row 2: ability_tags must be"),
        ("[0]\t1\t1", r"row 2 has more fields than the header"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, rows("[0, 9]\t1", line, "[0]\t0"))

    with pytest.raises(InputError, match=rf"tokenized_data\.csv.*{message}"):
        read(path)


def test_an_error_counts_the_other_wrong_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2: the build is empty \(2 more such rows\)"):
        read(written(tmp_path, rows("[0]\t1", "[]\t1", "[ ]\t1", "[]\t1")))
    with pytest.raises(InputError, match=r"row 1: token id 999 .* \(1 more such id\)"):
        read(written(tmp_path, rows("[999]\t1", "[998]\t1")))


def test_an_over_full_build_is_refused_with_its_ap(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_tokenised(path, builds_of((FULL, 0), (FULL + ids(haunt=10), 1)))

    with pytest.raises(
        InputError, match=r"row 2: it has at least 67 AP, more than a full build \(57; 66 with ability_doubler\)"
    ):
        read(path)


def test_ability_doubler_allows_66_ap_and_no_more(tmp_path: Path) -> None:
    write_tokenised(tmp_path / "doubled.csv", builds_of((ids(swim_speed_up=51, ability_doubler=10), 0)))
    write_tokenised(tmp_path / "over.csv", builds_of((ids(swim_speed_up=57, ability_doubler=10), 0)))

    assert read(tmp_path / "doubled.csv").n_builds == 1
    with pytest.raises(InputError, match="row 1: it has at least 67 AP"):
        read(tmp_path / "over.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('ability_tags,weapon_id\n"[0, 1]",1\n', "lacks the column ability_tags and weapon_id: .* separated by commas"),
        ("ability_tags;weapon_id\n[0, 1];1\n", "it looks separated by semicolons, the separator is a tab"),
        ("ability_tags\tweapon\n[0]\t1\n", r"lacks the column weapon_id: its columns are \['ability_tags', 'weapon'\]"),
        ("ability_tags\tweapon_id\tweapon_id\n[0]\t1\t0\n", "has more than one column weapon_id"),
        ("ability_tags\tweapon_id\n", "has a header but no rows"),
        ("", "cannot read the tokenised file .*: empty CSV"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the tokenised file .*gone\.csv does not exist"):
        read(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="is a folder, not a tokenised file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"ability_tags": ["[0]"], "weapon_id": [1]},
            r"ability_tags must be list<int> and weapon_id int, but they are String",
        ),
        ({"ability_tags": [[0.5]], "weapon_id": [1]}, r"but they are List\(Float64\)"),
        ({"ability_tags": [[0], []], "weapon_id": [1, 1]}, r"row 2: the build is empty"),
        ({"ability_tags": [[0], None], "weapon_id": [1, 1]}, r"row 2: the build is empty"),
        ({"ability_tags": [[0], [0, None]], "weapon_id": [1, 1]}, r"row 2: ability_tags must not hold nulls"),
        (
            {"ability_tags": [[0], [1]], "weapon_id": [1, None]},
            r"row 2: weapon_id must be a whole number, but it is missing",
        ),
        ({"ability_tags": [[0], [-1]], "weapon_id": [1, 1]}, r"row 2: token id -1 is not in the vocabulary"),
        ({"ability_tags": [[0]]}, r"lacks the column weapon_id"),
    ],
)
def test_bad_parquet_is_refused_by_row(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "data.parquet")

    with pytest.raises(InputError, match=message):
        read(tmp_path / "data.parquet")


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int64])
def test_parquet_ids_may_be_integers_of_any_width(tmp_path: Path, dtype: type[pl.DataType]) -> None:
    frame = pl.DataFrame({"ability_tags": [[0, 9]], "weapon_id": [1]})
    frame.cast({"ability_tags": pl.List(dtype), "weapon_id": dtype}).write_parquet(tmp_path / "data.parquet")

    assert read(tmp_path / "data.parquet").fingerprint == builds_of(([0, 9], 1)).fingerprint


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*STACKABLE, *MAIN_ONLY]), st.sampled_from([3, 10, 29, 57]), max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_the_least_ap_is_the_sum_over_abilities_of_the_highest_rung(worn: list[dict[str, int]]) -> None:
    names = [tokens_of_ap(ap) for ap in worn]
    builds = builds_of(*(([NAMES[name] for name in tokens], 0) for tokens in names))

    expected = [sum(ap_of_tokens(tokens).values()) for tokens in names]

    np.testing.assert_array_equal(least_ap(builds, VOCABULARY), expected)


def test_a_kill_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_tokenised(path, FOUR)
    before = path.read_bytes()

    with pytest.raises(OSError):
        write_tokenised(path / "below_a_file.csv", FOUR)

    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["data.csv"]


def test_parquet_whose_builds_are_not_those_it_was_written_with_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "builds.parquet"
    write_tokenised(path, FOUR)
    held = pq.read_table(path)
    pq.write_table(held.take([1, 0, 2, 3]), path)

    with pytest.raises(InputError, match="builds.parquet is damaged or was changed: its builds are not those"):
        read(path)
    pq.write_table(held.take([1, 0, 2, 3]).replace_schema_metadata(None), path)
    assert read(path).n_builds == 4


def test_page_checksums_of_other_writers_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "builds.parquet"
    table = pa.table({"ability_tags": [[0, 1], [2]] * 500, "weapon_id": [0, 1] * 500})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    whole = path.read_bytes()
    at = whole.index((1).to_bytes(8, "little") + (0).to_bytes(8, "little"))
    path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])

    with pytest.raises(InputError, match="cannot read the tokenised file .*builds.parquet: .*CRC"):
        read(path)


TEXT = b"ability_tags\tweapon_id\n[0, 9]\t1\n"


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(TEXT), TEXT.replace(b"\n", b"\r"), gzip.compress(b"\xef\xbb\xbf" + TEXT)],
    ids=["gz", "cr", "gz, BOM"],
)
def test_packed_text_and_old_line_ends_are_read(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "data.csv").write_bytes(raw)

    assert read(tmp_path / "data.csv").fingerprint == builds_of(([0, 9], 1)).fingerprint


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (TEXT.decode().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (gzip.compress(TEXT + b"[0, 9]\t1\n" * 2**23), "unpack to more than 67,108,864"),
        (gzip.compress(TEXT)[:-9], "cannot read the tokenised file"),
    ],
    ids=["utf-16", "bomb", "cut"],
)
def test_text_that_cannot_be_unpacked_is_one_sentence(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "data.csv").write_bytes(raw)

    with pytest.raises(InputError, match=message):
        read(tmp_path / "data.csv")


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(TEXT))
    writer.start()

    assert read(tmp_path / "pipe").n_builds == 1
    writer.join()


OTHER = {name: len(NAMES) - 1 - token_id for name, token_id in NAMES.items()}
"""The same tokens under other ids."""


def test_many_impossible_builds_are_put_down_to_another_vocabulary_before_their_ap(tmp_path: Path) -> None:
    worn = [tokens_of_ap({"swim_speed_up": 29, "ink_saver_main": 19, "haunt": 10}) for _ in range(30)]
    lines = [f"[{', '.join(str(OTHER[name]) for name in names)}]\t1" for names in worn]

    with pytest.raises(InputError) as refusal:
        read(written(tmp_path, rows(*lines, "[0]\t1")))

    message = str(refusal.value)
    assert "was probably tokenised with another vocabulary, since 30 of its 31 rows" in message
    assert message.index("--vocab-path ... --weapon-vocab-path") < message.index("The first is row 1: ")


def test_one_impossible_build_among_many_is_a_bad_row_and_no_other_vocabulary(tmp_path: Path) -> None:
    lines = ["[0]\t1"] * 40 + [f"[{', '.join(map(str, range(12)))}]\t1"]

    with pytest.raises(InputError, match=r"row 41: it has at least \d+ AP, more than a full build") as refusal:
        read(written(tmp_path, rows(*lines)))
    assert "another vocabulary" not in str(refusal.value)


@pytest.mark.parametrize(
    "line", ["[0, 999]\t1", "[0]\t900"], ids=["a token that the vocabulary lacks", "a weapon that it lacks"]
)
def test_an_id_that_the_vocabularies_lack_names_the_cause_and_the_option_that_mends_it(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(InputError, match="probably tokenised with another vocabulary: .*--vocab-path"):
        read(written(tmp_path, rows(line)))


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("vocab.json", OTHER, "1 is .* in .*vocab.json, and .* in the model's"),
        (
            "weapon_vocab.json",
            {"weapon_id_50": 0, "weapon_id_0": 1},
            "1 is weapon_id_0 in .*, and weapon_id_50 in the model's",
        ),
    ],
)
def test_a_vocabulary_beside_the_file_that_says_otherwise_is_believed(
    tmp_path: Path, name: str, ids: dict[str, int], message: str
) -> None:
    """Even where every row could be a build: the model would read other builds than were worn."""
    (tmp_path / name).write_text(json.dumps(ids))

    with pytest.raises(InputError, match=f"tokenised with another vocabulary than the model's: {message}"):
        read(written(tmp_path, rows("[1]\t1")))


def test_a_vocabulary_beside_the_file_that_agrees_on_its_ids_or_is_none_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(NAMES | {"a_new_token": len(NAMES)}))
    (tmp_path / "weapon_vocab.json").write_text("[]")

    assert read(written(tmp_path, rows("[1]\t1"))).n_builds == 1
