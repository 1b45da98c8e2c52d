"""Time the precompute steps on a synthetic store: `python -m benchmarks.precompute --n-samples 1000000 --n-active 64`.

Each line has a rate and its ratio to the simplest implementation on the same data in the same run: sorting the values, a
loop over rows in Python, a sparse matrix product by scipy, the bare dense matrix product. Ratios are comparable between
machines, seconds are not. Features fire with Zipf-like frequencies; the seed is fixed.
"""

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from splat_assets.compute.coactivation import co_activation
from splat_assets.compute.examples import write_examples
from splat_assets.compute.feature_map import write_feature_map
from splat_assets.compute.histograms import write_histograms
from splat_assets.compute.idf import write_idf
from splat_assets.compute.influences import write_influences
from splat_assets.compute.neighbours import nearest_by_direction, write_neighbours
from splat_assets.store.activations import Activations, SparseRows, feature_id_dtype
from splat_assets.store.vocabulary import Token, Vocabulary
from splat_assets.text.numerals import number, whole

_BASELINE_FEATURES = 256
_BASELINE_ROWS = 20_000
_WIDTH = 512
_N_TOKENS = 140


class SyntheticStore:
    """Random sparse activations in memory, in both orientations."""

    def __init__(self, n_samples: int, n_features: int, n_active: int, exponent: float, seed: int) -> None:
        self.n_samples, self.n_features = n_samples, n_features
        rng = np.random.default_rng(seed)
        share = 1.0 / np.arange(10, n_features + 10) ** exponent
        share = np.minimum(rng.permutation(share / share.sum() * n_active), 0.5)
        ids = [self._firing(n_samples, p, rng) for p in share]
        indptr = np.concatenate([[0], np.cumsum([len(i) for i in ids])])
        values = rng.exponential(size=indptr[-1]).astype(np.float32) + np.float32(1e-3)
        self.by_feature = sp.csc_matrix((values, np.concatenate(ids), indptr), shape=(n_samples, n_features))
        self.by_sample = self.by_feature.tocsr()

    @staticmethod
    def _firing(n_samples: int, p: float, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """The samples of a feature that fires with probability p: gaps between them are geometric."""
        gaps = rng.geometric(p, size=int(n_samples * p + 8 * (n_samples * p) ** 0.5 + 8))
        ids = np.cumsum(gaps) - 1
        return ids[ids < n_samples].astype(np.int32)

    def read(self, feature_id: int) -> Activations:
        """One feature."""
        lo, hi = self.by_feature.indptr[feature_id : feature_id + 2]
        return Activations(self.by_feature.indices[lo:hi], self.by_feature.data[lo:hi])

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples."""
        whole = SparseRows(self.by_sample.indptr.astype(np.int64), self.by_sample.indices, self.by_sample.data)
        for start in range(0, self.n_samples, block_rows):
            block = whole.slice(start, min(start + block_rows, self.n_samples))
            yield SparseRows(block.indptr, block.feature_ids.astype(feature_id_dtype(self.n_features)), block.values)


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare_sort(store: SyntheticStore) -> None:
    """Sort the values of every feature: the lower bound for any exact quantile."""
    for feature_id in range(store.n_features):
        np.sort(store.read(feature_id).values)


def sparse_product_seconds(store: SyntheticStore) -> float:
    """X^T X and its binary twin by scipy for the first features, scaled up to all by the number of products."""
    some = min(_BASELINE_FEATURES, store.n_features)
    by_sample = store.by_sample
    ones = np.ones_like(by_sample.data)
    binary = sp.csr_matrix((ones, by_sample.indices, by_sample.indptr), shape=by_sample.shape)
    left, left_binary = by_sample[:, :some].T.tocsr(), binary[:, :some].T.tocsr()
    seconds = seconds_of(lambda: (left @ by_sample, left_binary @ binary))
    per_sample = np.diff(by_sample.indptr).astype(np.float64)
    products = float(per_sample[by_sample[:, :some].tocoo().row].sum())
    return seconds * float((per_sample**2).sum()) / products


@click.command()
@click.option("--n-samples", default=200_000, type=whole(), show_default=True, help="Samples of the synthetic store.")
@click.option("--n-features", default=24_576, type=whole(), show_default=True, help="Features of the synthetic store.")
@click.option(
    "--n-active", default=64, type=whole(), show_default=True, help="Mean number of features that fire on a sample."
)
@click.option(
    "--exponent", default=0.7, type=number(), show_default=True, help="Zipf exponent of how often features fire."
)
@click.option("--memory-limit-mb", default=1024, type=whole(), show_default=True, help="Memory limit of co-activation.")
@click.option("--skip", multiple=True, help="Steps to skip.")
def main(
    n_samples: int, n_features: int, n_active: int, exponent: float, memory_limit_mb: int, skip: tuple[str, ...]
) -> None:
    """Print a table of rates and ratios."""
    store = SyntheticStore(n_samples, n_features, n_active, exponent, seed=0)
    nnz = store.by_feature.nnz
    click.echo(f"{n_samples:,} samples x {n_features:,} features, {nnz:,} activations, {peak_gb():.1f} GB held by them")
    click.echo("| step | seconds | rate | peak memory so far | baseline | seconds of baseline | ratio |")
    click.echo("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, work, n, unit, plain, plain_work in steps(store, Path(folder), memory_limit_mb * 2**20):
            if name not in skip:
                seconds, peak = seconds_of(work), peak_gb()
                there = plain_work()
                rate = f"{n / seconds:,.0f} {unit}/s"
                cells = (
                    name,
                    f"{seconds:.1f}",
                    rate,
                    f"{peak:.1f} GB",
                    plain,
                    f"{there:.1f}",
                    f"{there / seconds:.2f}",
                )
                click.echo(f"| {' | '.join(cells)} |")


Step = tuple[str, Callable[[], object], int, str, str, Callable[[], float]]


def steps(store: SyntheticStore, folder: Path, memory_limit_bytes: int) -> Iterator[Step]:
    """Name, work, amount, unit, name of the baseline, and its seconds, for each step."""
    nnz = int(store.by_feature.nnz)
    rng = np.random.default_rng(1)
    decoder = rng.normal(size=(store.n_features, _WIDTH)).astype(np.float32)
    output_weight = rng.normal(size=(_N_TOKENS, _WIDTH)).astype(np.float32)
    vocabulary = Vocabulary(tuple(Token(i, f"token_{i}", f"token_{i}") for i in range(_N_TOKENS)), _N_TOKENS - 1, None)
    tokens = [rng.choice(_N_TOKENS - 1, size=12, replace=False).tolist() for _ in range(_BASELINE_ROWS)]
    samples = pl.DataFrame({"tokens": pl.Series(tokens, dtype=pl.List(pl.Int32))})
    samples = pl.concat([samples] * (1 + store.n_samples // _BASELINE_ROWS)).head(store.n_samples)

    def count_in_python() -> None:
        counter: Counter[int] = Counter()
        for row in tokens:
            counter.update(set(row))

    nothing = np.empty((0, 2), dtype=np.int32)
    n_rows = samples.height
    sort_seconds = seconds_of(lambda: bare_sort(store))
    product_seconds = seconds_of(lambda: [decoder[i : i + 1024] @ decoder.T for i in range(0, len(decoder), 1024)])
    # Compile before the clock starts.
    small = SyntheticStore(50, 10, 3, 0.5, seed=0)
    co_activation(small, 3, nothing)
    nearest_by_direction(decoder[:10], 3)
    write_neighbours(small, decoder[:10], folder / "few.parquet", 3)
    write_feature_map(folder / "few.parquet", decoder[:10], folder / "few_map.parquet", seed=0)
    yield (
        "histograms and statistics",
        lambda: write_histograms(store, folder / "histograms.parquet", folder / "features.parquet"),
        nnz, "values", "np.sort of each feature", lambda: sort_seconds,
    )  # fmt: skip
    yield (
        "examples",
        lambda: write_examples(store, folder / "examples.parquet"),
        nnz, "values", "np.sort of each feature", lambda: sort_seconds,
    )  # fmt: skip
    yield (
        "idf",
        lambda: write_idf(samples, vocabulary, folder / "idf.parquet"),
        n_rows, "rows", "Counter over rows", lambda: seconds_of(count_in_python) * n_rows / _BASELINE_ROWS,
    )  # fmt: skip
    yield (
        "influences",
        lambda: write_influences(output_weight, decoder, vocabulary, folder / "influences.parquet"),
        store.n_features, "features", "bare product, float32", lambda: seconds_of(lambda: decoder @ output_weight.T),
    )  # fmt: skip
    yield (
        "neighbours by direction",
        lambda: nearest_by_direction(decoder, 20),
        store.n_features, "features", "bare product, float32", lambda: product_seconds,
    )  # fmt: skip
    made = folder / "neighbours.parquet"
    small_store = SyntheticStore(2_000, store.n_features, 8, 0.7, seed=1)
    write_neighbours(small_store, decoder, made, 20)
    yield (
        "feature map",
        lambda: write_feature_map(made, decoder, folder / "feature_map.parquet", seed=0),
        store.n_features, "features", "bare product, float32", lambda: product_seconds,
    )  # fmt: skip
    yield (
        "co-activation",
        lambda: co_activation(store, 20, nothing, memory_limit_bytes=memory_limit_bytes),
        nnz, "values", "scipy X^T X, twice", lambda: sparse_product_seconds(store),
    )  # fmt: skip


def peak_gb() -> float:
    """The largest amount of memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
