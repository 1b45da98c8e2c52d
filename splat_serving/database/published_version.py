"""One version of a run, as listed by a data root or a server."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a run, or a run without any. published: time, UTC. scorecard: metrics of its SAE; empty if
    unknown, and then `said` is the reason, as for an unreadable version."""

    run: str
    version: str | None
    current: bool = False
    published: datetime | None = None
    n_samples: int | None = None
    n_features: int | None = None
    n_activations: int | None = None
    scorecard: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> "Published":
        """From the output of `as_json`; KeyError, TypeError or ValueError for anything else."""
        fields = {name: row[name] for name in cls.__slots__}
        published = datetime.fromisoformat(row["published"]) if row["published"] is not None else None
        return cls(**{**fields, "published": published})

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "published": self.published.isoformat() if self.published else None}
