"""Folders as the upstream tools write them, faults included: what an import has to cope with."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import zarr
from zarr.codecs import ZstdCodec

Dense = npt.NDArray[np.float32]


def upstream_metadata(n_rows: int, batch: int, null_rows: int = 0) -> pl.DataFrame:
    """The table of one batch; global_index = batch x rows of this batch + row, which overlaps when batches differ in size."""
    rng = np.random.default_rng(batch)
    is_null = np.arange(n_rows) >= n_rows - null_rows
    tokens = [[3] if null else sorted(rng.choice(3, rng.integers(1, 4), replace=False).tolist()) for null in is_null]
    weapons = rng.integers(0, 3, n_rows)
    return pl.DataFrame(
        {
            "batch_id": [batch] * n_rows,
            "sample_id": range(n_rows),
            "ability_tokens": tokens,
            "weapon_id_token": weapons,
            "is_null_token": is_null,
            "weapon_name": [
                f"weapon_id_{w}" if null else "" for w, null in zip(weapons.tolist(), is_null, strict=True)
            ],
            "global_index": batch * n_rows + np.arange(n_rows),
        }
    )


def write_upstream_tree(dense: Dense, sizes: list[int], folder: Path, null_rows: int = 0) -> Path:
    """An `activations_efficient` folder of the upstream converter: batches of these sizes, chunks of 1,000 rows."""
    (folder / "metadata").mkdir(parents=True)
    first = 0
    stats = []
    for batch, n_rows in enumerate(sizes):
        own = dense[first : first + n_rows]
        write_upstream_batch(own, batch, folder)
        table = upstream_metadata(n_rows, batch, null_rows if batch == len(sizes) - 1 else 0)
        table.write_parquet(folder / f"metadata/batch_{batch:04d}.parquet", compression="zstd", compression_level=3)
        stats.append({"input_size_mb": 1.0, "n_samples": n_rows, "n_features": own.shape[1], "compression_ratio": 2.0})
        first += n_rows
    _append_twice(dense[:, :2], sizes, folder / "embeddings/sae_input.zarr")
    seal = {
        "n_batches": len(sizes),
        "total_samples": sum(sizes),
        "total_input_size_mb": 1.0,
        "total_output_size_mb": 0.5,
        "average_compression_ratio": 2.0,
        "chunk_size": 1000,
        "compression": "zstd",
        "compression_level": 3,
        "batch_stats": stats,
    }
    (folder / "conversion_metadata.json").write_text(json.dumps(seal))
    return folder


def write_upstream_batch(dense: npt.NDArray[np.floating], batch: int, folder: Path) -> None:
    array = zarr.create_array(
        str(folder / f"activations/batch_{batch:04d}.zarr"),
        shape=dense.shape,
        chunks=(1000, dense.shape[1]),
        dtype=dense.dtype,
        compressors=ZstdCodec(level=3),
        attributes={"batch_index": batch, "n_samples": dense.shape[0], "n_features": dense.shape[1], "vocab_size": 5},
        zarr_format=3,
    )
    array[:] = dense


def write_neuron_files(folder: Path, feature_id: int, ids: npt.ArrayLike, values: npt.ArrayLike) -> None:
    """One feature as somebody's own script may write it: whatever ids and values are given."""
    own = folder / f"neuron_{feature_id:04d}"
    own.mkdir(parents=True)
    np.save(own / "idxs.npy", np.asarray(ids))
    np.save(own / "acts.npy", np.asarray(values))


def _append_twice(vectors: Dense, sizes: list[int], path: Path) -> None:
    """Running the upstream converter again appends the embeddings again."""
    array = zarr.create_array(
        str(path), shape=(2 * len(vectors), vectors.shape[1]), chunks=(10_000, vectors.shape[1]), dtype="float32"
    )
    array[:] = np.concatenate([vectors, vectors])
