"""Numbers of things in sentences: `1 file`, `2 files`, `1 label was`, `2 labels were`."""

_NOUNS = {"people": "person", "indices": "index", "entries": "entry"}
_VERBS = {"are": "is", "have": "has", "were": "was", "do": "does"}
_HISSING = ("ches", "shes", "sses", "xes")


def counted(n: int, unit: str, verb: str = "") -> str:
    """`1 file`, `2 files`; with a verb `1 file is`, `2 files are`. unit, verb: for several."""
    thing = f"{n:,} {one_of(unit) if n == 1 else unit}"
    return f"{thing} {agreeing(n, verb)}" if verb else thing


def agreeing(n: int, verb: str) -> str:
    """The verb for so many: `is` for 1 where `are` is for several."""
    return _VERBS.get(verb, f"{verb}s") if n == 1 else verb


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
