"""Whether all slots of some gear can be filled without another ability or a higher rung: what a finished build is."""

from collections.abc import Mapping
from functools import cache

from splat_assets.domain.abilities import (
    DOUBLER,
    MAIN_AP,
    MAIN_ONLY,
    N_MAINS,
    N_SUBS,
    N_SUBS_DOUBLED,
    RUNGS,
    SUB_AP,
    highest_possible_ap,
)
from splat_assets.domain.wearable import is_wearable

_PAIRS_OF_DOUBLER = N_SUBS_DOUBLED - N_SUBS


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
                for m, s in _ways(rung, doubled)
                if mains + m <= n_mains and subs + s <= n_subs
            }
    return (n_mains, n_subs, n_pairs) in reached


@cache
def _ways(rung: int, doubled: bool) -> tuple[tuple[int, int], ...]:
    """The (mains, subs) with which an ability's highest rung is this one."""
    limit = min((other for other in RUNGS if other > rung), default=highest_possible_ap(True) + 1)
    return tuple(
        (mains, subs)
        for mains in range(N_MAINS + 1)
        for subs in range((N_SUBS_DOUBLED if doubled else N_SUBS) + 1)
        if rung <= MAIN_AP * mains + SUB_AP * subs < limit
    )
