"""One sentence for a name that is not there: the nearest ones, or all where none is near."""

from collections.abc import Iterable

_SHOWN = 40


def unknown_name(what: str, given: str, known: Iterable[str]) -> str:
    """`there is no ability 'swim_sped_up'; did you mean swim_speed_up?`, or a list of what there is."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(given, names, n=3, cutoff=0.5)
    if near:
        return f"there is no {what} {given[:60]!r}; did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there is no {what} {given[:60]!r}; there are {', '.join(names[:_SHOWN])}{more}"
