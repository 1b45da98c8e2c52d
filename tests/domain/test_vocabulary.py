import json
from pathlib import Path
from typing import Any

import pytest

from splat_assets.domain.vocabulary import read_contexts, read_vocabulary, standard_vocabulary, weapon_vocabulary
from splat_assets.domain.weapons import weapons_by_key
from splat_assets.errors import InputError
from splat_assets.store.vocabulary import Context, Token

TINY = {"haunt": 0, "<PAD>": 1, "swim_speed_up_21": 2, "<NULL>": 3, "swim_speed_up_3": 4, "odd": 5}


def written(folder: Path, content: Any) -> Path:
    path = folder / "vocab.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_tokens_are_read_by_name_in_id_order(tmp_path: Path) -> None:
    found = read_vocabulary(written(tmp_path, TINY))

    assert found.tokens == (
        Token(0, "haunt", "haunt", None),
        Token(1, "<PAD>", "<PAD>", None),
        Token(2, "swim_speed_up_21", "swim_speed_up", 21),
        Token(3, "<NULL>", "<NULL>", None),
        Token(4, "swim_speed_up_3", "swim_speed_up", 3),
        Token(5, "odd", "odd", None),
    )
    assert (found.pad_id, found.null_id) == (1, 3)
    assert [token.level for token in found.groups["swim_speed_up"]] == [3, 21]


def test_the_standard_vocabulary_reads_back_with_its_26_abilities(tmp_path: Path) -> None:
    found = read_vocabulary(written(tmp_path, standard_vocabulary()))

    assert (len(found), found.null_id, found.pad_id, len(found.groups)) == (140, 138, 139, 26)


def test_a_shuffled_upstream_vocabulary_reads_by_rule(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures" / "upstream_checkpoint"
    raw = json.loads((folder / "vocab.json").read_text())

    vocabulary, contexts = read_vocabulary(folder / "vocab.json"), read_contexts(folder / "weapon_vocab.json")

    assert {token.name: token.id for token in vocabulary.tokens} == raw
    assert (vocabulary.pad_id, vocabulary.null_id) == (raw["<PAD>"], raw["<NULL>"])
    assert contexts.items[5].name == "Splattershot"


def test_weapons_get_name_and_attributes_and_unknown_ones_keep_their_key(tmp_path: Path) -> None:
    found = read_contexts(written(tmp_path, {"weapon_id_99999": 1, "weapon_id_50": 0}))

    splash = {"class": "shooter", "sub": "Splash Wall", "special": "Killer Wail 5.1"}
    assert found.items == (
        Context(0, "weapon_id_50", ".52 Gal", splash),
        Context(1, "weapon_id_99999", "weapon_id_99999"),
    )


def test_a_weapon_vocabulary_is_numbered_by_the_games_numbers() -> None:
    known = weapons_by_key()

    assert weapon_vocabulary([known["52gal"], known["bold"]]) == {"weapon_id_0": 0, "weapon_id_50": 1}


@pytest.mark.parametrize(
    ("missing", "named"),
    [(["<PAD>"], "lacks <PAD>:"), (["<NULL>"], "lacks <NULL>:"), (["<PAD>", "<NULL>"], "lacks <PAD> and <NULL>:")],
)
def test_a_vocabulary_without_its_special_tokens_is_refused_by_name(
    tmp_path: Path, missing: list[str], named: str
) -> None:
    names = [name for name in TINY if name not in missing]

    with pytest.raises(InputError, match=named):
        read_vocabulary(written(tmp_path, {name: at for at, name in enumerate(names)}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"<PAD>": 0, "<NULL>": 2}, r"ids must be exactly 0 to 1, but '<NULL>' has 2 and nothing has 1"),
        ({"<PAD>": 0, "<NULL>": 0}, r"the id 0 twice, to '<PAD>' and '<NULL>'"),
        ({"<PAD>": 0, "<NULL>": "1"}, r"'<NULL>' is '1'"),
        ({"<PAD>": 0, "<NULL>": True}, r"'<NULL>' is True"),
        ({"<PAD>": 0, "<NULL>": -1}, r"'<NULL>' has -1 and nothing has 1"),
        ('{"<PAD>": 0, "<PAD>": 1}', r"lists '<PAD>' twice"),
        ("[1, 2]", r"must be a JSON object"),
        ("{}", r"at least one entry"),
        ("{", r"is not JSON"),
        pytest.param("[" * 100_000, r"is not JSON", id="nested without end"),
        pytest.param('{"a": ' + "9" * 5_000 + "}", r"is not JSON", id="a number without end"),
    ],
)
def test_ids_that_are_not_a_numbering_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_vocabulary(written(tmp_path, content))


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe\xfd")

    with pytest.raises(InputError, match=r"cannot read the vocabulary .*gone\.json: No such file"):
        read_vocabulary(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"cannot read the weapon vocabulary .*: it is a folder, not a file"):
        read_contexts(tmp_path)
    with pytest.raises(InputError, match="it is not UTF-8 text"):
        read_vocabulary(tmp_path / "latin.json")


def test_a_byte_order_mark_is_no_part_of_a_vocabulary(tmp_path: Path) -> None:
    assert len(read_vocabulary(written(tmp_path, "\ufeff" + json.dumps(TINY)))) == len(TINY)
