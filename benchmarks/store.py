"""Time the sparse store: `python -m benchmarks.store`. Reads of one feature, compared with other layouts of the same numbers.

The baseline is the guide's layout: a dense array of features x samples in chunks of 1 x 10,000, Blosc (zstd 3, shuffle),
read through zarr and searched for non-zeros. All layouts are read warm, for the same features, in turn, in the same run;
ratios are comparable between machines, milliseconds are not. Before that, the store of a dictionary of 24,576 features is
written once, for its rate and memory. Seeds are fixed.
"""

import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import zarr

from splat_assets.store.activations import SparseRows, feature_id_dtype
from splat_assets.store.files import files_below
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.text.numerals import whole

_SIZES = (1_000, 10_000, 100_000, 500_000)
_FEATURES_PER_SIZE = 12
_GUIDE_CHUNK = 10_000

Read = Callable[[int], object]


class CountedFeatures:
    """A matrix whose features have known numbers of activations: a fixed number of each size, at random samples."""

    def __init__(self, n_samples: int, sizes: tuple[int, ...], per_size: int) -> None:
        rng = np.random.default_rng(0)
        self.sizes = [size for size in sizes for _ in range(per_size)]
        ids = [np.sort(rng.choice(n_samples, size, replace=False)).astype(np.int32) for size in self.sizes]
        values = rng.exponential(size=sum(self.sizes)).astype(np.float32) + np.float32(1e-3)
        indptr = np.concatenate([[0], np.cumsum(self.sizes)])
        self.by_feature = sp.csc_array((values, np.concatenate(ids), indptr), shape=(n_samples, len(self.sizes)))
        self._by_sample = self.by_feature.tocsr()
        self.n_samples, self.n_features = n_samples, len(self.sizes)

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples."""
        whole = self._by_sample
        ids = whole.indices.astype(feature_id_dtype(self.n_features))
        rows = SparseRows(whole.indptr.astype(np.int64), ids, whole.data)
        for start in range(0, self.n_samples, block_rows):
            yield rows.slice(start, min(start + block_rows, self.n_samples))

    def dense(self, feature_id: int) -> npt.NDArray[np.float32]:
        """One feature over all samples."""
        row = np.zeros(self.n_samples, np.float32)
        lo, hi = self.by_feature.indptr[feature_id : feature_id + 2]
        row[self.by_feature.indices[lo:hi]] = self.by_feature.data[lo:hi]
        return row


class UniformRows:
    """Rows made on the fly, n_active features each: a dictionary's worth of activations without holding them."""

    def __init__(self, n_samples: int, n_features: int, n_active: int) -> None:
        self.n_samples, self.n_features, self._n_active = n_samples, n_features, n_active

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples."""
        rng = np.random.default_rng(0)
        step = self.n_features // self._n_active
        for start in range(0, self.n_samples, block_rows):
            n = min(block_rows, self.n_samples - start)
            ids = rng.integers(0, step, (n, self._n_active)) + np.arange(self._n_active) * step
            values = rng.random(n * self._n_active, dtype=np.float32) + np.float32(0.01)
            indptr = np.arange(n + 1, dtype=np.int64) * self._n_active
            yield SparseRows(indptr, ids.ravel().astype(feature_id_dtype(self.n_features)), values)


def write_guide_layout(source: CountedFeatures, path: Path) -> Path:
    """The transposed array as the guide's tool makes it: chunks of one feature x 10,000 samples."""
    blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
    shape, chunks = (source.n_features, source.n_samples), (1, _GUIDE_CHUNK)
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype="float32", compressors=[blosc])
    for feature_id in range(source.n_features):
        array[feature_id, :] = source.dense(feature_id)
    return path


def write_npy_pairs(source: CountedFeatures, folder: Path) -> Path:
    """Two files per feature: float32 values and int64 sample ids."""
    for feature_id in range(source.n_features):
        own = folder / f"neuron_{feature_id:04d}"
        own.mkdir(parents=True)
        lo, hi = source.by_feature.indptr[feature_id : feature_id + 2]
        np.save(own / "acts.npy", source.by_feature.data[lo:hi])
        np.save(own / "idxs.npy", source.by_feature.indices[lo:hi].astype(np.int64))
    return folder


def ways(source: CountedFeatures, folder: Path) -> Iterator[tuple[str, Path, Read]]:
    """Name, place and read function of each way to hold the matrix; the guide's layout comes first."""
    guide = write_guide_layout(source, folder / "guide.zarr")
    dense = zarr.open_array(guide, mode="r")
    yield (
        f"guide: dense, chunks 1 x {_GUIDE_CHUNK:,}, through zarr",
        guide,
        lambda i: _non_zero(np.asarray(dense[i, :])),
    )
    pairs = write_npy_pairs(source, folder / "neuron_acts")
    yield (
        "guide: two .npy per feature",
        pairs,
        lambda i: [np.load(pairs / f"neuron_{i:04d}" / name) for name in ("idxs.npy", "acts.npy")],
    )
    raw, compact = folder / "raw.zarr", folder / "compact.zarr"
    write_sparse_store(source, raw)
    write_sparse_store(source, compact, "compact")
    reader = SparseReader(raw)
    yield "store, raw: by byte range, crc32c checked", raw, reader.read
    yield "store, raw: without the crc32c", raw, lambda i: reader.by_feature.read(i, i + 1)
    group = zarr.open_group(raw, mode="r")
    ids, values, indptr = _array(group, "X/indices"), _array(group, "X/data"), reader.by_feature.indptr
    yield (
        "store, raw: through zarr",
        raw,
        lambda i: (ids[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]),
    )
    yield "store, compact: pcodec through zarr, crc32c checked", compact, SparseReader(compact).read
    try:
        from anndata.io import sparse_dataset
    except ImportError:
        return
    backed = sparse_dataset(group["X"])
    yield "store, raw: anndata.io.sparse_dataset(X)[:, i]", raw, lambda i: backed[:, i]


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]


def _non_zero(row: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    ids = np.flatnonzero(row)
    return ids, row[ids]


def milliseconds(reads: list[Read], feature_ids: list[int], rounds: int) -> list[tuple[float, float]]:
    """Median time and half the distance between the quartiles for each read function, taken in turn, after a warm-up round."""
    taken: list[list[float]] = [[] for _ in reads]
    for round_ in range(rounds + 1):
        for read, own in zip(reads, taken, strict=True):
            for feature_id in feature_ids:
                began = time.perf_counter()
                read(feature_id)
                if round_:
                    own.append((time.perf_counter() - began) * 1e3)
    quartiles = [statistics.quantiles(own, n=4) for own in taken]
    return [(middle, (high - low) / 2) for low, middle, high in quartiles]


def report_writing(n_samples: int, n_features: int, n_active: int, folder: Path) -> None:
    """Write the store of a whole dictionary once; say how fast, how large, and with how much memory."""
    source = UniformRows(n_samples, n_features, n_active)
    before = _peak_mb()
    for profile in ("raw", "compact"):
        began = time.perf_counter()
        written = write_sparse_store(source, folder / "written.zarr", profile)
        seconds = time.perf_counter() - began
        click.echo(
            f"{profile}: {n_samples:,} x {n_features:,}, {written.nnz:,} activations, in {seconds:.1f} s: "
            f"{n_samples / seconds:,.0f} rows/s, {written.nnz / seconds / 1e6:.1f} M activations/s, "
            f"{written.size_bytes / written.nnz:.1f} bytes per activation in both orientations, "
            f"peak memory {_peak_mb():,.0f} MB ({before:,.0f} MB before)"
        )


def report_reading(n_samples: int, rounds: int, folder: Path) -> None:
    """The table of reads."""
    sizes = tuple(size for size in _SIZES if size <= n_samples)
    source = CountedFeatures(n_samples, sizes, _FEATURES_PER_SIZE)
    of_size = {size: [i for i, own in enumerate(source.sizes) if own == size] for size in sizes}
    click.echo(f"\n{n_samples:,} samples; milliseconds for one feature, median ± half the quartile distance, warm\n")
    click.echo("| way | MB | " + " | ".join(f"{size:,} activations" for size in sizes) + f" | ratio at {sizes[-1]:,} |")
    click.echo("|---|---|" + "---|" * len(sizes) + "---|")
    names, places, reads = zip(*ways(source, folder), strict=True)
    times = [milliseconds(list(reads), of_size[size], rounds) for size in sizes]
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        size_mb = sum(path.stat().st_size for path in files_below(place)) / 1e6
        cells = [f"{of_one[i][0]:.2f} ± {of_one[i][1]:.2f}" for of_one in times]
        click.echo(f"| {name} | {size_mb:,.0f} | {' | '.join(cells)} | {times[-1][0][0] / times[-1][i][0]:.1f} |")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@click.command()
@click.option("--n-samples", default=842_820, type=whole(), show_default=True, help="Number of samples.")
@click.option(
    "--n-features",
    default=24_576,
    type=whole(),
    show_default=True,
    help="Number of features of the store that is written.",
)
@click.option(
    "--n-active",
    default=64,
    type=whole(),
    show_default=True,
    help="Number of features that fire on each sample of that store.",
)
@click.option(
    "--rounds",
    default=5,
    type=whole(),
    show_default=True,
    help=f"Reads of each of {_FEATURES_PER_SIZE} features per size.",
)
@click.option("--skip-writing", is_flag=True, help="Skip timing of writes.")
def main(n_samples: int, n_features: int, n_active: int, rounds: int, skip_writing: bool) -> None:
    """Print rate, size and memory of writing, and a table of read times with ratios to the guide's layout."""
    # zarr says of pcodec that it is outside the core specification; that is known and beside the point here.
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3")
    with tempfile.TemporaryDirectory() as folder:
        if not skip_writing:
            report_writing(n_samples, n_features, n_active, Path(folder))
        report_reading(n_samples, rounds, Path(folder))


if __name__ == "__main__":
    main()
