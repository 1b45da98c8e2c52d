from pathlib import Path

import pytest

from splat_assets.store.errors import LayoutError
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

TOKENS = (
    Token(0, "swim_speed_up_12", "swim_speed_up", 12),
    Token(1, "comeback", "comeback"),
    Token(2, "swim_speed_up_3", "swim_speed_up", 3),
    Token(3, "<NULL>", "<NULL>"),
    Token(4, "<PAD>", "<PAD>"),
)
VOCABULARY = Vocabulary(TOKENS, pad_id=4, null_id=3)
CONTEXTS = Contexts((Context(0, "weapon_id_0", "Splattershot", {"class": "shooter"}), Context(1, "weapon_id_9", "9")))


def test_tokens_are_looked_up_by_name() -> None:
    assert VOCABULARY.by_name["comeback"].id == 1
    assert len(VOCABULARY) == 5


def test_groups_hold_ordinary_tokens_by_rising_level() -> None:
    assert {group: [token.id for token in tokens] for group, tokens in VOCABULARY.groups.items()} == {
        "swim_speed_up": [2, 0],
        "comeback": [1],
    }


@pytest.mark.parametrize("null_id", [3, None])
def test_a_vocabulary_comes_back_as_it_was_saved(null_id: int | None, tmp_path: Path) -> None:
    vocabulary = Vocabulary(TOKENS, pad_id=4, null_id=null_id)
    vocabulary.save(tmp_path / "vocabulary.json")

    result = Vocabulary.load(tmp_path / "vocabulary.json")

    assert result == vocabulary
    assert result.fingerprint == vocabulary.fingerprint


def test_contexts_come_back_as_they_were_saved(tmp_path: Path) -> None:
    CONTEXTS.save(tmp_path / "contexts.json")

    result = Contexts.load(tmp_path / "contexts.json")

    assert result == CONTEXTS
    assert result.fingerprint == CONTEXTS.fingerprint
    assert len(result) == 2


def test_fingerprints_speak_of_all_content() -> None:
    others = [Vocabulary(TOKENS, 4, None), Vocabulary(TOKENS[:4], 4, 3), Vocabulary(TOKENS, 3, 3)]
    assert VOCABULARY.fingerprint not in {other.fingerprint for other in others}
    renamed = Contexts((CONTEXTS.items[0], Context(1, "weapon_id_9", "nine")))
    assert renamed.fingerprint != CONTEXTS.fingerprint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tokens": [{"id": 0}], "pad_id": 0, "null_id": null}'])
def test_what_is_no_table_is_refused_with_its_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)

    with pytest.raises(LayoutError, match=r"table\.json is not a vocabulary table"):
        Vocabulary.load(path)
    with pytest.raises(LayoutError, match=r"table\.json is not a context table"):
        Contexts.load(path)


def test_a_table_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"nowhere\.json"):
        Vocabulary.load(tmp_path / "nowhere.json")


def test_names_of_tokens_come_in_the_requested_order() -> None:
    assert Vocabulary(TOKENS, pad_id=3, null_id=None).names([2, 0, 2]) == [
        "swim_speed_up_3",
        "swim_speed_up_12",
        "swim_speed_up_3",
    ]
