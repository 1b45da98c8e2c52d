"""The guide's `precomputed` folder, made from the store's tables: idf, wide influences, and on request two pickles.

`histograms.pkl` and `feature_stats.pkl` are for programs that expect these names. They hold built-in types only, come
with a JSON twin each, and are written only on request; nothing here reads a pickle.
"""

import io
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.errors import InputError
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.errors import LayoutError
from splat_assets.store.files import replacing_file, write_json
from splat_assets.store.spreadsheet import harmless_frame
from splat_assets.store.tables import read_table, table_facts, write_table

HISTOGRAMS = "histograms"
STATISTICS = "feature_stats"
UNSEEN = "never_in_data"
"""The fact of the wide influences that names the outputs which never occur in the data."""
_N_LISTED = 10
_STATISTICS = ("min", "max", "mean", "std", "median", "q25", "q75")

BinEdges = Callable[[float, float, int], npt.NDArray[np.float64]]
Entries = dict[int, dict[str, Any]]
"""Feature id -> its fields; ints, floats, lists and None only."""


def write_guide_idf(idf: Path, path: Path, n_batches: int | None = None) -> list[Path]:
    """Write path (ability_input_tokens, doc_freq, idf, token) and its `.json` summary, from the store's idf table.

    n_batches: how many batches the batch tree beside the folder has; it is recorded.
    """
    table = read_table(idf)
    n_documents = int(table_facts(idf)["n_documents"])
    write_table(path, table.select("ability_input_tokens", "doc_freq", "idf", "token"), table_facts(idf))
    seen = table.filter(pl.col("doc_freq") > 0).sort("doc_freq", "ability_input_tokens", descending=[True, False])
    summary = {
        "total_documents": n_documents,
        "unique_tokens": seen.height,
        "n_batches": n_batches,
        "most_common_tokens": seen.head(_N_LISTED).to_dicts(),
        "rarest_tokens": seen.reverse().head(_N_LISTED).to_dicts(),
    }
    summary_path = path.with_suffix(".json")
    write_json(summary_path, summary)
    return [path, summary_path]


def unseen_tokens(idf: Path) -> list[str]:
    """The names of the tokens that never occur in the data, from an idf table (the store's or the guide's), in its order."""
    return read_table(idf, ["token", "doc_freq"]).filter(pl.col("doc_freq") == 0)["token"].to_list()


def write_guide_influences(wide: pl.DataFrame, path: Path, unseen: Sequence[str] | None = None) -> Path:
    """Write the wide table (feature_id, feature_label, `+1_tok`, `+1_val`, .., `-k_tok`, `-k_val`) to path, .csv or Parquet.

    unseen: outputs that never occur in the data, None where that was not counted. Parquet keeps it as a fact of the table.
    """
    top_k = (wide.width - 2) // 4
    expected = ["feature_id", "feature_label"]
    expected += [f"{sign}{rank}_{part}" for sign in "+-" for rank in range(1, top_k + 1) for part in ("tok", "val")]
    if wide.columns != expected:
        strange = next(
            (f"{a} where {b} belongs" for a, b in zip(wide.columns, expected, strict=False) if a != b), "too few"
        )
        raise LayoutError(f"the table for {path} does not have the guide's columns: {strange}")
    if path.suffix == ".csv":
        with explaining_write_errors("the influences", path.parent), replacing_file(path) as aside:
            aside.write_text(harmless_frame(wide).write_csv(), encoding="utf-8")
    else:
        write_table(path, wide, {"top_k": top_k, **({} if unseen is None else {UNSEEN: list(unseen)})})
    return path


def write_guide_pickles(histograms: Path, features: Path, folder: Path, bin_edges: BinEdges) -> list[Path]:
    """Write `histograms.pkl` and `feature_stats.pkl`, each with a `.json` twin, from the store's tables.

    histograms: {feature_id: {counts, lower_bounds, upper_bounds}} over values > 0, empty lists for a feature that never
    fires. feature_stats: {feature_id: {min, max, mean, std, median, q25, q75 (over values > 0; None where there are none),
    n_non_zero, n_total, sparsity (share of zeros)}}. bin_edges: gives the n_bins + 1 edges of a histogram from its lower and
    upper end. Returns the paths of the files. Raises InputError when the tables are not of the same features.
    """
    contents = {HISTOGRAMS: _histogram_entries(histograms, bin_edges), STATISTICS: _statistics_entries(features)}
    if contents[HISTOGRAMS].keys() != contents[STATISTICS].keys():
        raise InputError(f"{histograms} and {features} are not of the same features; compute both again")
    files = []
    with explaining_write_errors("the pickled export", folder):
        for name, entries in contents.items():
            files += [folder / f"{name}.pkl", folder / f"{name}.json"]
            with replacing_file(files[-2]) as aside:
                aside.write_bytes(pickled(entries))
            with replacing_file(files[-1]) as aside, aside.open("w", encoding="utf-8") as handle:
                handle.writelines(_json_lines(entries))
    return files


def pickled(entries: Entries) -> bytes:
    """Entries as a pickle of protocol 4; the same entries give the same bytes."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.fast = True  # no memo: equal content is equal bytes, whichever objects are shared
    pickler.dump(entries)
    return buffer.getvalue()


def _histogram_entries(path: Path, bin_edges: BinEdges) -> Entries:
    entries: Entries = {}
    for row in read_table(path, ["feature_id", "lower", "upper", "n_bins", "counts"]).iter_rows(named=True):
        fires = row["lower"] is not None
        edges = bin_edges(row["lower"], row["upper"], row["n_bins"]).tolist() if fires else []
        entries[row["feature_id"]] = {
            "counts": row["counts"] if fires else [],
            "lower_bounds": edges[:-1],
            "upper_bounds": edges[1:],
        }
    return entries


def _statistics_entries(path: Path) -> Entries:
    entries: Entries = {}
    for row in read_table(path, ["feature_id", "n_active", "n_samples", "sparsity", *_STATISTICS]).iter_rows(
        named=True
    ):
        entries[row["feature_id"]] = {
            **{name: row[name] for name in _STATISTICS},
            "n_non_zero": row["n_active"],
            "n_total": row["n_samples"],
            "sparsity": row["sparsity"],
        }
    return entries


def _json_lines(entries: Entries) -> Iterator[str]:
    """One feature a line, so that the text never stands in memory as a whole."""
    yield "{"
    for i, (feature_id, entry) in enumerate(entries.items()):
        yield f'{"," if i else ""}\n"{feature_id}": {json.dumps(entry, allow_nan=False)}'
    yield "\n}\n"
