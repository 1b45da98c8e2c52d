from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import Status, bring_up_to_date, run_check, status_of
from splat_assets.compute.influences import wide_influences
from splat_assets.runs import open_run
from splat_assets.store import open_store
from splat_assets.store.guide.precomputed import write_guide_influences
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from splat_assets.store.tables import table_facts
from splat_assets.text.progress import SilentProgress
from tests.assets.faults.planting import as_if_written, flip_a_byte


def test_every_check_of_every_artifact_passes_on_a_finished_run(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")

    outcomes = {check.name: run_check(asset, check, run) for asset in ASSETS for check in asset.checks}

    assert {name: dict(outcome.facts) for name, outcome in outcomes.items() if not outcome.passed} == {}
    assert {status_of(asset, run) for asset in ASSETS} == {Status.SETTLED}


def test_a_finished_run_is_not_made_again(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    before = {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()}

    for asset in ASSETS:
        bring_up_to_date(asset, run, SilentProgress())

    assert {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()} == before


def test_an_artifact_stands_as_its_receipt_and_its_checks_say(own_root: DataRoot) -> None:
    run, idf = open_run(own_root, "small"), asset_named("idf")
    table, receipt = run.layout.staged / "idf.parquet", run.layout.receipts / "idf.json"
    content = table.read_bytes()

    assert status_of(idf, run) is Status.UNCHECKED
    for check in idf.checks:
        run_check(idf, check, run)
    assert status_of(idf, run) is Status.SETTLED
    flip_a_byte(table)
    run_check(idf, idf.checks[0], run)
    assert status_of(idf, run) is Status.FAILED
    table.write_bytes(content[:-1])
    assert status_of(idf, run) is Status.DAMAGED
    as_if_written(run, "idf", code_version="0")
    assert status_of(idf, run) is Status.STALE
    receipt.unlink()
    assert status_of(idf, run) is Status.MISSING


def test_a_lost_file_damages_only_its_artifact(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    (run.layout.staged / "idf.parquet").unlink()

    damaged = [asset.name for asset in ASSETS if status_of(asset, run) is Status.DAMAGED]

    assert damaged == ["idf"]


@pytest.mark.parametrize("spoil", [Path.unlink, flip_a_byte], ids=["lost", "of another version"])
def test_a_store_whose_pointer_is_wrong_is_published_again(spoil: Callable[[Path], object], own_root: DataRoot) -> None:
    run, published = open_run(own_root, "small"), asset_named("published_store")
    version = open_store(run.layout.root).version

    spoil(run.layout.store / "CURRENT")

    assert status_of(published, run) is Status.DAMAGED
    bring_up_to_date(published, run, SilentProgress())
    assert open_store(run.layout.root).version == version


def test_what_is_made_again_from_the_same_inputs_has_the_same_fingerprint(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    histograms = asset_named("histograms")
    before = read_receipt(run.layout.receipts, "histograms")
    (run.layout.staged / "histograms.parquet").unlink()

    again = bring_up_to_date(histograms, run, SilentProgress())

    assert before is not None
    assert again.fingerprint == before.fingerprint


def test_the_published_store_holds_every_sample_and_feature(finished_root: DataRoot) -> None:
    run = open_run(finished_root, "small")
    store = open_store(run.layout.root)

    n_weapons = len(store.contexts)
    assert (store.n_samples, store.n_features) == (900 + n_weapons, 96)
    assert store.verify(deep=True) == []
    assert store.samples.filter(kind="null").height == n_weapons


def test_in_the_guides_influences_outputs_that_never_occur_do_not_lead(own_root: DataRoot) -> None:
    run, asset = open_run(own_root, "small"), asset_named("influences")
    check = next(check for check in asset.checks if check.name == "guide_influences_are_the_same")
    path = run.layout.precomputed / "influences.parquet"
    unseen = set(table_facts(path, "never_in_data")["never_in_data"])
    columns = [column for column in pl.read_parquet_schema(path) if column.endswith("_tok")]

    assert unseen
    for row in pl.read_parquet(path).select(columns).iter_rows():
        for sign in (row[: len(row) // 2], row[len(row) // 2 :]):
            is_unseen = [name in unseen for name in sign if name is not None]
            assert is_unseen == sorted(is_unseen)

    # A run made before outputs were marked keeps the order it was made with.
    as_before = wide_influences(run.layout.staged / "influences.parquet", top_k=(len(columns)) // 2)
    assert not as_before.equals(pl.read_parquet(path))
    write_guide_influences(as_before, path)
    assert run_check(asset, check, run).passed
