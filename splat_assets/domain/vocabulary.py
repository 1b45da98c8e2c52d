"""The user's two vocabulary files, `{token: id}` and `{weapon_id_<n>: id}`, as the tables of a store.

Everything is read by name, never by an assumed position. A token name that is not `<stackable ability>_<rung>` becomes a
group of its own without a level; a weapon that is not among the known ones keeps its key as its name.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from splat_assets.domain.tokens import ABILITY_TOKENS, NULL, PAD, parse_token
from splat_assets.domain.weapons import Weapon, weapons_by_vocabulary_key
from splat_assets.errors import InputError
from splat_assets.store.documents import json_of, read_bytes
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary
from splat_assets.text.wording import counted

_SHOWN = 5


def standard_vocabulary() -> dict[str, int]:
    """The content of a vocabulary file with all 138 ability tokens, then NULL (138) and PAD (139)."""
    return {name: token_id for token_id, name in enumerate((*ABILITY_TOKENS, NULL, PAD))}


def weapon_vocabulary(weapons: Iterable[Weapon]) -> dict[str, int]:
    """The content of a weapon vocabulary file that holds these weapons, numbered by rising splatnet_id."""
    ordered = sorted(weapons, key=lambda weapon: weapon.splatnet_id)
    return {weapon.vocabulary_key: weapon_id for weapon_id, weapon in enumerate(ordered)}


def read_vocabulary(path: Path) -> Vocabulary:
    """The token table of a `{token: id}` JSON file.

    Raises:
        InputError: the file is missing or not such an object, ids are not exactly 0..n-1, or `<PAD>` or `<NULL>` is missing.

    Examples:
        >>> import json, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "vocab.json"
        ...     _ = path.write_text(json.dumps({"haunt": 0, "swim_speed_up_3": 1, "<NULL>": 2, "<PAD>": 3}))
        ...     vocabulary = read_vocabulary(path)
        >>> vocabulary.tokens[1].group, vocabulary.tokens[1].level, vocabulary.pad_id
        ('swim_speed_up', 3, 3)
    """
    names = _names_by_id(path, "vocabulary")
    missing = [special for special in (PAD, NULL) if special not in names]
    if missing:
        raise InputError(
            f"{path} lacks {' and '.join(missing)}: a vocabulary needs {PAD} (fills up a batch) and {NULL} (the build without "
            f"abilities); it holds {counted(len(names), 'tokens')}"
        )
    tokens = tuple(Token(token_id, name, *parse_token(name)) for token_id, name in enumerate(names))
    return Vocabulary(tokens, pad_id=names.index(PAD), null_id=names.index(NULL))


def read_contexts(path: Path) -> Contexts:
    """The weapon table of a `{"weapon_id_<splatnet id>": id}` JSON file, with class, sub and special of known weapons.

    Raises:
        InputError: the file is missing or not such an object, or ids are not exactly 0..n-1.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "weapon_vocab.json"
        ...     _ = path.write_text('{"weapon_id_0": 0, "weapon_id_999999": 1}')
        ...     contexts = read_contexts(path)
        >>> [(weapon.name, weapon.attributes.get("class")) for weapon in contexts.items]
        [('Sploosh-o-matic', 'shooter'), ('weapon_id_999999', None)]
    """
    known = weapons_by_vocabulary_key()
    items = []
    for context_id, key in enumerate(_names_by_id(path, "weapon vocabulary")):
        weapon = known.get(key)
        items.append(
            Context(context_id, key, weapon.name, weapon.attributes) if weapon else Context(context_id, key, key)
        )
    return Contexts(tuple(items))


def _names_by_id(path: Path, what: str) -> list[str]:
    raw = _read_object(path, what)
    wrong = {name: value for name, value in raw.items() if type(value) is not int}
    if wrong:
        raise InputError(
            f"{path} is not a {what}: ids are whole numbers, but {_some(f'{k!r} is {v!r}' for k, v in wrong.items())}"
        )
    names: dict[int, str] = {}
    for name, token_id in raw.items():
        if token_id in names:
            raise InputError(
                f"{path} gives the id {token_id} twice, to {names[token_id]!r} and {name!r}; ids must differ"
            )
        names[token_id] = name
    gaps = [str(i) for i in range(len(names)) if i not in names]
    if gaps:
        outside = [f"{names[i]!r} has {i}" for i in sorted(names) if not 0 <= i < len(names)]
        raise InputError(
            f"{path}: {len(names)} ids must be exactly 0 to {len(names) - 1}, but {_some(outside)} and nothing has {_some(gaps)}"
        )
    return [names[i] for i in range(len(names))]


def _read_object(path: Path, what: str) -> dict[str, Any]:
    try:
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the {what} {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        raw = json_of(content, object_pairs_hook=lambda pairs: _without_repeats(pairs, path))
    except ValueError as error:  # also a number of too many digits, and nesting without end
        raise InputError(f"the {what} {path} is not JSON: {error}") from error
    if not isinstance(raw, dict) or not raw:
        raise InputError(f"the {what} {path} must be a JSON object {{name: id}} with at least one entry")
    return raw


def _without_repeats(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise InputError(f"{path} lists {name!r} twice; each name may have one id")
        entries[name] = value
    return entries


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    tail = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + tail
