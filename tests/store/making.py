"""Small stores for tests: dense arrays written out, read as rows, as raw shards, as a sparse store, as published parts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import SparseRows
from splat_assets.store.merge import write_sparse_store
from splat_assets.store.raw import RawActivations, shard_name, write_shard
from splat_assets.store.samples import SAMPLE_SCHEMA, write_samples
from splat_assets.store.sparse_layout import Chunking

Dense = npt.NDArray[np.float32]

SMALL = Chunking(inner=4, shard=16)
"""So small that a dozen activations already fill a shard."""

DENSE: Dense = np.array(
    [
        [0.5, 0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [2.0, 0.0, 1.0, 0.25],
        [0.0, 0.0, 1.0, 4.0],
    ],
    dtype=np.float32,
)
"""Feature 1 is dead, feature 2 fires on every sample."""


def random_dense(n_samples: int, n_features: int, density: float, seed: int = 0) -> Dense:
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 1.0, (n_samples, n_features)).astype(np.float32) + np.float32(1e-6)
    return np.where(rng.random((n_samples, n_features)) < density, values, np.float32(0))


class DenseRows:
    """A dense array as a source of rows."""

    def __init__(self, dense: Dense) -> None:
        self._dense = dense
        self.n_samples, self.n_features = dense.shape

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        for start in range(0, self.n_samples, block_rows):
            yield SparseRows.from_dense(self._dense[start : start + block_rows])


def sample_table(first: int, n_rows: int) -> pl.DataFrame:
    ids = range(first, first + n_rows)
    return pl.DataFrame(
        {
            "global_index": list(ids),
            "sample_id": list(range(n_rows)),
            "source_row": list(ids),
            "kind": ["build"] * n_rows,
            "is_null": [False] * n_rows,
            "split": [("train", "validation", "test")[i % 3] for i in ids],
            "weapon_id_token": [i % 7 for i in ids],
            "weapon_name": [f"Weapon {i % 7}" for i in ids],
            "tokens": [list(range(i % 5)) for i in ids],
            "token_position": [-1] * n_rows,
        },
        schema=SAMPLE_SCHEMA,
    )


def write_raw(
    root: Path, dense: Dense, rows_per_shard: int, inputs: dict[str, str] | None = None, embeddings: bool = False
) -> RawActivations:
    for number, start in enumerate(range(0, dense.shape[0], rows_per_shard)):
        block = dense[start : start + rows_per_shard]
        kept = {"input": block[:, :2] * 2} if embeddings else {}
        write_shard(
            root / shard_name(number),
            SparseRows.from_dense(block),
            sample_table(start, block.shape[0]),
            kept,
            dense.shape[1],
            inputs or {"sae": "a" * 64},
        )
    return RawActivations(root)


def write_sparse(path: Path, dense: Dense, profile: str = "raw", chunking: Chunking = SMALL) -> Path:
    write_sparse_store(DenseRows(dense), path, profile, chunking=chunking)
    return path


def staged_parts(folder: Path, dense: Dense, profile: str = "raw") -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    parquet, arrow = write_samples(sample_table(0, dense.shape[0]), folder)
    zarr = write_sparse(folder / "activations.zarr", dense, profile)
    return {"activations.zarr": zarr, "samples.parquet": parquet, "samples.arrow": arrow}


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_byte(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.unlink()
    path.write_bytes(content)
