"""Builds as people write them, `Splattershot: ssu 21, ninja_squid`, and as token sets, which the model sees: both ways."""

import re
from collections.abc import Iterable

from splat_assets.analysis.builds.edits import legal, rungs_of_sets
from splat_assets.domain.short_names import ability_of
from splat_assets.domain.tokens import NULL, PAD, parse_token
from splat_assets.errors import InputError
from splat_assets.wording import unknown_name
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

LONGEST_BUILD = 2_000
"""Characters of a build as text."""
_ABILITY = re.compile(r"(?P<name>.+?)(?:[\s=:]+(?P<ap>\d+))?")


def parse_build(text: str, subject: Subject) -> TokenSet:
    """The token set of `WEAPON: ability AP, ability, …`; the weapon by id, key or name, AP reach their highest rung.

    Raises InputError for a text that is none, and for names that are not there, with the nearest ones.
    """
    weapon, colon, abilities = text.partition(":")
    if not colon:
        raise InputError(
            f"{text[:80]!r} is no build: write WEAPON: ability AP, ability; as Splattershot: ssu 21, ninja_squid"
        )
    tokens: list[int] = []
    for part in (part.strip() for part in abilities.split(",")):
        if part:
            tokens += [token for token in _tokens(part, subject) if token not in tokens]
    return TokenSet(_weapon(weapon.strip(), subject), tuple(tokens))


def build_as_text(token_names: Iterable[str]) -> str:
    """Abilities in the order of the tokens, each once with its highest rung; `no abilities` for the empty build."""
    worn = highest_rungs(token_names).items()
    return ", ".join(group if level is None else f"{group} {level}" for group, level in worn) or "no abilities"


def highest_rungs(token_names: Iterable[str]) -> dict[str, int | None]:
    """Each ability of a build with its highest rung (AP), None for one that has no rungs; in the order of the tokens."""
    highest: dict[str, int | None] = {}
    for name in token_names:
        if name not in (NULL, PAD):
            group, level = parse_token(name)
            highest[group] = level if level is None else max(level, highest.get(group) or 0)
    return highest


def sample_as_text(subject: Subject, sample_id: int) -> tuple[str | None, str]:
    """The weapon of a sample, None where it is unknown, and its abilities."""
    weapon, names = build_of_sample(subject, sample_id)
    return weapon, build_as_text(names)


def build_of_sample(subject: Subject, sample_id: int) -> tuple[str | None, list[str]]:
    """The weapon of a sample, None where it is unknown, and the names of its tokens."""
    builds = subject.builds
    tokens = builds.tokens[builds.offsets[sample_id] : builds.offsets[sample_id + 1]]
    weapon = int(builds.weapons[sample_id])
    name = builds.contexts.items[weapon].name if weapon >= 0 else None
    return name, builds.vocabulary.names(tokens.tolist())


def cannot_be_worn(build: TokenSet, subject: Subject) -> bool:
    """Whether no gear gives such a build; False where that is not known."""
    found = legal(rungs_of_sets([build.tokens], subject.builds), subject.builds.groups)
    return found is not None and not bool(found[0])


def _weapon(given: str, subject: Subject) -> int:
    items = subject.contexts.items
    if given.isdecimal() and int(given) < len(items):
        return int(given)
    for item in items:
        if given == item.key or given.casefold() == item.name.casefold():
            return item.id
    raise InputError(unknown_name("weapon", given, [item.name for item in items]))


def _tokens(part: str, subject: Subject) -> list[int]:
    found = _ABILITY.fullmatch(part)
    assert found is not None
    name, ap = ability_of(found["name"]), found["ap"]
    groups = subject.vocabulary.groups
    token = subject.vocabulary.by_name.get(ability_of(part))
    if token is not None and token.group in groups:
        name, ap = token.group, token.level
    if name not in groups:
        raise InputError(unknown_name("ability", name, list(groups)))
    members = groups[name]
    if members[0].level is None:
        return [members[0].id]
    if ap is None:
        raise InputError(f"{name} needs its AP, as {name} {members[0].level}")
    reached = [token.id for token in members if (token.level or 0) <= int(ap)]
    if not reached:
        raise InputError(f"{ap} AP of {name} are below its first rung, {members[0].level}")
    return reached
