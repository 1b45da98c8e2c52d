"""The rules of gear: three pieces, each with one main slot (10 AP) and three subs (3 AP), and the rules that follow.

A build is described in two ways: as AP per ability (`why_illegal`, `allocate`) and as the highest rung per ability, which is
what tokens know (`wearable_ap`). `ability_doubler` counts each of its piece's up to three subs twice, so with it a build
may have up to 12 subs' worth of AP (66 AP), those beyond six in pairs of one ability.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from splat_assets.domain.abilities import (
    DOUBLER,
    MAIN_AP,
    MAIN_ONLY,
    N_MAINS,
    N_SUBS,
    N_SUBS_DOUBLED,
    RUNGS,
    SLOTS,
    STACKABLE,
    SUB_AP,
    highest_possible_ap,
)
from splat_assets.errors import InputError
from splat_assets.text.wording import counted

_SUBS_PER_PIECE = N_SUBS // len(SLOTS)
_PAIRS_OF_DOUBLER = N_SUBS_DOUBLED - N_SUBS
_IMPOSSIBLE = N_SUBS + 1


@dataclass(frozen=True, slots=True)
class Gear:
    """One piece: the ability on its main slot, or None, and up to three on its subs."""

    main: str | None
    subs: tuple[str, ...]

    @property
    def ap(self) -> Counter[str]:
        """The AP per ability that this piece gives."""
        amounts: Counter[str] = Counter()
        if self.main is not None:
            amounts[self.main] += MAIN_AP
        for ability in self.subs:
            amounts[ability] += SUB_AP * (2 if self.main == DOUBLER else 1)
        return amounts


@dataclass(frozen=True, slots=True)
class Build:
    """Three pieces of gear."""

    head: Gear
    clothes: Gear
    shoes: Gear

    @property
    def ap(self) -> dict[str, int]:
        """The AP of each ability worn."""
        return dict(self.head.ap + self.clothes.ap + self.shoes.ap)


def why_illegal(ap: Mapping[str, int]) -> list[str]:
    """The rules that a build with these AP breaks, in plain words; empty when some gear gives exactly these AP.

    Empty slots are allowed. An ability with 0 AP is not worn.

    Examples:
        >>> why_illegal({"ninja_squid": 10, "run_speed_up": 11})
        ['run_speed_up cannot have 11 AP: a main counts 10, a sub 3']
    """
    worn = {ability: amount for ability, amount in ap.items() if amount != 0}
    broken = [
        f"{ability!r} is not an ability" for ability in worn if ability not in STACKABLE and ability not in MAIN_ONLY
    ]
    broken += [f"{ability} has {amount} AP, less than none" for ability, amount in worn.items() if amount < 0]
    if broken:
        return broken
    broken += [
        f"{ability} has {amount} AP; a main-only ability has {MAIN_AP}"
        for ability, amount in worn.items()
        if ability in MAIN_ONLY and amount != MAIN_AP
    ]
    for slot in SLOTS:
        sharing = [ability for ability in worn if MAIN_ONLY.get(ability) == slot]
        if len(sharing) > 1:
            broken.append(f"the {slot} can hold one main-only ability, not {' and '.join(sharing)}")
    return broken + _broken_by_slots(worn)


def allocate(ap: Mapping[str, int]) -> Build:
    """Gear that gives exactly these AP; among equal ways the one that fills head, clothes, shoes in STACKABLE order.

    Raises:
        InputError: no gear gives them; the message has every broken rule.

    Examples:
        >>> allocate({"ninja_squid": 10, "run_speed_up": 16}).clothes
        Gear(main='ninja_squid', subs=())
    """
    broken = why_illegal(ap)
    if broken:
        raise InputError(f"no gear gives these AP: {'; '.join(broken)}")
    worn = {ability: amount for ability, amount in ap.items() if amount}
    mains: dict[str, str | None] = {MAIN_ONLY[ability]: ability for ability in worn if ability in MAIN_ONLY}
    units = {ability: slots_of_ap(worn[ability], DOUBLER in worn) or (0, 0) for ability in STACKABLE if ability in worn}
    free = [slot for slot in SLOTS if slot not in mains]
    stacked = [ability for ability, (n_mains, _) in units.items() for _ in range(n_mains)]
    mains |= dict(zip(free, stacked, strict=False))
    subs = _subs_per_piece({ability: n_subs for ability, (_, n_subs) in units.items()}, DOUBLER in worn)
    return Build(*(Gear(mains.get(slot), subs[slot]) for slot in SLOTS))


def wearable_ap(rungs: Mapping[str, int]) -> dict[str, int]:
    """The least AP that gear can give and whose highest rungs are exactly these (10 for a main-only ability).

    Args:
        rungs: the highest rung of each ability, 10 for a main-only one.

    Raises:
        InputError: no gear does; the message names the rules that break when subs are used wherever they can be.

    Examples:
        >>> wearable_ap({"swim_speed_up": 29, "ninja_squid": 10})
        {'swim_speed_up': 29, 'ninja_squid': 10}
    """
    amounts = [(ability, list(_amounts(ability, rung, DOUBLER in rungs))) for ability, rung in rungs.items()]
    for (ability, options), rung in zip(amounts, rungs.values(), strict=True):
        if not options:
            raise InputError(
                f"{rung} is not a rung of {ability}: stackable abilities have {RUNGS}, main-only ones {MAIN_AP}"
            )
    legal = [tried for tried in _ways(amounts, {}) if not why_illegal(tried)]
    if not legal:
        broken = why_illegal({ability: options[0][0] for ability, options in amounts})
        raise InputError(f"no gear reaches these rungs: {'; '.join(broken)}")
    return min(legal, key=lambda tried: sum(tried.values()))


def _broken_by_slots(worn: Mapping[str, int]) -> list[str]:
    """The rules about numbers of slots and AP that worn breaks."""
    doubled = DOUBLER in worn
    broken, total, most = [], sum(worn.values()), highest_possible_ap(doubled)
    if total > most:
        broken.append(f"{total} AP is more than the {most} of a full build{' with ability_doubler' if doubled else ''}")
    units = {ability: slots_of_ap(amount, doubled) for ability, amount in worn.items() if ability in STACKABLE}
    broken += [
        f"{ability} cannot have {worn[ability]} AP: a main counts {MAIN_AP}, a sub {SUB_AP}"
        for ability, slots in units.items()
        if slots is None
    ]
    n_mains = sum(ability in MAIN_ONLY for ability in worn) + sum(slots[0] for slots in units.values() if slots)
    if n_mains > N_MAINS:
        broken.append(f"it needs {n_mains} main slots, a build has {N_MAINS}")
    subs = {ability: slots[1] for ability, slots in units.items() if slots}
    n_subs, most_subs = sum(subs.values()), N_SUBS_DOUBLED if doubled else N_SUBS
    if n_subs > most_subs:
        broken.append(f"it needs {n_subs} subs, a build has {most_subs}")
    elif doubled and _n_doubled(n_subs) > sum(n // 2 for n in subs.values()):
        broken.append(
            f"with ability_doubler, {n_subs} subs must hold at least {counted(_n_doubled(n_subs), 'pairs')} of one ability"
        )
    return broken


def slots_of_ap(amount: int, doubled: bool = False) -> tuple[int, int] | None:
    """How many mains and subs give a stackable ability this much, None if none do.

    3 x 7 = 21 leaves 1 when divided by 10, so the last digit of 7 x amount is the number of subs; there is one answer
    while subs are at most nine. With ability_doubler, which takes a main itself, three mains cannot be: ten subs then.
    """
    n_subs = 7 * amount % 10
    n_mains = (amount - SUB_AP * n_subs) // MAIN_AP
    if doubled and n_mains >= N_MAINS and n_subs + 10 <= N_SUBS_DOUBLED:
        n_mains, n_subs = n_mains - N_MAINS, n_subs + 10
    return (n_mains, n_subs) if n_mains >= 0 else None


def _n_doubled(n_subs: int) -> int:
    """How many subs must lie on the doubling piece so that the rest fits the other two."""
    return max(0, -(-(n_subs - 2 * _SUBS_PER_PIECE) // 2))


def _subs_per_piece(subs: Mapping[str, int], doubled: bool) -> dict[str, tuple[str, ...]]:
    left = dict(subs)
    on_clothes: list[str] = []
    if doubled:
        pairs = [ability for ability, n in left.items() for _ in range(n // 2)]
        on_clothes = pairs[: _n_doubled(sum(left.values()))]
        for ability in on_clothes:
            left[ability] -= 2
    rest = [ability for ability, n in left.items() for _ in range(n)]
    pieces: dict[str, tuple[str, ...]] = {}
    for slot in SLOTS:
        if slot == MAIN_ONLY[DOUBLER] and doubled:
            pieces[slot] = tuple(on_clothes)
        else:
            pieces[slot], rest = tuple(rest[:_SUBS_PER_PIECE]), rest[_SUBS_PER_PIECE:]
    return pieces


def _ways(
    amounts: Sequence[tuple[str, Sequence[tuple[int, int]]]], chosen: dict[str, int], n_mains: int = 0
) -> Iterator[dict[str, int]]:
    """Every choice of one amount per ability that needs no more than three mains."""
    if not amounts:
        yield chosen
        return
    (ability, choices), rest = amounts[0], amounts[1:]
    for amount, taken in choices:
        if n_mains + taken <= N_MAINS:
            yield from _ways(rest, {**chosen, ability: amount}, n_mains + taken)


def _amounts(ability: str, rung: int, doubled: bool) -> list[tuple[int, int]]:
    """(AP, mains) on a rung. The least per number of mains is enough, unless doubled subs must come in pairs."""
    if ability in MAIN_ONLY:
        return [(MAIN_AP, 1)] if rung == MAIN_AP else []
    slots = _slots_of_rung(rung, doubled) if rung in RUNGS else ()
    return [
        (MAIN_AP * mains + SUB_AP * subs, mains) for mains, subs in slots if doubled or (mains, subs - 1) not in slots
    ]


@cache
def _slots_of_rung(rung: int, doubled: bool) -> tuple[tuple[int, int], ...]:
    """The (mains, subs) with which an ability's highest rung is this one, rising."""
    limit = min((other for other in RUNGS if other > rung), default=highest_possible_ap(True) + 1)
    return tuple(
        (mains, subs)
        for mains in range(N_MAINS + 1)
        for subs in range((N_SUBS_DOUBLED if doubled else N_SUBS) + 1)
        if rung <= MAIN_AP * mains + SUB_AP * subs < limit
    )


def is_wearable(rungs: Mapping[str, int]) -> bool:
    """Whether gear can be worn whose highest rungs are exactly these (10 for a main-only ability, 0 for not worn).

    The same as asking whether `wearable_ap` finds any, but quick: thousands of edited builds are checked at once. Raises
    InputError for an ability or rung that does not exist.
    """
    worn = {ability: rung for ability, rung in rungs.items() if rung}
    for ability, rung in worn.items():
        if (rung != MAIN_AP) if ability in MAIN_ONLY else (rung not in RUNGS or ability == ""):
            raise InputError(
                f"{rung} is not a rung of {ability}: stackable abilities have {RUNGS}, main-only {MAIN_AP}"
            )
    if DOUBLER in worn:
        return _with_doubler(frozenset(worn.items()))
    taken = [MAIN_ONLY[ability] for ability in worn if ability in MAIN_ONLY]
    if any(taken.count(slot) > 1 for slot in SLOTS):
        return False
    free = N_MAINS - len(taken)
    fewest = [0, *[_IMPOSSIBLE] * free]  # by mains used for stackable abilities: the fewest subs that are needed then
    for ability, rung in worn.items():
        if ability not in MAIN_ONLY:
            subs = _subs_needed(rung)
            fewest = [min(fewest[n - m] + subs[m] for m in range(n + 1)) for n in range(free + 1)]
    return min(fewest) <= N_SUBS


@cache
def _subs_needed(rung: int) -> tuple[int, ...]:
    """By mains (0 to 3): the fewest subs with which an ability's highest rung is this one."""
    slots = _slots_of_rung(rung, False)
    return tuple(min((s for m, s in slots if m == mains), default=_IMPOSSIBLE) for mains in range(N_MAINS + 1))


@lru_cache(maxsize=65_536)
def _with_doubler(worn: frozenset[tuple[str, int]]) -> bool:
    try:
        wearable_ap(dict(worn))
    except InputError:
        return False
    return True


def can_be_full(rungs: Mapping[str, int]) -> bool:
    """Whether gear with twelve abilities on its twelve slots has exactly these highest rungs (10 for a main-only ability).

    With ability_doubler the subs of its piece count twice: twelve subs' worth, three pairs of one ability among them. Raises
    InputError for an ability or rung that does not exist.
    """
    worn = {ability: rung for ability, rung in rungs.items() if rung}
    if not is_wearable(worn):
        return False
    doubled = DOUBLER in worn
    n_mains = N_MAINS - sum(ability in MAIN_ONLY for ability in worn)
    n_subs, n_pairs = (N_SUBS_DOUBLED, _PAIRS_OF_DOUBLER) if doubled else (N_SUBS, 0)
    reached = {(0, 0, 0)}
    for ability, rung in worn.items():
        if ability not in MAIN_ONLY:
            reached = {
                (mains + m, subs + s, min(pairs + s // 2, n_pairs))
                for mains, subs, pairs in reached
                for m, s in _slots_of_rung(rung, doubled)
                if mains + m <= n_mains and subs + s <= n_subs
            }
    return (n_mains, n_subs, n_pairs) in reached
