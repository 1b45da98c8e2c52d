"""A build as people write it: abilities with their highest rung, `swim_speed_up 21, ninja_squid`."""

from collections.abc import Iterable

from splat_assets.domain.tokens import NULL, PAD, parse_token


def build_as_text(token_names: Iterable[str]) -> str:
    """Abilities in the order of the tokens, each once with its highest rung; `no abilities` for the empty build."""
    highest: dict[str, int | None] = {}
    for name in token_names:
        if name in (NULL, PAD):
            continue
        group, level = parse_token(name)
        highest[group] = level if level is None else max(level, highest.get(group) or 0)
    return (
        ", ".join(group if level is None else f"{group} {level}" for group, level in highest.items()) or "no abilities"
    )
