"""The runs page: versions of all runs side by side, what cannot be read, and links into the Dagster UI."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.automation.activity import record_activity
from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import open_store, publish
from splat_dash.pages import runs
from splat_dash.source import Source
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.runs import published_versions
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.rendering import shown
from tests.serving.running import running


def test_every_version_of_every_run_has_a_row(own_root: DataRoot, tmp_path: Path) -> None:
    layout = own_root.run("small")
    first = open_store(layout.root)
    parts = {
        path.name: path for path in first.folder.iterdir() if path.name not in ("manifest.json", "neighbours.parquet")
    }
    second = publish(layout.store, parts, {**first.manifest.provenance, "sae": "of another SAE"})
    (own_root.runs / "waiting").mkdir()
    (own_root.runs / "waiting" / "run.toml").write_text("")

    newest, oldest, waiting = published_versions(own_root)

    assert (newest.version, newest.current, oldest.version, oldest.current) == (second, True, first.version, False)
    assert (oldest.n_samples, oldest.n_features, oldest.n_activations) == (
        first.n_samples, first.n_features, first.manifest.nnz)  # fmt: skip
    assert oldest.scorecard == json.loads((layout.sae / "scorecard.json").read_text())
    assert (newest.scorecard, "another SAE" in newest.said) == ({}, True)
    assert (waiting.run, waiting.version) == ("waiting", None)
    assert "splat materialize" in waiting.said


def test_a_damaged_version_is_reported_and_the_others_are_shown(own_root: DataRoot) -> None:
    folder = open_store(own_root.run("small").root).folder
    broken = folder.parent / ("0" * 16)
    broken.mkdir()
    (broken / "manifest.json").write_text("{")

    result = {one.version: one for one in published_versions(own_root)}

    assert "not a store's manifest" in result["0" * 16].said
    assert result[folder.name].scorecard


def test_the_page_shows_figures_and_links(finished_root: DataRoot) -> None:
    with open_subject("small", root=finished_root) as subject:
        source = Source(subject, "http://127.0.0.1:3000")
        page = str(runs.layout(source).to_plotly_json())
        card = subject.scorecard

    assert shown(card["fvu"]) in page
    assert "http://127.0.0.1:3000/assets/published_store?partition=small" in page
    assert "(shown)" in page


def test_what_happened_last_is_shown(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        assert "Recent activity" not in str(runs.layout(Source(subject)).to_plotly_json())
        record_activity(own_root, "refused", "saved_models/new", "this base model was not made a run: it is broken")
        page = str(runs.layout(Source(subject)).to_plotly_json())
    assert "Recent activity" in page and "it is broken" in page


def test_a_server_lists_the_same_versions(finished_root: DataRoot) -> None:
    server = create_app(Catalogue(Target.of(None, finished_root)), settings_from_environment())
    with running(server) as url, open_subject(url) as subject:
        assert subject.published() == published_versions(finished_root)

        page = str(runs.layout(Source(subject)).to_plotly_json())
    assert "small (shown)" in page


def test_a_store_by_itself_has_no_runs_beside_it(finished_root: DataRoot, tmp_path: Path) -> None:
    store = open_store(finished_root.run("small").root)
    alone = tmp_path / "alone"
    publish(alone, {path.name: path for path in store.folder.iterdir() if path.name != "manifest.json"}, {})
    with open_subject(str(alone)) as subject:
        assert "This is a single store" in str(runs.layout(Source(subject)).to_plotly_json())
    server = create_app(Catalogue(Target.of(str(alone), finished_root)), settings_from_environment())
    with running(server) as url, open_subject(url) as subject:
        assert subject.published() is None


def test_an_address_that_is_none_is_refused(finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    done = CliRunner().invoke(main, ["dash", "small", "--dagster-url", "javascript:alert(1)"])

    assert done.exit_code == 2
    assert "must begin with http://" in done.output
