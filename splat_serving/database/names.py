"""Tokens and weapons as people name them: by id, or by what the vocabularies call them."""

from splat_assets.domain.short_names import ability_of
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_serving.database.errors import NotComputedError, UnknownNameError


def token_id(given: str, vocabulary: Vocabulary | None) -> int:
    """The id of a token named by id or name.

    UnknownNameError says what there is; NotComputedError: a name, where no vocabulary is known.
    """
    if given.isascii() and given.isdigit():
        n_tokens = len(vocabulary) if vocabulary else None
        if len(given) < 10 and (n_tokens is None or int(given) < n_tokens):
            return int(given)
        raise UnknownNameError(f"there is no token {given[:20]}: ids run from 0 to {(n_tokens or 1) - 1}")
    if vocabulary is None:
        raise NotComputedError("this folder records no vocabulary: name tokens by their ids")
    found = vocabulary.by_name.get(given) or vocabulary.by_name.get(ability_of(given))
    if found is None:
        raise UnknownNameError(f"there is no token {given[:60]!r} in the vocabulary; /tokens lists all")
    return found.id


def weapon_id(given: str, contexts: Contexts | None) -> int:
    """The id of a weapon named by id, key or name; errors as `token_id`."""
    known = contexts.items if contexts else ()
    if given.isascii() and given.isdigit():
        if len(given) < 10 and (not known or int(given) < len(known)):
            return int(given)
        raise UnknownNameError(f"there is no weapon {given[:20]}: ids run from 0 to {len(known) - 1}")
    if contexts is None:
        raise NotComputedError("this folder records no weapons: name weapons by their ids")
    named = next((item for item in known if given in (item.key, item.name)), None) or next(
        (item for item in known if given.casefold() == item.name.casefold()), None
    )
    if named is not None:
        return named.id
    raise UnknownNameError(f"there is no weapon {given[:60]!r}; /weapons lists all")
