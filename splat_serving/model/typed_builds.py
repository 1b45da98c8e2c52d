"""A build as typed, and as the base model reads it: names become ids here, and violated rules are named.

AP must be possible with gear. Tokens are taken as they are, as in training, where any part of a build is a valid
input: `swim_speed_up_12` without `swim_speed_up_3` is one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from splat_assets.domain.builds import why_illegal
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_serving.database.errors import ParameterError, UnknownNameError
from splat_serving.database.sample_columns import token_id, weapon_id


@dataclass(frozen=True, slots=True)
class TypedBuild:
    """A weapon (id, key or name) and either tokens (ids or names) or the AP per ability (10 for a main-only one).

    No token, or no AP, is the empty build, which the model reads as `<NULL>`.
    """

    weapon: str | int
    tokens: tuple[str | int, ...] | None = None
    abilities: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class SeenBuild:
    """A build as the base model reads it, in the columns of a sample."""

    weapon_id: int
    weapon_name: str
    ability_input_tokens: tuple[int, ...]
    abilities: tuple[str, ...]


def seen_builds(builds: Sequence[TypedBuild], vocabulary: Vocabulary, contexts: Contexts) -> tuple[SeenBuild, ...]:
    """The builds with the ids of a base model's vocabularies.

    UnknownNameError for a token or weapon that the model does not have, ParameterError for an invalid build; both
    name the build.
    """
    return tuple(_seen(build, f"builds.{at}", vocabulary, contexts) for at, build in enumerate(builds))


def _seen(build: TypedBuild, where: str, vocabulary: Vocabulary, contexts: Contexts) -> SeenBuild:
    weapon = _named(partial(weapon_id, str(build.weapon), contexts), where)
    if (build.tokens is None) == (build.abilities is None):
        raise ParameterError(where, "a build needs either tokens or abilities (AP per ability), not both")
    tokens = _tokens_of(build.abilities, where) if build.abilities is not None else build.tokens or ()
    ids = tuple(_named(partial(token_id, str(token), vocabulary), where) for token in tokens)
    ids = _checked_set(ids, where, vocabulary)
    return SeenBuild(weapon, contexts.items[weapon].name, ids, tuple(vocabulary.names(ids)))


def _tokens_of(abilities: Mapping[str, int], where: str) -> list[str]:
    broken = why_illegal(abilities)
    if broken:
        raise ParameterError(f"{where}.abilities", f"no gear has these AP: {'; '.join(broken)}")
    worn = {ability: amount for ability, amount in abilities.items() if amount}
    return tokens_of_ap(worn) if worn else []


def _checked_set(ids: tuple[int, ...], where: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """The ids of a valid set; those of the empty build for none."""
    name = f"{where}.tokens"
    if not ids:
        if vocabulary.null_id is None:
            raise ParameterError(name, "this base model has no token for the empty build")
        return (vocabulary.null_id,)
    twice = next((token_id for at, token_id in enumerate(ids) if token_id in ids[:at]), None)
    if twice is not None:
        raise ParameterError(name, f"{vocabulary.tokens[twice].name} occurs twice; a build is a set")
    if vocabulary.pad_id in ids:
        raise ParameterError(
            name, f"{vocabulary.tokens[vocabulary.pad_id].name} is padding and cannot be part of a build"
        )
    if vocabulary.null_id in ids and len(ids) > 1:
        null = vocabulary.names([vocabulary.null_id])[0] if vocabulary.null_id is not None else ""
        raise ParameterError(name, f"{null} is the empty build and cannot be combined with other tokens")
    return ids


def _named(find: Callable[[], int], where: str) -> int:
    """The result of find; its UnknownNameError is extended with the name of the build."""
    try:
        return find()
    except UnknownNameError as error:
        raise UnknownNameError(f"{where}: {error}") from error
