"""The features as points in the plane, similar ones close together, and their clusters: `feature_map.parquet`, and its checks.

Two maps: by decoder direction and by co-activation. Both are laid out by UMAP (McInnes, Healy, Melville 2018, arXiv:1802.03426)
from the neighbours that `neighbours.parquet` holds; clusters are the communities that Louvain's method (Blondel et al. 2008,
arXiv:0803.0476) finds among the same neighbours, not in the plane. How well the plane keeps neighbours is measured and written
with the table.
"""

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array, csr_array, csr_matrix
from scipy.spatial import cKDTree

from splat_assets.errors import InputError
from splat_assets.store.tables import read_table, table_facts, write_table
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

logger = logging.getLogger(__name__)

MAPS = {"decoder": "decoder_cosine", "coactivation": "pearson"}
"""The maps, and the kind of neighbours that each is made of."""
FEATURE_MAP_SCHEMA = {
    "feature_id": pl.UInt32,
    **{f"{name}_{axis}": pl.Float32 for name in MAPS for axis in "xy"},
    **{f"{name}_cluster": pl.UInt32 for name in MAPS},
    **{f"{name}_kept": pl.Float32 for name in MAPS},
}
_N_EPOCHS, _MIN_DIST = 200, 0.1
_N_BEST = 10
_MOST_NEAR, _SHARE_NEAR = 100, 5
_FEWEST_LAID_OUT = 8
"""With fewer features there is nothing to lay out: they keep their initial coordinates."""
_FEWEST_JUDGED = _SHARE_NEAR * _N_BEST
"""With fewer, nearness on the map is meaningless."""


@dataclass(frozen=True, slots=True)
class FeatureMapWritten:
    """The summary, by map: features with coordinates, clusters, mean share of best neighbours that are near on the map."""

    n_placed: dict[str, int]
    n_clusters: dict[str, int]
    nearest_kept: dict[str, float | None]
    seconds: float


def write_feature_map(
    neighbours: Path, decoder: npt.NDArray[np.float32], path: Path, seed: int, progress: Progress | None = None
) -> FeatureMapWritten:
    """Write place, cluster and `kept` (see `neighbours_kept`) of every feature in both maps, null for one without a neighbour.

    neighbours: `neighbours.parquet`. decoder: W_dec, shape (n_features, d); its two widest directions are where the first map
    begins, and where that ends the second one begins, so that the two can be compared. Clusters are numbered by size, 0 is the
    largest. The same table and seed give the same map on the same machine. InputError when the decoder is of other features.
    """
    began = time.monotonic()
    n_features = int(table_facts(neighbours, "n_features")["n_features"])
    if decoder.shape[0] != n_features:
        raise InputError(
            f"the SAE's decoder has {counted(decoder.shape[0], 'features')}, {neighbours} {n_features}; use the "
            f"SAE they were made with"
        )
    columns: dict[str, Any] = {"feature_id": np.arange(n_features)}
    places = _widest_directions(decoder)
    n_placed: dict[str, int] = {}
    n_clusters: dict[str, int] = {}
    kept: dict[str, float | None] = {}
    near: dict[str, int] = {}
    table = read_table(neighbours)
    with (progress or SilentProgress()).task("feature map", len(MAPS), "maps") as task:
        for name, kind in MAPS.items():
            graph = neighbour_graph(table, kind, n_features)
            placed = np.flatnonzero(graph.sum(axis=1) > 0)
            among_them = graph[placed][:, placed]
            places[placed] = _laid_out(among_them, places[placed], seed)
            clusters = clusters_of(among_them, seed)
            n_placed[name], n_clusters[name] = placed.size, np.unique(clusters).size
            shares = neighbours_kept(graph, placed, places[placed])
            of_placed = {"x": places[placed, 0], "y": places[placed, 1], "cluster": clusters, "kept": shares}
            columns |= {f"{name}_{what}": _column(values, placed, n_features) for what, values in of_placed.items()}
            kept[name], near[name] = _mean(shares), n_near(placed.size)
            task.advance(1)
    facts = {
        "n_features": n_features,
        "seed": seed,
        "method": f"UMAP, {_N_EPOCHS} epochs, min_dist {_MIN_DIST}; Louvain",
        "n_best": _N_BEST,
        "n_near": near,
        "nearest_kept": kept,
    }
    write_table(
        path, pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in FEATURE_MAP_SCHEMA.items()), facts
    )
    seconds = time.monotonic() - began
    logger.info("maps of %d features, %.1f s", n_features, seconds)
    return FeatureMapWritten(n_placed, n_clusters, kept, seconds)


def neighbour_graph(neighbours: pl.DataFrame, kind: str, n_features: int) -> csr_array:
    """How alike features are, symmetric, shape (n_features, n_features), values 0 to 1.

    A neighbour's weight is its score over the feature's best score; of both directions a and b the union, a + b - a b.
    """
    rows = neighbours.filter(pl.col("kind") == kind)
    weights = rows["score"] / rows.select(pl.col("score").max().over("feature_id"))["score"]
    ids = (rows["feature_id"].to_numpy(), rows["other_id"].to_numpy())
    one_way = csr_array(coo_array((weights.to_numpy().astype(np.float64), ids), shape=(n_features, n_features)))
    other_way = one_way.T.tocsr()
    union: csr_array = csr_array(one_way + other_way - one_way * other_way)
    union.sort_indices()
    return union


def clusters_of(graph: csr_array, seed: int) -> npt.NDArray[np.int64]:
    """The community of each row of the graph, the largest is 0; of equal ones that of the first feature comes first."""
    from sknetwork.clustering import Louvain

    if not graph.nnz:
        return np.arange(graph.shape[0], dtype=np.int64)
    labels = Louvain(random_state=seed).fit_predict(csr_matrix(graph))
    _, first, number, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return np.asarray(rank[number], dtype=np.int64)


def neighbours_kept(
    graph: csr_array, placed: npt.NDArray[np.intp], places: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Of each placed feature's 10 most alike ones, the share that is among its `n_near` nearest on the map.

    float32, shape (n_placed,); NaN where fewer than 50 have a place. By chance it were `n_near` over their number.
    """
    if placed.size < _FEWEST_JUDGED:
        return np.full(placed.size, np.nan, dtype=np.float32)
    near = cKDTree(places).query(places, k=n_near(placed.size) + 1)[1]
    shares = np.empty(placed.size, dtype=np.float32)
    for at, feature_id in enumerate(placed):
        start, stop = graph.indptr[feature_id], graph.indptr[feature_id + 1]
        weights, others = graph.data[start:stop], graph.indices[start:stop]
        best = others[np.argsort(-weights, kind="stable")[:_N_BEST]]
        shares[at] = np.isin(best, placed[near[at]]).mean()
    return shares


def n_near(n_placed: int) -> int:
    """How many of n_placed features count as near: 100, or a fifth of them if that is less."""
    return min(_MOST_NEAR, n_placed // _SHARE_NEAR)


def mismatched_feature_map(neighbours: Path, path: Path, seed: int) -> list[str]:
    """The problems of a map, one sentence each: features left out, other clusters, neighbours that are not near."""
    table, facts = read_table(path), table_facts(path, "n_features", "seed", "nearest_kept")
    n_features = int(table_facts(neighbours, "n_features")["n_features"])
    if table.schema != FEATURE_MAP_SCHEMA or table["feature_id"].to_list() != list(range(n_features)):
        return [f"its rows are not features 0 to {n_features - 1} with their coordinates"]
    if facts["seed"] != seed:
        return [f"it was made with seed {facts['seed']}, not {seed}"]
    wrong, others = [], read_table(neighbours)
    for name, kind in MAPS.items():
        graph = neighbour_graph(others, kind, n_features)
        placed = np.flatnonzero(graph.sum(axis=1) > 0)
        own = table.select(x=f"{name}_x", y=f"{name}_y", cluster=f"{name}_cluster", kept=f"{name}_kept")
        here = own[placed]
        judged = placed.size >= _FEWEST_JUDGED
        missing = (n_features - placed.size,) * 3 + (n_features - placed.size * judged,)
        if own.null_count().row(0) != missing or sum(here.select("x", "y", "cluster").null_count().row(0)):
            wrong.append(
                f"{name}: the features with coordinates are not the {counted(placed.size, 'features')} that have "
                f"neighbours"
            )
            continue
        places = here.select("x", "y").to_numpy()
        if not np.isfinite(places).all():
            wrong.append(f"{name}: coordinates that are not numbers")
            continue
        if not np.array_equal(here["cluster"].to_numpy(), clusters_of(graph[placed][:, placed], seed)):
            wrong.append(f"{name}: clusters differ from those computed from the neighbours")
        shares = neighbours_kept(graph, placed, places)
        kept, stated = _mean(shares), facts["nearest_kept"].get(name)
        if kept != stated or (judged and not np.array_equal(shares, here["kept"].to_numpy())):
            wrong.append(f"{name}: {kept} of the best neighbours are near on the map, but the table records {stated}")
        elif kept is not None and kept < 1.5 * n_near(placed.size) / placed.size:
            wrong.append(f"{name}: neighbours are hardly nearer on the map than by chance ({kept:.3f})")
    return wrong


def _widest_directions(decoder: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The first two principal components of the decoder's rows, shape (n_features, 2), signs by the largest entry."""
    rows = decoder.astype(np.float64)
    rows -= rows.mean(axis=0)
    _, axes = np.linalg.eigh(rows.T @ rows)
    first_two = np.zeros((rows.shape[1], 2))
    widest = axes[:, ::-1][:, :2]
    widest = widest * np.sign(widest[np.abs(widest).argmax(axis=0), np.arange(widest.shape[1])])
    first_two[:, : widest.shape[1]] = widest
    return np.ascontiguousarray((rows @ first_two).astype(np.float32))


def _laid_out(graph: csr_array, begin: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    if len(begin) < _FEWEST_LAID_OUT or (np.ptp(begin, axis=0) == 0).any():
        return begin
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it says what it could do with tensorflow
        from umap.umap_ import find_ab_params, simplicial_set_embedding
    a, b = find_ab_params(1.0, _MIN_DIST)
    places, _ = simplicial_set_embedding(
        data=None,
        graph=graph.copy(),
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=_N_EPOCHS,
        init=begin,
        random_state=np.random.RandomState(seed),
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    return np.asarray(places, dtype=np.float32)


def _mean(shares: npt.NDArray[np.float32]) -> float | None:
    return None if np.isnan(shares).any() or not shares.size else float(shares.astype(np.float64).mean())


def _column(values: npt.NDArray[Any], placed: npt.NDArray[np.intp], n_features: int) -> pl.Series:
    """A value of each feature, null for one without a place, and for NaN."""
    whole = np.full(n_features, np.nan)
    whole[placed] = values
    return pl.Series(whole, nan_to_null=True)
