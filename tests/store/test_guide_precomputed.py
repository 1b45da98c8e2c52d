"""The `precomputed` folder: columns, true figures, and pickles that can run nothing."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from splat_assets.analysis.histogram import bin_edges
from splat_assets.compute.histograms import write_histograms
from splat_assets.compute.idf import write_idf
from splat_assets.compute.influences import wide_influences, write_influences
from splat_assets.store.errors import LayoutError
from splat_assets.store.files import files_below, sha256_of_file
from splat_assets.store.guide.precomputed import (
    write_guide_idf,
    write_guide_influences,
    write_guide_pickles,
)
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random


class _TrustsNobody(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise AssertionError(f"the pickle names {module}.{name}")


def read_pickle(path: Path) -> Any:
    with path.open("rb") as handle:
        return _TrustsNobody(handle).load()


def tables(dense: np.ndarray, root: Path) -> tuple[Path, Path]:
    paths = root / "histograms.parquet", root / "features.parquet"
    write_histograms(DenseSource(dense), *paths, n_bins=10)
    return paths


def dense_with_a_dead_feature() -> np.ndarray:
    dense = sparse_random(50, 4, 0.5)
    dense[:, 2] = 0
    return dense


def test_an_unpickler_that_refuses_every_class_reads_the_export(tmp_path: Path) -> None:
    dense = dense_with_a_dead_feature()

    written = write_guide_pickles(*tables(dense, tmp_path), tmp_path / "precomputed", bin_edges)

    assert [path.name for path in written] == [
        "histograms.pkl",
        "histograms.json",
        "feature_stats.pkl",
        "feature_stats.json",
    ]
    histograms = read_pickle(tmp_path / "precomputed/histograms.pkl")
    statistics = read_pickle(tmp_path / "precomputed/feature_stats.pkl")
    assert list(histograms) == list(statistics) == [0, 1, 2, 3]
    for feature_id in (0, 1, 3):
        values = dense[:, feature_id][dense[:, feature_id] > 0]
        own = histograms[feature_id]
        assert own["counts"] == np.histogram(values, 10, (0, values.max()))[0].tolist()
        assert own["upper_bounds"][-1] == values.max()
        assert own["lower_bounds"][1:] == own["upper_bounds"][:-1]
        assert statistics[feature_id]["n_non_zero"] == values.size
        assert statistics[feature_id]["n_total"] == 50
        assert statistics[feature_id]["sparsity"] == pytest.approx(1 - values.size / 50)
        assert statistics[feature_id]["mean"] == pytest.approx(values.mean())
        assert statistics[feature_id]["median"] == pytest.approx(np.median(values))


def test_a_dead_feature_has_no_invented_figures(tmp_path: Path) -> None:
    write_guide_pickles(*tables(dense_with_a_dead_feature(), tmp_path), tmp_path / "precomputed", bin_edges)

    own = read_pickle(tmp_path / "precomputed/feature_stats.pkl")[2]

    assert own["mean"] is None and own["min"] is None
    assert (own["n_non_zero"], own["sparsity"]) == (0, 1.0)
    assert read_pickle(tmp_path / "precomputed/histograms.pkl")[2] == {
        "counts": [],
        "lower_bounds": [],
        "upper_bounds": [],
    }


def test_the_json_twin_says_the_same(tmp_path: Path) -> None:
    write_guide_pickles(*tables(dense_with_a_dead_feature(), tmp_path), tmp_path / "precomputed", bin_edges)

    for name in ("histograms", "feature_stats"):
        twin = json.loads((tmp_path / f"precomputed/{name}.json").read_text())
        assert {int(key): value for key, value in twin.items()} == read_pickle(tmp_path / f"precomputed/{name}.pkl")


def test_the_pickles_use_protocol_4_and_repeat_to_the_byte(tmp_path: Path) -> None:
    paths = tables(dense_with_a_dead_feature(), tmp_path)
    write_guide_pickles(*paths, tmp_path / "precomputed", bin_edges)
    before = {path: sha256_of_file(path) for path in files_below(tmp_path / "precomputed")}

    write_guide_pickles(*paths, tmp_path / "precomputed", bin_edges)

    assert {path: sha256_of_file(path) for path in files_below(tmp_path / "precomputed")} == before
    assert (tmp_path / "precomputed/histograms.pkl").read_bytes()[:2] == b"\x80\x04"


def test_idf_has_upstreams_columns_and_a_summary(tmp_path: Path) -> None:
    samples = sample_table(20)
    write_idf(samples, VOCABULARY, tmp_path / "idf.parquet")

    files = write_guide_idf(tmp_path / "idf.parquet", tmp_path / "precomputed" / "idf.parquet", n_batches=3)

    assert [path.name for path in files] == ["idf.parquet", "idf.json"]
    table = pl.read_parquet(files[0])
    assert table.columns[:3] == ["ability_input_tokens", "doc_freq", "idf"]
    for token, doc_freq, idf, _ in table.rows():
        assert doc_freq == sum(token in own for own in samples["tokens"].to_list())
        assert idf == pytest.approx(math.log(21) - math.log(doc_freq + 1))
    summary = json.loads(files[1].read_text())
    assert (summary["total_documents"], summary["unique_tokens"], summary["n_batches"]) == (20, 4, 3)
    assert summary["most_common_tokens"][0]["doc_freq"] == table["doc_freq"].max()
    assert summary["rarest_tokens"][0]["token"] == "<NULL>"


def test_influences_have_the_guides_columns_and_other_tables_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outputs, decoder = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 4), (7, 4)))
    write_influences(outputs, decoder, VOCABULARY, tmp_path / "influences.parquet")
    wide = wide_influences(tmp_path / "influences.parquet", top_k=2)

    path = write_guide_influences(wide, tmp_path / "precomputed/influences.parquet")

    assert pl.read_parquet(path).columns == [
        *("feature_id", "feature_label"),
        *("+1_tok", "+1_val", "+2_tok", "+2_val"),
        *("-1_tok", "-1_val", "-2_tok", "-2_val"),
    ]
    as_text = write_guide_influences(wide, tmp_path / "influences.csv")
    assert pl.read_csv(as_text, schema=wide.schema).equals(wide)
    named = wide.with_columns(pl.lit("=1+1").alias("feature_label"))
    assert "'=1+1" in write_guide_influences(named, tmp_path / "influences.csv").read_text()
    with pytest.raises(LayoutError, match=r"\+2_tok where -1_tok belongs"):
        write_guide_influences(wide.drop("+2_val"), path)
