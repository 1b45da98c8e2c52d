"""Agreement of people who categorise the same items, corrected for chance."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """n: items with two judgements or more. n_alike: those on which all agree. alpha: Krippendorff's, 1 where
    all agree, 0 where they agree as often as chance makes them; None where nobody ever used another category."""

    n: int
    n_alike: int
    alpha: float | None


def agreement(judged: Iterable[Sequence[Hashable]]) -> Agreement:
    """Krippendorff's alpha for nominal data (Krippendorff 2011).

    judged: per item, the category each person chose; items with one judgement are left out.
    """
    units = [Counter(votes) for votes in judged if len(votes) > 1]
    apart = 0.0
    totals: Counter[Hashable] = Counter()
    for unit in units:
        size = unit.total()
        totals.update(unit)
        apart += sum(n * (size - n) for n in unit.values()) / (size - 1)
    whole = totals.total()
    by_chance = sum(n * (whole - n) for n in totals.values())
    alike = sum(1 for unit in units if len(unit) == 1)
    return Agreement(len(units), alike, 1 - (whole - 1) * apart / by_chance if by_chance else None)
