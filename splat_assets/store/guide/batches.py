"""The guide's batch tree, written: dense `[samples, features]` Zarr arrays of some 500,000 rows, metadata beside them.

`<target>/activations/batch_0000.zarr`, `metadata/batch_0000.parquet`, `embeddings/<name>.zarr` (one array over all samples)
and `conversion_metadata.json`, which is written last: a tree without it is unfinished. Memory is bounded by one shard of
rows. Reading the tree is in `batch_reader`.

Upstream's metadata columns are `batch_id, sample_id (row in the batch), ability_tokens, weapon_id_token, is_null_token,
weapon_name, global_index`. Added: `abilities` (names), `weapon_id` (the vocabulary index, as in the dataset), `split`, `kind`,
`source_row`, `token_position`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import RowReader, SparseRows, regrouped
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import read_json
from splat_assets.store.errors import LayoutError
from splat_assets.store.files import files_below, remove_leftovers, replaceable_folder, replacing_folder, write_json
from splat_assets.store.guide.dense_arrays import COMPRESSION, COMPRESSION_LEVEL, create_dense_array, row_geometry
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress, SilentProgress, Task
from splat_assets.text.wording import agreeing, counted

ACTIVATIONS = "activations"
METADATA = "metadata"
EMBEDDINGS = "embeddings"
SEAL = "conversion_metadata.json"
VOCABULARY = "vocabulary.json"
CONTEXTS = "contexts.json"
_FORMAT_VERSION = 1
_MB = 2**20
_OURS = {
    ACTIVATIONS: re.compile(r"batch_\d{4,}\.zarr"),
    METADATA: re.compile(r"batch_\d{4,}\.parquet"),
    EMBEDDINGS: re.compile(r"\w+\.zarr"),
}

Embeddings = Mapping[str, Iterable[npt.NDArray[np.float32]]]
"""Name -> consecutive float32 blocks (n, width) that together have one row per sample."""


@dataclass(frozen=True, slots=True)
class BatchesWritten:
    """The size of a batch tree."""

    n_batches: int
    n_samples: int
    n_features: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """Samples start..stop - 1 of the store."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"batch_{self.index:04d}"

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


def check_samples(samples: pl.DataFrame, n_samples: int, n_tokens: int) -> None:
    """Raise LayoutError unless samples has one row per sample, a running `global_index`, and tokens of the vocabulary."""
    if samples.height != n_samples:
        raise LayoutError(
            f"{counted(samples.height, 'rows')} of sample metadata {agreeing(samples.height, 'do')} not "
            f"describe {counted(n_samples, 'samples')}"
        )
    wrong = np.flatnonzero(samples["global_index"].to_numpy() != np.arange(n_samples))
    if wrong.size:
        row = int(wrong[0])
        raise LayoutError(
            f"sample metadata row {row} has global_index {samples['global_index'][row]}; it must be {row}"
        )
    tokens = samples["tokens"].explode().drop_nulls().to_numpy()
    strange = tokens[(tokens < 0) | (tokens >= n_tokens)]
    if strange.size:
        raise LayoutError(f"sample metadata names token {strange[0]}; the vocabulary has tokens 0 to {n_tokens - 1}")


def batch_metadata(samples: pl.DataFrame, batch: int, vocabulary: Vocabulary) -> pl.DataFrame:
    """The table of one batch from its samples (the columns of raw activations)."""
    ids = [token.id for token in vocabulary.tokens]
    names = [token.name for token in vocabulary.tokens]
    return samples.select(
        pl.lit(batch, pl.Int64).alias("batch_id"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("sample_id"),
        pl.col("tokens").cast(pl.List(pl.Int64)).alias("ability_tokens"),
        pl.col("weapon_id_token").cast(pl.Int64),
        pl.col("is_null").alias("is_null_token"),
        "weapon_name",
        pl.col("global_index").cast(pl.Int64),
        pl.col("tokens").list.eval(pl.element().replace_strict(ids, names, return_dtype=pl.String)).alias("abilities"),
        pl.col("weapon_id_token").cast(pl.Int64).alias("weapon_id"),
        "split",
        "kind",
        pl.col("source_row").cast(pl.Int64),
        pl.col("token_position").cast(pl.Int32),
    )


def write_batches(
    source: RowReader,
    samples: pl.DataFrame,
    embeddings: Embeddings | None,
    vocabulary: Vocabulary,
    target: Path,
    batch_rows: int = 500_000,
    progress: Progress | None = None,
    source_fingerprint: str | None = None,
    contexts: Contexts | None = None,
) -> BatchesWritten:
    """Write the whole batch tree under target, replacing its activations, metadata and embeddings.

    Other folders under target (`precomputed`) stay. The tree is whole before and after, and unsealed only while the folders
    change places.

    Args:
        source: the activations by sample.
        samples: one row per sample in `global_index` order, with the columns of raw activations.
        embeddings: by name, consecutive float32 blocks (n, width) with one row per sample in all; None for none.
        vocabulary: the tokens of samples; recorded in the tree.
        target: folder of the tree.
        batch_rows: samples per batch.
        progress: where to report progress, in samples.
        source_fingerprint: identity of the rows, recorded in the seal.
        contexts: the weapons, recorded beside the vocabulary.

    Returns:
        The numbers of samples, features and batches written.

    Raises:
        LayoutError: samples or embeddings do not match the source.
        InputError: a folder to replace holds anything but batches.
        DiskFullError: the disk is full.
    """
    if batch_rows < 1:
        raise LayoutError(f"a batch of {target} cannot have {counted(batch_rows, 'rows')}; use 1 or more")
    for folder, ours in _OURS.items():
        replaceable_folder(target / folder, lambda name, ours=ours: bool(ours.fullmatch(name)))  # type: ignore[misc]
    check_samples(samples, source.n_samples, len(vocabulary))
    batches = [
        _Batch(i, start, min(start + batch_rows, source.n_samples))
        for i, start in enumerate(range(0, source.n_samples, batch_rows))
    ]
    shown = progress or SilentProgress()
    remove_leftovers(target)
    with explaining_write_errors("the batch tree", target), ExitStack() as staged:
        activations = staged.enter_context(replacing_folder(target / ACTIVATIONS))
        metadata = staged.enter_context(replacing_folder(target / METADATA))
        vectors = staged.enter_context(replacing_folder(target / EMBEDDINGS))
        _write_activations(source, batches, activations, shown)
        for batch in batches:
            table = batch_metadata(samples.slice(batch.start, batch.n_rows), batch.index, vocabulary)
            table.write_parquet(metadata / f"{batch.name}.parquet", compression="zstd")
        for name, blocks in sorted((embeddings or {}).items()):
            _write_embedding(blocks, name, batches, source.n_samples, vectors, shown)
        stats = [_stats(batch, source.n_features, activations, metadata) for batch in batches]
        vocabulary.save(target / VOCABULARY)
        (target / CONTEXTS).unlink(missing_ok=True)
        if contexts is not None:
            contexts.save(target / CONTEXTS)
        (target / SEAL).unlink(missing_ok=True)
    write_json(target / SEAL, _seal(source, batch_rows, stats, source_fingerprint))
    sizes = [_size(target / folder) for folder in (ACTIVATIONS, METADATA, EMBEDDINGS)]
    return BatchesWritten(len(batches), source.n_samples, source.n_features, sum(sizes))


def recorded_source(target: Path) -> str | None:
    """The fingerprint of what the tree at target was made from; None where the tree does not exist, or does not say."""
    try:
        recorded: str | None = read_json(target / SEAL).get("source_fingerprint")
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    return recorded


def _write_activations(source: RowReader, batches: list[_Batch], folder: Path, progress: Progress) -> None:
    """One array per batch, a shard at a time."""
    shard_rows = row_geometry(batches[0].n_rows, source.n_features)[1] if batches else 1
    sizes = [min(shard_rows, batch.n_rows - at) for batch in batches for at in range(0, batch.n_rows, shard_rows)]
    blocks = regrouped(source.rows(shard_rows), sizes)
    with progress.task("batch zarr", source.n_samples, "rows") as task:
        for batch in batches:
            _write_batch(batch, source.n_features, blocks, folder, task)
        next(blocks, None)  # runs the check that all rows of the source were read


def _write_batch(batch: _Batch, n_features: int, blocks: Iterator[SparseRows], folder: Path, task: Task) -> None:
    chunk_rows, shard_rows = row_geometry(batch.n_rows, n_features)
    width = max(n_features, 1)
    array = create_dense_array(
        folder / f"{batch.name}.zarr",
        shape=(batch.n_rows, n_features),
        chunks=(chunk_rows, width),
        shards=(shard_rows, width),
        dimension_names=("sample", "feature"),
        attributes={
            "long_name": "SAE feature activation",
            "valid_min": 0,
            "batch_index": batch.index,
            "n_samples": batch.n_rows,
            "n_features": n_features,
        },
    )
    done = 0
    while done < batch.n_rows:
        block = next(blocks)
        if n_features:
            array[done : done + block.n_rows] = block.to_dense(n_features)
        done += block.n_rows
        task.advance(block.n_rows)


def _write_embedding(
    blocks: Iterable[npt.NDArray[np.float32]],
    name: str,
    batches: list[_Batch],
    n_samples: int,
    folder: Path,
    progress: Progress,
) -> None:
    """One array over all samples, with the row range of each batch among its attributes."""
    incoming = iter(blocks)
    first = next(incoming, np.empty((0, 0), np.float32))
    width = first.shape[1]
    chunk_rows, _ = row_geometry(n_samples, width)
    bounds = {f"{b.name}_{end}": at for b in batches for end, at in (("start", b.start), ("end", b.stop))}
    array = create_dense_array(
        folder / f"{name}.zarr",
        shape=(n_samples, width),
        chunks=(chunk_rows, max(width, 1)),
        shards=None,
        dimension_names=("sample", "dimension"),
        attributes={"long_name": name.replace("_", " "), **bounds},
    )
    done = 0
    with progress.task(f"embedding {name}", n_samples, "rows") as task:
        for block in _cut(first, incoming, chunk_rows):
            if block.shape[1] != width or done + len(block) > n_samples:
                raise LayoutError(f"embedding {name}: rows from {done} on do not fit an array of {n_samples} x {width}")
            if width:
                array[done : done + len(block)] = block
            done += len(block)
            task.advance(len(block))
    if done != n_samples:
        raise LayoutError(f"embedding {name} has {counted(done, 'rows')} for {counted(n_samples, 'samples')}")


def _cut(
    first: npt.NDArray[np.float32], rest: Iterator[npt.NDArray[np.float32]], n_rows: int
) -> Iterator[npt.NDArray[np.float32]]:
    """The rows of first and rest in blocks of n_rows; the last may be shorter."""
    pending = first
    while True:
        while len(pending) >= n_rows:
            yield pending[:n_rows]
            pending = pending[n_rows:]
        block = next(rest, None)
        if block is None:
            break
        pending = np.concatenate([pending, block]) if len(pending) else block
    if len(pending):
        yield pending


def _stats(batch: _Batch, n_features: int, activations: Path, metadata: Path) -> dict[str, float]:
    """An entry of `batch_stats`; input_size_mb is what the rows take as dense float32."""
    dense = 4 * batch.n_rows * n_features
    written = _size(activations / f"{batch.name}.zarr")
    parquet = (metadata / f"{batch.name}.parquet").stat().st_size
    return {
        "input_size_mb": dense / _MB,
        "n_samples": batch.n_rows,
        "n_features": n_features,
        "parquet_size_mb": parquet / _MB,
        "zarr_activations_size_mb": written / _MB,
        "compression_ratio": dense / (written + parquet),
    }


def _seal(
    source: RowReader, batch_rows: int, stats: list[dict[str, float]], source_fingerprint: str | None
) -> dict[str, Any]:
    dense = sum(batch["input_size_mb"] for batch in stats)
    written = sum(batch["zarr_activations_size_mb"] + batch["parquet_size_mb"] for batch in stats)
    return {
        "format_version": _FORMAT_VERSION,
        "source_fingerprint": source_fingerprint,
        "n_batches": len(stats),
        "total_samples": source.n_samples,
        "n_features": source.n_features,
        "batch_size": batch_rows,
        "total_input_size_mb": dense,
        "total_output_size_mb": written,
        "average_compression_ratio": dense / written if written else 0.0,
        "chunk_size": row_geometry(min(batch_rows, source.n_samples), source.n_features)[0],
        "compression": COMPRESSION,
        "compression_level": COMPRESSION_LEVEL,
        "batch_stats": stats,
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in files_below(folder))
