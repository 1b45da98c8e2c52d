"""The page of a feature: the same from disk and from a server, whole, and right."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.layout import DataRoot
from splat_serving.database.local import LocalDatabase
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.overview import COMPUTED_SECTIONS, Overview, overview, section_tables
from splat_serving.investigations.results.plotting import as_html
from splat_serving.investigations.results.rendering import as_json, as_markdown
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject
from splat_serving.server import app_of
from tests.contracts.database import CONTEXTS
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random
from tests.serving.running import running


def test_a_server_gives_the_same_page_as_the_store(local: Subject, remote: Subject, busy: int) -> None:
    here, there = (overview(subject, Overview(feature_id=busy)) for subject in (local, remote))

    for name in ("findings", "facts", "tables", "figures", "warnings", "spec"):
        assert getattr(here, name) == getattr(there, name), name
    assert here.provenance.store_version == there.provenance.store_version
    assert here.provenance.fingerprints == there.provenance.fingerprints


def test_figures_are_those_of_the_dense_matrix(local: Subject, busy: int) -> None:
    found = overview(local, Overview(feature_id=busy, top_k=1_000))

    dense = local.dense(busy)
    assert found.facts["n_active"] == (dense > 0).sum()
    over = found.table("statistics").frame.row(by_predicate=pl.col("over") == "all samples", named=True)
    assert over["mean"] == pytest.approx(dense.astype(np.float64).mean())
    assert over["q95"] == pytest.approx(np.quantile(dense.astype(np.float64), 0.95))
    for row in found.table("tokens").frame.head(5).iter_rows(named=True):
        having = local.builds.rungs_of(local.vocabulary.by_name[row["token"]].group) >= local.builds.rung_at(
            local.vocabulary.by_name[row["token"]].group, local.vocabulary.by_name[row["token"]].level or 1
        )
        assert row["mean"] == pytest.approx(dense[having].mean(), rel=1e-5)
    assert sum(found.table("bands").frame["n"]) == found.facts["n_active"]
    histogram = found.figures[0]
    assert histogram.kind == "bars"
    assert sum(y or 0 for y in histogram.series[0].y) == found.facts["n_active"]


def test_a_result_survives_its_json(local: Subject, busy: int) -> None:
    found = overview(local, Overview(feature_id=busy))

    assert Result.model_validate_json(as_json(found)) == found
    assert json.loads(as_json(found))["schema_name"] == "splat.result/2"


def test_a_result_of_the_schema_before_is_read(local: Subject, busy: int) -> None:
    result = overview(local, Overview(feature_id=busy))
    as_before = json.loads(as_json(result))
    as_before["said"] = as_before.pop("findings")
    as_before["schema_name"] = "splat.result/1"

    assert Result.model_validate_json(json.dumps(as_before)) == result


def test_markdown_and_html_hold_every_table(local: Subject, busy: int) -> None:
    found = overview(local, Overview(feature_id=busy))

    for text in (as_markdown(found), as_html([found])):
        assert all(table.title in text for table in found.tables)
    assert "http" not in as_html([found]).replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "https://matplotlib.org", ""
    ).replace("http://creativecommons.org", "")


def test_a_part_of_the_page_is_what_the_whole_page_has(local: Subject, busy: int) -> None:
    whole = {table.name: table for table in overview(local, Overview(feature_id=busy, top_k=1_000)).tables}

    found = {table.name: table for name in COMPUTED_SECTIONS for table in section_tables(local, busy, name)}

    assert found.keys() >= {"tokens", "weapons", "doses", "statistics", "bands"}
    assert all(whole[name] == table for name, table in found.items())


def test_a_dead_feature_is_described_in_a_sentence(tmp_path: Path) -> None:
    dense = sparse_random(30, 3, 0.5)
    dense[:, 1] = 0
    write_batches(DenseSource(dense), sample_table(30), None, VOCABULARY, tmp_path, 10)
    CONTEXTS.save(tmp_path / "contexts.json")

    found = overview(Subject(LocalDatabase.open(tmp_path), "silent"), Overview(feature_id=1))

    assert found.findings[0].startswith("The feature fires on none of")
    assert "never fires" in found.warnings[0]
    assert not found.has("tokens")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["overview", "9999"], "feature 9999 is not in small: it holds features 0 to 95"),
        (["overview"], "specify one feature"),
        (["overview", "1", "--feature-id", "2"], "specify one feature"),
        (["overview", "1", "--top-k", "0"], "top_k: Input should be greater than or equal to 1, not 0"),
        (["overview", "1", "--also", "palmistry"], "experiment 'palmistry' does not exist"),
        (["overview", "1", "--run", "nowhere"], "nowhere is neither a run of"),
        (["overview", "1", "--run", "http://127.0.0.1:9"], "no activation server answers at http://127.0.0.1:9"),
        (["overview", "1", "--plot", "page.gif"], "the file name must end in one of"),
        (["experiment", "family-sweep", "1", "--family", "swim_sped_up"], "did you mean swim_speed_up"),
        (["experiment", "family-sweep", "1"], "family is missing"),
        (["overview", "1", "--output-dir", "/proc/nowhere"], "/proc/nowhere cannot be written"),
        (["overview", "1", "--plot", "/proc/nowhere.svg"], "/proc/nowhere.svg cannot be written"),
        (["experiment", "bands", "1", "--save-spec", "/proc/q.toml"], "/proc/q.toml cannot be written"),
        (["label", "export", "-o", "/proc/labels.csv"], "/proc/labels.csv cannot be written"),
    ],
    ids=lambda value: "-".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    found = CliRunner().invoke(main, arguments)

    assert (found.exit_code, "Traceback" in found.output) == (2, False)
    assert said in found.output


def test_the_guide_s_options_work(finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch, busy: int) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    found = CliRunner().invoke(
        main, ["overview", "--feature-id", str(busy), "--model", "small", "--max-examples", "2000", "--format", "json"]
    )

    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["spec"]["max_examples"] == 2000


def test_a_server_of_a_folder_that_has_no_place_for_labels_says_what_the_folder_says(tmp_path: Path) -> None:
    write_batches(DenseSource(sparse_random(30, 3, 0.5)), sample_table(30), None, VOCABULARY, tmp_path, 10)
    CONTEXTS.save(tmp_path / "contexts.json")
    with running(app_of(settings_from_environment(), str(tmp_path))) as url, open_subject(url) as remote:
        here, there = (overview(one, Overview(feature_id=1)) for one in (open_subject(str(tmp_path)), remote))

    assert here.tables == there.tables
    assert here.findings == there.findings
