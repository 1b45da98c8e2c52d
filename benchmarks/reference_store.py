"""A published store of the reference size (842,820 samples x 24,576 features), made once, for benchmarks that serve it.

The first features have known numbers of activations (100,000 and 500,000); the others fire on even shares of the samples. Builds
are drawn with about as many tokens as real ones. Seeds are fixed. `python -m benchmarks.reference_store FOLDER` makes one.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import polars as pl

from splat_assets.compute.examples import write_examples
from splat_assets.compute.histograms import write_histograms
from splat_assets.compute.idf import write_idf
from splat_assets.domain.tokens import parse_token
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.domain.weapons import weapons_by_vocabulary_key
from splat_assets.store.activations import SparseRows, feature_id_dtype
from splat_assets.store.published.publishing import publish
from splat_assets.store.samples import SAMPLE_SCHEMA, write_samples
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

N_SAMPLES = 842_820
N_FEATURES = 24_576
N_ACTIVE = 48
COUNTED = (100_000,) * 4 + (500_000,) * 4
"""Activations of features 0, 1, 2 …"""
_MEAN_TOKENS = 12.0


class ReferenceRows:
    """The samples, made block by block: counted features first, then as many others as N_ACTIVE."""

    def __init__(self, n_samples: int, n_features: int, n_active: int, counted: tuple[int, ...], seed: int = 0) -> None:
        self.n_samples, self.n_features, self._seed = n_samples, n_features, seed
        self._n_active, self._first = n_active, len(counted)
        rng = np.random.default_rng((seed, 1))
        self._fires = np.zeros((n_samples, len(counted)), dtype=np.bool_)
        for feature_id, n in enumerate(counted):
            self._fires[rng.choice(n_samples, min(n, n_samples), replace=False), feature_id] = True

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples."""
        rng = np.random.default_rng((self._seed, 0))
        step = (self.n_features - self._first) // self._n_active
        dtype = feature_id_dtype(self.n_features)
        for start in range(0, self.n_samples, block_rows):
            counted = self._fires[start : start + block_rows]
            n = counted.shape[0]
            drawn = rng.integers(0, step, (n, self._n_active)) + np.arange(self._n_active) * step + self._first
            ids = np.hstack([np.broadcast_to(np.arange(self._first), counted.shape), drawn]).astype(dtype)
            kept = np.hstack([counted, np.ones((n, self._n_active), dtype=np.bool_)])
            indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
            values = rng.exponential(size=int(indptr[-1])).astype(np.float32) + np.float32(1e-3)
            yield SparseRows(indptr, ids[kept], values)


def vocabulary() -> Vocabulary:
    """All tokens of the game."""
    names = list(standard_vocabulary())
    tokens = tuple(Token(i, name, *parse_token(name)) for i, name in enumerate(names))
    return Vocabulary(tokens, pad_id=names.index("<PAD>"), null_id=names.index("<NULL>"))


def contexts() -> Contexts:
    """All weapons of the game."""
    known = weapons_by_vocabulary_key()
    return Contexts(tuple(Context(i, key, one.name, one.attributes) for i, (key, one) in enumerate(known.items())))


def sample_table(n_samples: int, n_tokens: int, names: list[str]) -> pl.DataFrame:
    """Builds of about _MEAN_TOKENS tokens each."""
    rng = np.random.default_rng(2)
    lengths = np.clip(rng.poisson(_MEAN_TOKENS, n_samples), 1, 30)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = pl.Series(rng.integers(0, n_tokens - 2, int(offsets[-1])).astype(np.int32))
    rows = pl.Series(np.repeat(np.arange(n_samples), lengths))
    tokens = pl.DataFrame({"row": rows, "token": values}).group_by("row", maintain_order=True).agg("token")["token"]
    weapons = rng.integers(0, len(names), n_samples)
    return pl.DataFrame(
        {
            "global_index": np.arange(n_samples),
            "sample_id": np.arange(n_samples),
            "source_row": np.arange(n_samples),
            "kind": pl.repeat("build", n_samples, eager=True),
            "is_null": np.zeros(n_samples, dtype=np.bool_),
            "split": pl.Series(["train", "validation", "test"])[(np.arange(n_samples) % 3)],
            "weapon_id_token": weapons,
            "weapon_name": pl.Series(names)[weapons],
            "tokens": tokens,
            "token_position": np.full(n_samples, -1),
        },
        schema=SAMPLE_SCHEMA,
    )


def make_reference_store(
    folder: Path,
    n_samples: int = N_SAMPLES,
    n_features: int = N_FEATURES,
    n_active: int = N_ACTIVE,
    counted: tuple[int, ...] = COUNTED,
) -> Path:
    """Publish the store below folder unless it is there; returns the folder of CURRENT."""
    store = folder / "store"
    if not (store / "CURRENT").is_file():
        parts = staged_parts(folder / "staged", ReferenceRows(n_samples, n_features, n_active, counted))
        publish(store, parts, {"made_by": "benchmarks.reference_store"})
    return store


def staged_parts(staged: Path, source: ReferenceRows) -> dict[str, Path]:
    """All parts of a version, by name, written below staged."""
    staged.mkdir(parents=True, exist_ok=True)
    write_sparse_store(source, staged / "activations.zarr")
    tokens, weapons = vocabulary(), contexts()
    samples = sample_table(source.n_samples, len(tokens), [item.name for item in weapons.items])
    write_samples(samples, staged)
    reader = SparseReader(staged / "activations.zarr")
    write_histograms(
        reader, staged / "histograms.parquet", staged / "features.parquet", checksums=reader.feature_crc32c
    )
    write_examples(reader, staged / "examples.parquet")
    write_idf(samples, tokens, staged / "idf.parquet")
    tokens.save(staged / "vocabulary.json")
    weapons.save(staged / "contexts.json")
    return {path.name: path for path in staged.iterdir()}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--n-samples", default=N_SAMPLES, show_default=True)
def main(folder: Path, n_samples: int) -> None:
    """Make the store below FOLDER."""
    began = time.perf_counter()
    store = make_reference_store(folder, n_samples)
    click.echo(f"{store}: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
