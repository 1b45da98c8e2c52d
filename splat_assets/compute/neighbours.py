"""Nearest neighbours of each feature, by decoder direction and by co-activation: `neighbours.parquet`, and its check."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.inference.similarity import highest, inverse_spread, jaccard, pearson, unit_rows
from splat_assets.compute.coactivation import co_activation
from splat_assets.compute.neighbour_kernels import Ranking, empty_ranking, offer_exact, offer_products
from splat_assets.compute.threads import in_parallel, usable_cpus
from splat_assets.errors import InputError
from splat_assets.store.activations import ActivationReader, RowReader
from splat_assets.store.tables import read_table, spot_check_ids, table_facts, write_table
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

logger = logging.getLogger(__name__)

KINDS = ("decoder_cosine", "jaccard", "pearson")
NEIGHBOURS_SCHEMA = {
    "feature_id": pl.UInt32,
    "kind": pl.String,
    "rank": pl.UInt16,
    "other_id": pl.UInt32,
    "score": pl.Float32,
    "n_both": pl.UInt32,
}
_CHECKED_TOGETHER = 8
_BLOCK_FEATURES = 1024
# float32 products decide who is a candidate, float64 products who wins; so many extra candidates make up for the rounding.
_SPARE_CANDIDATES = 8
_NOISE = 1e-6


@dataclass(frozen=True, slots=True)
class NeighboursWritten:
    """The summary of the search."""

    n_features: int
    n_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _FreshScores:
    """All scores of some features against all: float64, shape (n_some, n_features) each."""

    by_kind: dict[str, npt.NDArray[np.float64]]
    n_both: npt.NDArray[np.int64]


def nearest_by_direction(
    decoder: npt.NDArray[np.floating], n: int, n_threads: int | None = None, progress: Progress | None = None
) -> Ranking:
    """Each feature's n nearest others by cosine of decoder rows, n_both still 0; rows of zeros take no part.

    decoder: W_dec, shape (n_features, d). A block of products at a time: float32, shape (1024, n_features).
    """
    n_features = decoder.shape[0]
    exact = unit_rows(decoder)
    units = exact.astype(np.float32)
    best, candidates = empty_ranking(n_features, n), empty_ranking(n_features, n + _SPARE_CANDIDATES)
    with (
        ThreadPoolExecutor(n_threads or usable_cpus()) as pool,
        (progress or SilentProgress()).task("decoder neighbours", n_features, "features") as task,
    ):
        for start in range(0, n_features, _BLOCK_FEATURES):
            products = units[start : start + _BLOCK_FEATURES] @ units.T
            stop = start + len(products)
            in_parallel(pool, partial(offer_products, candidates, products, start), start, stop, step=64)
            in_parallel(pool, partial(offer_exact, best, candidates, exact), start, stop, step=64)
            task.advance(len(products))
    return best


def write_neighbours(
    source: RowReader,
    decoder: npt.NDArray[np.float32],
    path: Path,
    n_neighbours: int = 20,
    *,
    memory_limit_bytes: int = 2**30,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> NeighboursWritten:
    """Write up to n_neighbours others of every feature for each of KINDS, by feature, kind and rank (1 is the best).

    Only scores > 0 count, so a feature that never fires has none by `jaccard` and `pearson`, and a decoder row of zeros none by
    `decoder_cosine`. n_both is the number of samples on which both fire. Ties go to the smaller id. decoder: W_dec, shape
    (n_features, d); InputError when the store has another number of features.
    """
    _must_fit(source.n_features, decoder, n_neighbours)
    began = time.monotonic()
    direction = nearest_by_direction(decoder, n_neighbours, n_threads, progress)
    features = np.repeat(np.arange(source.n_features, dtype=np.int32), n_neighbours)
    known = direction.ids.ravel() >= 0
    pairs = np.column_stack([features[known], direction.ids.ravel()[known]])
    neighbours = co_activation(
        source, n_neighbours, pairs, memory_limit_bytes=memory_limit_bytes, n_threads=n_threads, progress=progress
    )
    direction.n_both.reshape(-1)[known] = neighbours.pairs_n_both
    table = _table((direction, neighbours.jaccard, neighbours.pearson))
    facts = {"n_neighbours": n_neighbours, "n_samples": source.n_samples, "n_features": source.n_features}
    write_table(path, table, {**facts, "kinds": list(KINDS)})
    written = NeighboursWritten(source.n_features, table.height, time.monotonic() - began)
    logger.info("%d neighbours of %d features, %.1f s", written.n_rows, written.n_features, written.seconds)
    return written


def mismatched_neighbours(
    reader: ActivationReader, decoder: npt.NDArray[np.float32], path: Path, n_sampled: int, seed: int
) -> list[int]:
    """Features, of n_sampled random ones, whose neighbours are not the best by the store read feature by feature.

    All sampled features are wrong when the table was made from a store of another shape.
    """
    table = read_table(path, list(NEIGHBOURS_SCHEMA))
    facts = table_facts(path, "n_neighbours", "n_samples", "n_features")
    _must_fit(reader.n_features, decoder, facts["n_neighbours"])
    sampled = spot_check_ids(reader.n_features, n_sampled, seed)
    if (facts["n_samples"], facts["n_features"]) != (reader.n_samples, reader.n_features):
        return sampled
    wrong = []
    for start in range(0, len(sampled), _CHECKED_TOGETHER):
        some = sampled[start : start + _CHECKED_TOGETHER]
        fresh = _fresh_scores(reader, decoder, some)
        for at, feature_id in enumerate(some):
            stored = table.filter(pl.col("feature_id") == feature_id)
            right = all(_agrees(stored, fresh, at, feature_id, kind, facts["n_neighbours"]) for kind in KINDS)
            if not right or not stored["kind"].is_in(KINDS).all():
                wrong.append(feature_id)
    return wrong


def _must_fit(n_features: int, decoder: npt.NDArray[np.float32], n_neighbours: int) -> None:
    if n_neighbours < 1:
        raise InputError(f"the number of neighbours must be at least 1, not {n_neighbours}")
    if decoder.shape[0] != n_features:
        raise InputError(
            f"the SAE's decoder has {counted(decoder.shape[0], 'features')}, the store {n_features}; use the "
            f"SAE the store was made with"
        )


def _table(rankings: tuple[Ranking, ...]) -> pl.DataFrame:
    ids = np.stack([ranking.ids for ranking in rankings], axis=1)
    n_features, n_kinds, n = ids.shape
    known = ids.ravel() >= 0

    def flat(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.broadcast_to(values, ids.shape).ravel()[known]

    kinds = flat(np.arange(n_kinds)[None, :, None])
    return pl.DataFrame(
        {
            "feature_id": flat(np.arange(n_features, dtype=np.uint32)[:, None, None]),
            "kind": pl.Series(KINDS, dtype=pl.String).gather(pl.Series(kinds).cast(pl.Int64)),
            "rank": flat(np.arange(1, n + 1, dtype=np.uint16)[None, None, :]),
            "other_id": ids.ravel()[known].astype(np.uint32),
            "score": flat(np.stack([ranking.scores for ranking in rankings], axis=1)).astype(np.float32),
            "n_both": flat(np.stack([ranking.n_both for ranking in rankings], axis=1)),
        },
        schema=NEIGHBOURS_SCHEMA,
    )


def _fresh_scores(reader: ActivationReader, decoder: npt.NDArray[np.float32], some: list[int]) -> _FreshScores:
    shape = (len(some), reader.n_features)
    dense = np.zeros((len(some), reader.n_samples), dtype=np.float32)
    for at, feature_id in enumerate(some):
        activations = reader.read(feature_id)
        dense[at, activations.sample_ids] = activations.values
    n_both, sum_xy = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    n_active, sum_x, sum_xx = (np.zeros(reader.n_features) for _ in range(3))
    for other in range(reader.n_features):
        activations = reader.read(other)
        values = activations.values.astype(np.float64)
        here = dense[:, activations.sample_ids]
        n_both[:, other] = np.count_nonzero(here, axis=1)
        sum_xy[:, other] = here.astype(np.float64) @ values
        n_active[other], sum_x[other], sum_xx[other] = values.size, values.sum(), values @ values
    spread = inverse_spread(sum_x, sum_xx, reader.n_samples)
    units = unit_rows(decoder)
    scores = {
        "decoder_cosine": units[some] @ units.T,
        "jaccard": jaccard(n_both, n_active[some, None], n_active),
        "pearson": pearson(sum_xy, sum_x[some, None], sum_x, spread[some, None], spread, reader.n_samples),
    }
    for of_kind in scores.values():
        of_kind[np.arange(len(some)), some] = 0.0
    return _FreshScores(scores, n_both)


def _agrees(stored: pl.DataFrame, fresh: _FreshScores, at: int, feature_id: int, kind: str, n: int) -> bool:
    """Whether the stored neighbours of one kind are the n best: ranks, scores and n_both; equals may change places."""
    rows = stored.filter(pl.col("kind") == kind)
    others, scores = rows["other_id"].cast(pl.Int64).to_numpy(), fresh.by_kind[kind][at]
    best = highest(scores, n)
    if rows["rank"].to_list() != list(range(1, rows.height + 1)):
        return False
    if rows["other_id"].n_unique() != rows.height or ((others >= scores.size) | (others == feature_id)).any():
        return False
    noise = _NOISE if kind != "jaccard" else 0.0
    n_certain = int((scores[best] > noise).sum())
    if not n_certain <= rows.height <= best.size:
        return False
    return (
        np.allclose(rows["score"].to_numpy(), scores[best][: rows.height], rtol=1e-5, atol=_NOISE)
        and np.allclose(rows["score"].to_numpy(), scores[others], rtol=1e-5, atol=_NOISE)
        and np.array_equal(rows["n_both"].to_numpy(), fresh.n_both[at, others])
    )
