"""Small stores for tests: dense arrays written as raw shards, as a sparse store, as parts to be published."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import SparseRows
from splat_assets.store.raw import RawActivations, begin_raw_activations, shard_name, write_shard
from splat_assets.store.samples import write_samples
from splat_assets.store.sparse.layout import Chunking
from splat_assets.store.sparse.merge import write_sparse_store
from tests.contracts.sources import DenseSource, sample_table

Dense = npt.NDArray[np.float32]

SMALL = Chunking(inner=4, shard=64)
"""So small that a hundred activations already need two shards."""

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

SAE = {"sae": "a" * 64}


def write_raw(
    root: Path, dense: Dense, rows_per_shard: int, inputs: dict[str, str] = SAE, embeddings: bool = False
) -> RawActivations:
    samples = sample_table(dense.shape[0])
    begin_raw_activations(root, dense.shape[0], -(-dense.shape[0] // rows_per_shard))
    for number, start in enumerate(range(0, dense.shape[0], rows_per_shard)):
        block = dense[start : start + rows_per_shard]
        own = samples.slice(start, block.shape[0]).with_columns(sample_id=pl.int_range(block.shape[0], dtype=pl.Int64))
        kept = {"input": block[:, :2] * 2} if embeddings else {}
        write_shard(root / shard_name(number), SparseRows.from_dense(block), own, kept, dense.shape[1], inputs)
    return RawActivations(root)


def write_sparse(path: Path, dense: Dense, profile: str = "raw", chunking: Chunking = SMALL) -> Path:
    write_sparse_store(DenseSource(dense), path, profile, chunking=chunking)
    return path


def staged_parts(folder: Path, dense: Dense, profile: str = "raw", chunking: Chunking = SMALL) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    parquet, arrow = write_samples(sample_table(dense.shape[0]), folder)
    zarr = write_sparse(folder / "activations.zarr", dense, profile, chunking)
    return {"activations.zarr": zarr, "samples.parquet": parquet, "samples.arrow": arrow}


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte in a file of its own: other hard links keep theirs."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.unlink()
    path.write_bytes(content)
