"""One version of a run among others, as a data root or a server tells of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a run, or a run without any. published: when, UTC. scorecard: figures of its SAE; empty where they are not
    known, and then `said` says why, as it does where the version cannot be read."""

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
        """What `as_json` made; KeyError, TypeError or ValueError for anything else."""
        fields = {name: row[name] for name in cls.__slots__}
        published = datetime.fromisoformat(row["published"]) if row["published"] is not None else None
        return cls(**{**fields, "published": published})

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "published": self.published.isoformat() if self.published else None}
