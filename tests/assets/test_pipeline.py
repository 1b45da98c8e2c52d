from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import bring_up_to_date, current_receipt, is_settled, run_check
from splat_assets.progress import SilentProgress
from splat_assets.runs import open_run
from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot


def test_every_check_of_every_artifact_passes_on_a_finished_run(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")

    outcomes = {check.name: run_check(asset, check, run) for asset in ASSETS for check in asset.checks}

    assert {name: dict(outcome.facts) for name, outcome in outcomes.items() if not outcome.passed} == {}
    assert all(is_settled(asset, run) for asset in ASSETS)


def test_a_finished_run_is_not_made_again(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    before = {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()}

    for asset in ASSETS:
        bring_up_to_date(asset, run, SilentProgress())

    assert {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()} == before


def test_a_lost_file_makes_only_its_artifact_stale(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    (run.layout.staged / "idf.parquet").unlink()

    stale = [asset.name for asset in ASSETS if current_receipt(asset, run) is None]

    assert stale == ["idf"]


def test_what_is_made_again_from_the_same_inputs_has_the_same_fingerprint(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    histograms = asset_named("histograms")
    before = current_receipt(histograms, run)
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
