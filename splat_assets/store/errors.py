"""What can go wrong with files of a store. Each class keeps the values it speaks of as attributes."""

from pathlib import Path

from splat_assets.errors import SplatError


class StoreError(SplatError):
    """A store, or a file of one, cannot be read or written as asked."""


class LayoutError(StoreError):
    """A folder does not hold what was expected there."""


class AccessDeniedError(StoreError):
    """A file that this user may not read or write; the text says which, and as whom."""


class FeatureNotFoundError(StoreError):
    """A feature id outside the store."""

    def __init__(self, feature_id: int, n_features: int, where: Path | str) -> None:
        self.feature_id = feature_id
        self.n_features = n_features
        there = f"features 0 to {n_features - 1}" if n_features else "no features"
        super().__init__(f"feature {feature_id} is not in {where}: it holds {there}")


class SampleNotFoundError(StoreError):
    """A sample id outside the store."""

    def __init__(self, sample_id: int, n_samples: int, where: Path | str) -> None:
        self.sample_id = sample_id
        self.n_samples = n_samples
        there = f"samples 0 to {n_samples - 1}" if n_samples else "no samples"
        super().__init__(f"sample {sample_id} is not in {where}: it holds {there}")


class CorruptStoreError(StoreError):
    """Bytes on disk are not the bytes that were written."""


class InvalidActivationsError(StoreError):
    """Activations that break a promise of the store: a NaN, a value not above 0, ids out of order or range."""


class FingerprintMismatchError(StoreError):
    """Two things that were not made from each other; the text holds both fingerprints."""

    def __init__(self, what: str, expected: str, found: str, what_to_do: str) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"{what}: expected sha256 {expected}, found {found}; {what_to_do}")


class NotPublishedError(StoreError):
    """A run that has no published version yet."""
