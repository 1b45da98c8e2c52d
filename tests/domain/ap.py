"""Tokens back to AP, to compare with what the package makes of them."""

from collections.abc import Iterable

from splat_assets.domain.abilities import MAIN_AP, MAIN_ONLY
from splat_assets.domain.tokens import NULL, PAD, parse_token


def ap_of_tokens(names: Iterable[str]) -> dict[str, int]:
    """The highest rung per stackable ability, 10 per main-only one; NULL and PAD add nothing."""
    ap: dict[str, int] = {}
    for name in names:
        if name not in (NULL, PAD):
            group, level = parse_token(name)
            assert level is not None or group in MAIN_ONLY, name
            ap[group] = max(ap.get(group, 0), MAIN_AP if level is None else level)
    return ap
