"""The two vocabularies of an existing base model, for builds that are to speak its ids.

Names decide, never positions: `swim_speed_up_21` has the id that vocab.json gives it, and a weapon the one of
`weapon_id_<the game's number>` in weapon_vocab.json. Entries that are not known weapons keep their ids and get no builds.
"""

from dataclasses import dataclass
from pathlib import Path

from splat_assets.domain.tokens import ABILITY_TOKENS
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.domain.weapons import all_weapons, weapons_by_key, weapons_by_vocabulary_key
from splat_assets.errors import InputError
from splat_assets.wording import counted

_EXAMPLE = "sshooter"


@dataclass(frozen=True)
class ModelVocabularies:
    """Token ids by name, weapon ids by the game's number, and the bytes of both files."""

    token_ids: dict[str, int]
    weapon_ids: dict[int, int]
    vocab: bytes
    weapon_vocab: bytes


def read_model_vocabularies(vocab_path: Path, weapon_vocab_path: Path) -> ModelVocabularies:
    """Both vocabularies of a model.

    Raises InputError when a file is missing or no vocabulary, or when it names no ability token, or no known weapon, at all.
    """
    token_ids = {token.name: token.id for token in read_vocabulary(vocab_path).tokens}
    if token_ids.keys().isdisjoint(ABILITY_TOKENS):
        other = next((name for name in token_ids if not name.startswith("<")), next(iter(token_ids)))
        raise InputError(
            f"{vocab_path} names none of the {counted(len(ABILITY_TOKENS), 'ability tokens')}: its names are "
            f"such as {other!r}, not such "
            f"as {ABILITY_TOKENS[0]!r}"
        )
    known, contexts = weapons_by_vocabulary_key(), read_contexts(weapon_vocab_path).items
    weapon_ids = {known[context.key].splatnet_id: context.id for context in contexts if context.key in known}
    if not weapon_ids:
        raise InputError(
            f"{weapon_vocab_path} names none of the {counted(len(all_weapons()), 'known weapons')}: its keys are such as "
            f"{contexts[0].key!r}, not weapon_id_<the game's number> such as {weapons_by_key()[_EXAMPLE].vocabulary_key!r}"
        )
    return ModelVocabularies(token_ids, weapon_ids, vocab_path.read_bytes(), weapon_vocab_path.read_bytes())
