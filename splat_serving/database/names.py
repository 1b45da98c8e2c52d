"""Look-up of tokens and weapons by id or name."""

from splat_assets.domain.abilities import ability_of
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_serving.database.errors import NotComputedError, UnknownNameError


def token_id(name: str, vocabulary: Vocabulary | None) -> int:
    """The id of a token named by id or name.

    UnknownNameError names the valid range; NotComputedError for a name without a vocabulary.
    """
    if name.isascii() and name.isdigit():
        n_tokens = len(vocabulary) if vocabulary else None
        if len(name) < 10 and (n_tokens is None or int(name) < n_tokens):
            return int(name)
        raise UnknownNameError(f"token {name[:20]} does not exist: ids are 0 to {(n_tokens or 1) - 1}")
    if vocabulary is None:
        raise NotComputedError("this folder does not record its vocabulary: use token ids")
    token = vocabulary.by_name.get(name) or vocabulary.by_name.get(ability_of(name))
    if token is None:
        raise UnknownNameError(f"unknown token {name[:60]!r}; /tokens lists all")
    return token.id


def weapon_id(name: str, contexts: Contexts | None) -> int:
    """The id of a weapon named by id, key or name; errors as `token_id`."""
    known = contexts.items if contexts else ()
    if name.isascii() and name.isdigit():
        if len(name) < 10 and (not known or int(name) < len(known)):
            return int(name)
        raise UnknownNameError(f"weapon {name[:20]} does not exist: ids are 0 to {len(known) - 1}")
    if contexts is None:
        raise NotComputedError("this folder does not record its weapons: use weapon ids")
    named = next((item for item in known if name in (item.key, item.name)), None) or next(
        (item for item in known if name.casefold() == item.name.casefold()), None
    )
    if named is not None:
        return named.id
    raise UnknownNameError(f"unknown weapon {name[:60]!r}; /weapons lists all")
