"""Whether some gear reaches certain rungs, quickly: thousands of edited builds are checked at once.
`builds.wearable_ap` says how.
"""

from collections.abc import Mapping
from functools import cache, lru_cache

from splat_assets.domain.abilities import DOUBLER, MAIN_AP, MAIN_ONLY, N_MAINS, N_SUBS, RUNGS, SLOTS, SUB_AP
from splat_assets.domain.builds import wearable_ap
from splat_assets.errors import InputError

_IMPOSSIBLE = N_SUBS + 1


def is_wearable(rungs: Mapping[str, int]) -> bool:
    """Whether gear can be worn whose highest rungs are exactly these (10 for a main-only ability, 0 for not worn).

    The same as asking whether `builds.wearable_ap` finds any. Raises InputError for an ability or rung that does not exist.
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
    limit = min((other for other in RUNGS if other > rung), default=N_MAINS * MAIN_AP + N_SUBS * SUB_AP + 1)
    needed = []
    for mains in range(N_MAINS + 1):
        subs = max(0, -(-(rung - MAIN_AP * mains) // SUB_AP))
        needed.append(subs if MAIN_AP * mains + SUB_AP * subs < limit else _IMPOSSIBLE)
    return tuple(needed)


@lru_cache(maxsize=65_536)
def _with_doubler(worn: frozenset[tuple[str, int]]) -> bool:
    try:
        wearable_ap(dict(worn))
    except InputError:
        return False
    return True
