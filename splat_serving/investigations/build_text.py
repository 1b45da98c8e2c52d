"""Builds as text, `Splattershot: ssu 21, ninja_squid`, and as token sets; tokens by their names in the game."""

import re
from collections.abc import Iterable

from splat_assets.analysis.builds.edits import legal, rungs_of_sets
from splat_assets.domain.abilities import ABILITY_NAMES, ability_of
from splat_assets.domain.tokens import NULL, PAD, parse_token
from splat_assets.errors import InputError
from splat_assets.text.wording import unknown_name
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

LONGEST_BUILD = 2_000
"""Characters of a build as text."""
SAMPLE_COLUMNS = {
    "weapon": "The weapon.",
    "abilities": "Abilities with their highest rung (AP).",
    "sample": "Id of the sample.",
}
"""The columns of a table that shows samples: `sample_as_text` and the id."""
_ABILITY = re.compile(r"(?P<name>.+?)(?:[\s=:]+(?P<ap>\d+))?")


def parse_build(text: str, subject: Subject) -> TokenSet:
    """The token set of `WEAPON: ability AP, ability, …`; the weapon by id, key or name, AP as the highest rung they reach.

    Raises InputError for a text of another form, and for unknown names, with the nearest known ones.
    """
    weapon, colon, abilities = text.partition(":")
    if not colon:
        raise InputError(
            f"{text[:80]!r} is not a build: write WEAPON: ability AP, ability; for example Splattershot: ssu 21, ninja_squid"
        )
    tokens: list[int] = []
    for part in (part.strip() for part in abilities.split(",")):
        if part:
            tokens += [token for token in _tokens(part, subject) if token not in tokens]
    return TokenSet(_weapon(weapon.strip(), subject), tuple(tokens))


def token_in_words(token: str) -> str:
    """A token or an ability by its name in the game, `Swim Speed Up 21`, `Ninja Squid`; the token itself where it has none."""
    ability, level = parse_token(token)
    words = ABILITY_NAMES.get(ability, ability)
    return words if level is None else f"{words} {level}"


def setting_in_words(ability: str, rung: str) -> str:
    """What was done to set an ability to a rung (`Group.rung_name`): `setting Swim Speed Up to 12 AP`, `adding Ninja Squid`."""
    words = token_in_words(ability)
    if rung in ("absent", "worn"):
        return f"{'removing' if rung == 'absent' else 'adding'} {words}"
    return f"setting {words} to {rung} AP"


def as_sentence(text: str) -> str:
    """The text with a full stop, but not a second one: `Splattershot Jr.` has its own."""
    return text if text.endswith(".") else f"{text}."


def build_in_words(token_names: Iterable[str]) -> str:
    """As `build_as_text`, each ability by its name in the game."""
    rungs = highest_rungs(token_names).items()
    words = (token_in_words(group) if level is None else f"{token_in_words(group)} {level}" for group, level in rungs)
    return ", ".join(words) or "no abilities"


def build_as_text(token_names: Iterable[str]) -> str:
    """Abilities in the order of the tokens, each once with its highest rung; `no abilities` for the empty build."""
    worn = highest_rungs(token_names).items()
    return ", ".join(group if level is None else f"{group} {level}" for group, level in worn) or "no abilities"


def highest_rungs(token_names: Iterable[str]) -> dict[str, int | None]:
    """Each ability of a build with its highest rung (AP), None for one without rungs; in the order of the tokens."""
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
    """Whether no gear can hold such a build; False where that is not known."""
    is_legal = legal(rungs_of_sets([build.tokens], subject.builds), subject.builds.groups)
    return is_legal is not None and not bool(is_legal[0])


def _weapon(name: str, subject: Subject) -> int:
    items = subject.contexts.items
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    for item in items:
        if name == item.key or name.casefold() == item.name.casefold():
            return item.id
    raise InputError(unknown_name("weapon", name, [item.name for item in items]))


def _tokens(part: str, subject: Subject) -> list[int]:
    match = _ABILITY.fullmatch(part)
    assert match is not None
    name, ap = ability_of(match["name"]), match["ap"]
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
        raise InputError(f"{name} needs an AP: write for example {name} {members[0].level}")
    reached = [token.id for token in members if (token.level or 0) <= int(ap)]
    if not reached:
        raise InputError(f"{name} {ap} is below the lowest rung, {members[0].level} AP")
    return reached
