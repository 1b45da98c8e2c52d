"""Words of messages: counts that agree in number, the names nearest to an unknown one, text that is safe to show."""

import unicodedata
from collections.abc import Iterable

_NOUNS = {"people": "person", "indices": "index", "entries": "entry"}
_VERBS = {"are": "is", "have": "has", "were": "was", "do": "does"}
_HISSING = ("ches", "shes", "sses", "xes")
_MOST_LISTED = 40
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")


def counted(n: int, unit: str, verb: str = "") -> str:
    """`1 file`, `2 files`; with a verb `1 file is`, `2 files are`. unit, verb: for several."""
    thing = f"{n:,} {one_of(unit) if n == 1 else unit}"
    return f"{thing} {agreeing(n, verb)}" if verb else thing


def agreeing(n: int, verb: str) -> str:
    """The verb for so many: `is` for 1 where `are` is for several."""
    return _VERBS.get(verb, f"{verb}s") if n == 1 else verb


def percent(share: float) -> str:
    """`66 %` for 0.66: three significant digits."""
    return f"{100 * share:.3g} %"


def one_of(unit: str) -> str:
    """One of what a word, or the last of several words, names."""
    rest, _, noun = unit.rpartition(" ")
    if noun in _NOUNS:
        noun = _NOUNS[noun]
    elif noun.endswith(_HISSING):
        noun = noun.removesuffix("es")
    else:
        noun = noun.removesuffix("s")
    return f"{rest} {noun}".lstrip()


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """`ability 'swim_sped_up' does not exist; did you mean swim_speed_up?`, or a list of the names that do."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"{what} {name[:60]!r} does not exist; did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"{what} {name[:60]!r} does not exist; there are {', '.join(names[:_MOST_LISTED])}{more}"


def visible(text: str) -> str:
    """A text on one line, with spaces for what moves a cursor, colours a terminal or turns the direction of writing."""
    return "".join(" " if unicodedata.category(one) in _UNSEEN else one for one in text)
