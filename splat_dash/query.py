"""What the list of features shows, as it stands in a URL: parsed strictly, written without defaults, the same both ways."""

from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode

from splat_assets.errors import InputError

SORTS = ("feature_id", "density", "max", "mean", "f1", "label", "queue")
STATES = ("labelled", "unlabelled", "suggested", "queued", "dead")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """q: words that label, rule or token must hold. state: one of STATES, or all. sort: one of SORTS, with - largest first."""

    q: str = ""
    state: str = ""
    sort: str = "feature_id"

    def __post_init__(self) -> None:
        if len(self.q) > 200:
            raise InputError(f"q: at most 200 characters, not {len(self.q):,}")
        if self.state not in ("", *STATES):
            raise InputError(f"state: there is no {self.state[:40]!r}; there are {', '.join(STATES)}")
        if self.sort.removeprefix("-") not in SORTS:
            raise InputError(f"sort: there is no column {self.sort[:40]!r}; there are {', '.join(SORTS)}")

    @classmethod
    def parse(cls, given: dict[str, Any]) -> "ListQuery":
        """From the parameters of a URL; others than its own are left to others. InputError names the one that means nothing."""
        known = {field.name: given[field.name] for field in fields(cls) if given.get(field.name) is not None}
        for name, value in known.items():
            if not isinstance(value, str):
                raise InputError(f"{name}: it is given more than once")
        return cls(**known)

    @classmethod
    def from_text(cls, text: str) -> "ListQuery":
        """From what `as_text` wrote."""
        return cls.parse(dict(parse_qsl(text)))

    def as_text(self) -> str:
        """`q=swim&sort=-density`: what differs from the default."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({name: value for name, value in found.items() if value != getattr(EVERYTHING, name)})


EVERYTHING = ListQuery()
