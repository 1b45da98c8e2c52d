"""A run at the hook `token_ff`, from builds to a published store: a sample is one token of a build."""

from dataclasses import replace

import numpy as np
import pytest

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import Status, run_check, status_of
from splat_assets.assets.opened import builds_of
from splat_assets.runs import HookRecipe, Limits, Run
from splat_assets.store import open_store
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from tests.small_run import RECIPE, make_all, make_inputs, new_small_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = DataRoot(tmp_path_factory.mktemp("token_ff"))
    make_inputs(root, n_builds=300)
    # The limits are those of a run that is to work end to end, not of a good SAE.
    limits = Limits(max_fvu=1.0, max_dead_percent=100.0, min_fidelity=-100.0)
    run = new_small_run(root, hook=HookRecipe("token_ff"), sae=replace(RECIPE, epochs=10), limits=limits)
    make_all(run)
    return run


def test_every_check_passes(run: Run) -> None:
    outcomes = {check.name: run_check(asset, check, run) for asset in ASSETS for check in asset.checks}

    assert {name: dict(outcome.facts) for name, outcome in outcomes.items() if not outcome.passed} == {}
    assert {status_of(asset, run) for asset in ASSETS} == {Status.SETTLED}


def test_there_is_a_sample_for_every_token(run: Run) -> None:
    store, builds = open_store(run.layout.root), builds_of(run)

    assert store.n_samples == builds.tokens.size + len(store.contexts)
    samples = store.samples
    assert samples["global_index"].to_list() == list(range(store.n_samples))
    of_builds = samples.filter(kind="build")
    assert of_builds["source_row"].to_list() == np.repeat(np.arange(300), builds.lengths).tolist()
    assert [tokens[at] for tokens, at in of_builds.select("tokens", "token_position").rows()] == builds.tokens.tolist()


def test_influences_are_said_not_to_be_computed(run: Run) -> None:
    receipt = read_receipt(run.layout.receipts, "influences")

    assert receipt is not None
    assert receipt.facts["shape"] == "not computed" and "token_ff" in receipt.facts["not_computed"]
    assert not (run.layout.precomputed / "influences.parquet").exists()
    with pytest.raises(LayoutError, match=r"influences\.parquet was not computed"):
        _ = open_store(run.layout.root).influences


def test_a_document_counts_once_whatever_its_length(run: Run) -> None:
    store, builds = open_store(run.layout.root), builds_of(run)

    counts = np.bincount(builds.tokens, minlength=len(store.vocabulary))
    counts[store.vocabulary.null_id or 0] += len(store.contexts)
    assert store.idf["doc_freq"].to_list() == counts.tolist()


def test_what_was_made_is_published_and_exported(run: Run) -> None:
    store = open_store(run.layout.root)

    assert store.verify(deep=True) == []
    assert store.manifest.provenance["hook"] == ["token_ff", -1, 2]
    assert BatchReader(run.layout.efficient).n_samples == store.n_samples
    assert "influences.parquet" not in {file.path for file in store.manifest.files}
