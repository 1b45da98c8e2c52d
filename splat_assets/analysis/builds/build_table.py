"""All samples of a store as what their builds wear: one rung per ability group, a weapon, and the tokens themselves.

Statistics of features are counts and sums over these columns. A sample on which a feature does not fire has the activation 0
and counts: absent and inactive are evidence, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.domain.abilities import MAIN_AP, MAIN_ONLY, STACKABLE
from splat_assets.domain.concepts import NAME, Leaf, Rule, Wears, evaluate
from splat_assets.errors import InputError
from splat_assets.store.vocabulary import Contexts, Token, Vocabulary
from splat_assets.text.wording import unknown_name


@dataclass(frozen=True, slots=True)
class Group:
    """An ability and its rungs. tokens: by rising level; rung r (1, 2, …) is tokens[r - 1], rung 0 is "not worn"."""

    name: str
    tokens: tuple[Token, ...]

    @property
    def n_rungs(self) -> int:
        """Rungs, "not worn" included."""
        return len(self.tokens) + 1

    @property
    def has_levels(self) -> bool:
        """Whether it is worn at levels (AP), and not only worn or not."""
        return self.tokens[0].level is not None

    @property
    def levels(self) -> tuple[int, ...]:
        """The level of each rung, 0 for "not worn"; of a group without levels, 1 for "worn"."""
        return (0, *(1 if token.level is None else token.level for token in self.tokens))

    @property
    def ap(self) -> list[int]:
        """The AP of each rung, 0 for "not worn"; of a group without levels, what a main slot gives."""
        return list(self.levels) if self.has_levels else [0, MAIN_AP]

    def rung_name(self, rung: int) -> str:
        """The name of a rung: `absent`, its level, or `worn`."""
        if rung == 0:
            return "absent"
        return str(self.tokens[rung - 1].level) if self.has_levels else "worn"


def of_the_game(groups: Sequence[Group]) -> bool:
    """Whether all groups are abilities of the game, so that which rungs gear can give is known."""
    return all(group.name in (STACKABLE if group.has_levels else MAIN_ONLY) for group in groups)


class BuildTable:
    """The builds of all samples. Samples are in the order of their ids.

    tokens, offsets: sample i has `tokens[offsets[i]:offsets[i + 1]]`, int32 and int64. weapons: int32, shape (n_samples,), -1
    where it is unknown.
    """

    def __init__(
        self,
        tokens: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        weapons: npt.NDArray[np.int32],
        vocabulary: Vocabulary,
        contexts: Contexts,
    ) -> None:
        self.tokens = tokens
        self.offsets = offsets
        self.weapons = weapons
        self.vocabulary = vocabulary
        self.contexts = contexts
        self._counted: dict[str, npt.NDArray[np.int64]] = {}

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return int(self.weapons.size)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The ability groups of the vocabulary, those with levels first, then in the order of their first token."""
        groups = [Group(name, tokens) for name, tokens in self.vocabulary.groups.items()]
        return tuple(sorted(groups, key=lambda group: not group.has_levels))

    @cached_property
    def group_numbers(self) -> dict[str, int]:
        """The position of each group in `groups`, and in the rows of `rungs`."""
        return {group.name: at for at, group in enumerate(self.groups)}

    @cached_property
    def rungs(self) -> npt.NDArray[np.uint8]:
        """The highest rung of each group on each sample, 0 where it is not worn: uint8, shape (n_groups, n_samples)."""
        group_of = np.full(len(self.vocabulary), -1, dtype=np.int16)
        rung_of = np.zeros(len(self.vocabulary), dtype=np.uint8)
        for at, group in enumerate(self.groups):
            for number, token in enumerate(group.tokens, start=1):
                group_of[token.id], rung_of[token.id] = at, number
        rows = np.repeat(np.arange(self.n_samples, dtype=np.int64), np.diff(self.offsets))
        cells = group_of[self.tokens].astype(np.int64) * self.n_samples + rows
        rung = rung_of[self.tokens]
        rungs = np.zeros(len(self.groups) * self.n_samples, dtype=np.uint8)
        for value in range(
            1, int(rung.max(initial=0)) + 1
        ):  # rising, so that the highest rung of a group is what stays
            rungs[cells[rung == value]] = value
        return rungs.reshape(len(self.groups), self.n_samples)

    @cached_property
    def n_with_token(self) -> npt.NDArray[np.int64]:
        """On how many samples each token is: int64, shape (n_tokens,). A build holds a token once."""
        return np.bincount(self.tokens, minlength=len(self.vocabulary))

    @cached_property
    def n_with_weapon(self) -> npt.NDArray[np.int64]:
        """How many samples have each weapon: int64, shape (n_weapons,)."""
        return np.bincount(self.weapons[self.weapons >= 0], minlength=len(self.contexts))

    @cached_property
    def codes(self) -> npt.NDArray[np.uint64]:
        """A number for the build of each sample, equal for equal tokens with an equal weapon: uint64, shape (n_samples,).

        It is a sum of one random number per token and weapon, so that two of a million builds share one with probability 1e-8.
        """
        rng = np.random.default_rng(0)
        of_token = rng.integers(0, 2**64, len(self.vocabulary), dtype=np.uint64)
        of_weapon = rng.integers(0, 2**64, len(self.contexts) + 1, dtype=np.uint64)
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(of_token[self.tokens], dtype=np.uint64)])
        codes: npt.NDArray[np.uint64] = running[self.offsets[1:]] - running[self.offsets[:-1]] + of_weapon[self.weapons]
        return codes

    @cached_property
    def distinct(self) -> npt.NDArray[np.int32]:
        """Which distinct build each sample has, 0 to n_distinct - 1: int32, shape (n_samples,)."""
        return np.unique(self.codes, return_inverse=True)[1].astype(np.int32)

    @property
    def n_distinct(self) -> int:
        """The number of distinct builds: tokens with a weapon."""
        return int(self.distinct.max(initial=-1)) + 1

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The names of weapon attributes: `class`, `sub`, `special`."""
        return tuple(dict.fromkeys(name for item in self.contexts.items for name in item.attributes))

    def group(self, name: str) -> Group:
        """The group of that name; InputError offers the nearest ones."""
        if name not in self.group_numbers:
            raise InputError(unknown_name("ability", name, [group.name for group in self.groups]))
        return self.groups[self.group_numbers[name]]

    def rungs_of(self, name: str) -> npt.NDArray[np.uint8]:
        """The rung of one group on each sample: uint8, shape (n_samples,); InputError as `group`."""
        self.group(name)
        row: npt.NDArray[np.uint8] = self.rungs[self.group_numbers[name]]
        return row

    def n_on_rungs(self, name: str) -> npt.NDArray[np.int64]:
        """Samples on each rung of one group, counted once: int64, shape (n_rungs,); InputError as `group`."""
        if name not in self._counted:
            self._counted[name] = np.bincount(self.rungs_of(name), minlength=self.group(name).n_rungs)
        return self._counted[name]

    def rung_at(self, name: str, level: int) -> int:
        """The rung of a group with this level; InputError names the levels there are."""
        group = self.group(name)
        if level not in group.levels:
            rungs = ", ".join(map(str, group.levels[1:])) if group.has_levels else "worn or not"
            raise InputError(f"{level} is not a rung of {name}: its rungs are {rungs}")
        return group.levels.index(level)

    def attribute_values(self, attribute: str) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
        """An attribute of the weapon of each sample as int16 codes, -1 where it is unknown, and what the codes stand for."""
        if attribute not in self.attributes:
            raise InputError(unknown_name("attribute of weapons", attribute, self.attributes))
        texts = tuple(
            sorted({item.attributes[attribute] for item in self.contexts.items if attribute in item.attributes})
        )
        codes = {text: code for code, text in enumerate(texts)}
        of_weapon = np.array(
            [*(codes.get(item.attributes.get(attribute, ""), -1) for item in self.contexts.items), -1], dtype=np.int16
        )
        return of_weapon[self.weapons], texts  # weapon -1 takes the last

    def holds(self, rule: Rule) -> npt.NDArray[np.bool_]:
        """On which samples a rule over builds holds: bool, shape (n_samples,). InputError for a name or rung that is not there.

        A condition on the weapon does not hold where the weapon is unknown.
        """

        def leaf(part: Leaf) -> npt.NDArray[np.bool_]:
            if isinstance(part, Wears):
                least = 1 if part.at_least is None else self.rung_at(part.ability, part.at_least)
                return self.rungs_of(part.ability) >= least
            return self._weapon_among(part.attribute, part.one_of)

        return evaluate(rule, leaf)

    def _weapon_among(self, attribute: str, one_of: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        if attribute not in (NAME, *self.attributes):
            raise InputError(unknown_name("attribute of weapons", attribute, (NAME, *self.attributes)))
        values = [item.name if attribute == NAME else item.attributes.get(attribute) for item in self.contexts.items]
        for value in one_of:
            if value not in values:
                what = "weapon" if attribute == NAME else f"{attribute} of weapons"
                raise InputError(unknown_name(what, value, sorted({known for known in values if known is not None})))
        among = np.array([*(value in one_of for value in values), False])
        matches: npt.NDArray[np.bool_] = among[self.weapons]  # weapon -1 takes the last
        return matches

    def tokens_of(self, sample_ids: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The tokens of these samples one list after the other, and the place in sample_ids that each one belongs to."""
        starts, lengths = self.offsets[sample_ids], self.offsets[1:][sample_ids] - self.offsets[sample_ids]
        owners = np.repeat(np.arange(sample_ids.size), lengths)
        first = np.cumsum(lengths) - lengths
        return self.tokens[np.arange(owners.size) - np.repeat(first - starts, lengths)], owners
