import json
from pathlib import Path
from typing import Any

import pytest

from splat_assets.data.statink import read_model_vocabularies
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.errors import InputError


def written(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_ids_are_looked_up_by_name_and_the_bytes_are_kept(tmp_path: Path) -> None:
    names = list(reversed(standard_vocabulary()))
    vocab = written(tmp_path / "v.json", {name: at for at, name in enumerate(names)})
    weapons = written(tmp_path / "w.json", {"weapon_id_50": 1, "weapon_id_99999": 0, "weapon_id_0": 2})

    result = read_model_vocabularies(vocab, weapons)

    assert result.token_ids == json.loads(vocab.read_text())
    assert result.weapon_ids == {50: 1, 0: 2}
    assert (result.vocab, result.weapon_vocab) == (vocab.read_bytes(), weapons.read_bytes())


@pytest.mark.parametrize("key", ["Splattershot", "sshooter", "40", "weapon_id_99999", "weapon_id_040"])
def test_a_weapon_vocabulary_that_names_no_known_weapon_is_refused_with_a_key_of_it(key: str, tmp_path: Path) -> None:
    vocab = written(tmp_path / "v.json", standard_vocabulary())

    with pytest.raises(
        InputError,
        match=rf"w\.json names none of the 173 known weapons: its keys are such as '{key}', not weapon_id_<the game's "
        "number> such as 'weapon_id_40'",
    ):
        read_model_vocabularies(vocab, written(tmp_path / "w.json", {key: 0, "other": 1}))


def test_a_vocabulary_without_an_ability_token_is_refused_with_a_name_of_it(tmp_path: Path) -> None:
    vocab = written(tmp_path / "v.json", {"<PAD>": 0, "<NULL>": 1, "Swim Speed Up 3": 2})

    with pytest.raises(InputError, match=r"v\.json names none of the 138 ability tokens: .* such as 'Swim Speed Up 3'"):
        read_model_vocabularies(vocab, written(tmp_path / "w.json", {"weapon_id_0": 0}))


def test_files_in_each_others_place_are_refused(tmp_path: Path) -> None:
    vocab = written(tmp_path / "v.json", standard_vocabulary())
    weapons = written(tmp_path / "w.json", {"weapon_id_0": 0})

    with pytest.raises(InputError, match=r"w\.json lacks <PAD> and <NULL>"):
        read_model_vocabularies(weapons, vocab)
