"""Errors of store files. Each class keeps its values as attributes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat_assets.errors import SplatError


class StoreError(SplatError):
    """A store, or a file of one, cannot be read or written."""


class LayoutError(StoreError):
    """A folder does not hold what was expected there."""

    code = "not_there"


class AccessDeniedError(StoreError):
    """A file that this user may not read or write; the text says which, and as whom."""


class FeatureNotFoundError(StoreError):
    """A feature id outside the store."""

    code = "feature_not_found"

    def __init__(self, feature_id: int, n_features: int, where: Path | str) -> None:
        self.feature_id = feature_id
        self.n_features = n_features
        self.where = str(where)
        there = f"features 0 to {n_features - 1}" if n_features else "no features"
        super().__init__(f"feature {feature_id} is not in {where}: it holds {there}")

    @property
    def values(self) -> Mapping[str, Any]:
        """As `SplatError.values`."""
        return {"feature_id": self.feature_id, "n_features": self.n_features, "where": self.where}


class SampleNotFoundError(StoreError):
    """A sample id outside the store."""

    code = "sample_not_found"

    def __init__(self, sample_id: int, n_samples: int, where: Path | str) -> None:
        self.sample_id = sample_id
        self.n_samples = n_samples
        self.where = str(where)
        there = f"samples 0 to {n_samples - 1}" if n_samples else "no samples"
        super().__init__(f"sample {sample_id} is not in {where}: it holds {there}")

    @property
    def values(self) -> Mapping[str, Any]:
        """As `SplatError.values`."""
        return {"sample_id": self.sample_id, "n_samples": self.n_samples, "where": self.where}


class CorruptStoreError(StoreError):
    """Bytes on disk are not the bytes that were written."""

    code = "corrupt_store"


class InvalidActivationsError(StoreError):
    """Activations that break a promise of the store: a NaN, a value not above 0, ids out of order or range."""


class FingerprintMismatchError(StoreError):
    """Two things that were not made from each other; the text holds both fingerprints."""

    code = "fingerprint_mismatch"

    def __init__(self, what: str, expected: str, actual: str, what_to_do: str) -> None:
        self.what = what
        self.expected = expected
        self.actual = actual
        self.what_to_do = what_to_do
        super().__init__(f"{what}: expected sha256 {expected}, not {actual}; {what_to_do}")

    @property
    def values(self) -> Mapping[str, Any]:
        """As `SplatError.values`."""
        return {"what": self.what, "expected": self.expected, "actual": self.actual, "what_to_do": self.what_to_do}


class NotPublishedError(StoreError):
    """A run of which nothing was published yet."""

    code = "not_published"
