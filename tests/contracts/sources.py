"""Activations held in memory, and the tables that go with them: what tests of writers and readers start from."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import Activations, SampleFeatures, SparseRows
from splat_assets.store.errors import FeatureNotFoundError
from splat_assets.store.samples import SAMPLE_SCHEMA
from splat_assets.store.vocabulary import Token, Vocabulary

VOCABULARY = Vocabulary(
    (
        Token(0, "swim_speed_up_3", "swim_speed_up", 3),
        Token(1, "swim_speed_up_6", "swim_speed_up", 6),
        Token(2, "comeback", "comeback"),
        Token(3, "<NULL>", "<NULL>"),
        Token(4, "<PAD>", "<PAD>"),
    ),
    pad_id=4,
    null_id=3,
)


class DenseSource:
    """A dense array (samples x features) as a reader by feature and by row."""

    def __init__(self, dense: npt.NDArray[np.float32]) -> None:
        self.dense = dense

    @property
    def n_features(self) -> int:
        return int(self.dense.shape[1])

    @property
    def n_samples(self) -> int:
        return int(self.dense.shape[0])

    def read(self, feature_id: int) -> Activations:
        if not 0 <= feature_id < self.n_features:
            raise FeatureNotFoundError(feature_id, self.n_features, "memory")
        return Activations.from_dense(self.dense[:, feature_id])

    def sample(self, sample_id: int) -> SampleFeatures:
        return SparseRows.from_dense(self.dense[sample_id : sample_id + 1]).row(0)

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        for start in range(0, self.n_samples, block_rows):
            yield SparseRows.from_dense(self.dense[start : start + block_rows])


def sparse_random(n_samples: int, n_features: int, density: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Dense float32 rows of which about `density` of the values are > 0."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(1.0, (n_samples, n_features)).astype(np.float32)
    return np.where(rng.random((n_samples, n_features)) < density, values, np.float32(0))


def sample_table(n_samples: int, seed: int = 0) -> pl.DataFrame:
    """Sample metadata for n_samples: the last one is a null row, the others builds of 1 to 3 tokens."""
    rng = np.random.default_rng(seed)
    tokens = [sorted(rng.choice(3, rng.integers(1, 4), replace=False).tolist()) for _ in range(n_samples)]
    is_null = [i == n_samples - 1 for i in range(n_samples)]
    return pl.DataFrame(
        {
            "global_index": range(n_samples),
            "sample_id": range(n_samples),
            "source_row": [-1 if null else i for i, null in enumerate(is_null)],
            "kind": ["null" if null else "build" for null in is_null],
            "is_null": is_null,
            "split": ["none" if null else ("train", "validation", "test")[i % 3] for i, null in enumerate(is_null)],
            "weapon_id_token": rng.integers(0, 5, n_samples),
            "weapon_name": [f"weapon {i % 5}" for i in range(n_samples)],
            "tokens": [[3] if null else own for null, own in zip(is_null, tokens, strict=True)],
            "token_position": [-1] * n_samples,
        },
        schema=SAMPLE_SCHEMA,
    )
