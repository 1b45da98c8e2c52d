"""Plant a fault in each artifact of a finished run, and see the check that guards it go red.

Where a fault could have been written by the step itself (a bug, not a damaged disk), the receipt is written anew for the
spoilt bytes, so that the check that knows what they mean is the one to find it. The faults are in `tests/assets/faults`.
"""

from pathlib import Path

import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import Status, run_check, status_of
from splat_assets.runs import Run, open_run
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from tests.assets.faults import of_activations, of_guide_formats, of_inputs, of_statistics
from tests.assets.faults.planting import (
    Faults,
    Plant,
    as_if_written,
    change_json,
    change_recipe,
    flip_a_byte,
    largest_file,
)

FAULTS: dict[str, Faults] = {
    "dataset": of_inputs.DATASET,
    "base_model": of_inputs.BASE_MODEL,
    "sae_checkpoint": of_inputs.SAE_CHECKPOINT,
    "raw_activations": of_activations.RAW_ACTIVATIONS,
    "sparse_activations": of_activations.SPARSE_ACTIVATIONS,
    "histograms": of_statistics.HISTOGRAMS,
    "idf": of_statistics.IDF,
    "influences": of_statistics.INFLUENCES,
    "examples": of_statistics.EXAMPLES,
    "neighbours": of_statistics.NEIGHBOURS,
    "feature_map": of_statistics.FEATURE_MAP,
    "suggested_labels": of_statistics.SUGGESTED_LABELS,
    "published_store": of_activations.PUBLISHED_STORE,
    "batch_zarr": of_guide_formats.BATCH_ZARR,
    "transposed_zarr": of_guide_formats.TRANSPOSED_ZARR,
    "neuron_acts": of_guide_formats.NEURON_ACTS,
}
EACH_FAULT = [
    pytest.param(asset, check, plant, id=f"{asset}-{check}-{what}")
    for asset, by_check in FAULTS.items()
    for check, faults in by_check.items()
    for what, plant in faults.items()
]
ALL = [asset.name for asset in ASSETS]


@pytest.fixture
def own_run(own_root: DataRoot) -> Run:
    """A finished run that a test may break."""
    return open_run(own_root, "small")


def is_red(run: Run, asset_name: str, check_name: str) -> bool:
    asset = asset_named(asset_name)
    check = next(check for check in asset.checks if check.name == check_name)
    return not run_check(asset, check, run).passed


@pytest.mark.parametrize(("asset", "check", "plant"), EACH_FAULT)
def test_the_check_that_guards_it_goes_red(asset: str, check: str, plant: Plant, own_run: Run) -> None:
    plant(own_run)
    run = open_run(own_run.root, "small")
    as_if_written(run, asset)

    assert not is_red(run, asset, f"{asset}_is_intact"), "the fault was to be one of meaning"
    assert is_red(run, asset, check)


def test_every_check_has_a_fault_that_turns_it_red() -> None:
    guarded = {check for by_check in FAULTS.values() for check in by_check} | {f"{name}_is_intact" for name in ALL}

    assert {check.name for asset in ASSETS for check in asset.checks} == guarded


def a_file_of_each_output(run: Run, asset: str) -> list[Path]:
    receipt = read_receipt(run.layout.receipts, asset)
    assert receipt is not None
    outputs = [run.layout.root / output.path for output in receipt.outputs]
    return [largest_file(output) if output.is_dir() else output for output in outputs]


@pytest.mark.parametrize("asset", ALL)
def test_a_flipped_byte_in_any_output_is_found(asset: str, own_run: Run) -> None:
    for path in a_file_of_each_output(own_run, asset):
        before = path.read_bytes()
        flip_a_byte(path)

        assert is_red(own_run, asset, f"{asset}_is_intact"), path
        path.write_bytes(before)

    assert not is_red(own_run, asset, f"{asset}_is_intact")


@pytest.mark.parametrize("asset", ALL)
def test_a_lost_file_of_any_output_is_found(asset: str, own_run: Run) -> None:
    for path in a_file_of_each_output(own_run, asset):
        before = path.read_bytes()
        path.unlink()

        assert is_red(own_run, asset, f"{asset}_is_intact"), path
        assert status_of(asset_named(asset), own_run) is Status.DAMAGED
        path.write_bytes(before)


@pytest.mark.parametrize("asset", [asset.name for asset in ASSETS if asset.deps])
def test_an_artifact_made_from_another_make_of_its_source_is_found(asset: str, own_run: Run) -> None:
    for source in asset_named(asset).deps:
        as_if_written(own_run, source, code_version="0")

        assert is_red(own_run, asset, f"{asset}_is_intact"), source
        as_if_written(own_run, source)

    assert not is_red(own_run, asset, f"{asset}_is_intact")


CHANGED_RECIPES = {
    "dataset": ("[split]\nseed = 0", "[split]\nseed = 1"),
    "sae_checkpoint": ("lr = 0.01", "lr = 0.02"),
    "raw_activations": ("embeddings = true", "embeddings = false"),
    "sparse_activations": ('profile = "raw"', 'profile = "compact"'),
    "examples": ("[activations]\nmasked_variants = 0\nseed = 0", "[activations]\nmasked_variants = 0\nseed = 1"),
    "idf": ("batch_rows = 500", "batch_rows = 501"),
    "batch_zarr": ("batch_rows = 500", "batch_rows = 501"),
}


@pytest.mark.parametrize("asset", CHANGED_RECIPES)
def test_an_artifact_of_another_recipe_is_found(asset: str, own_run: Run) -> None:
    change_recipe(own_run, *CHANGED_RECIPES[asset])

    assert is_red(open_run(own_run.root, "small"), asset, f"{asset}_is_intact")


def test_a_receipt_that_was_edited_is_found(own_run: Run) -> None:
    change_json(own_run.layout.receipts / "idf.json", code_version="2")

    with pytest.raises(CorruptStoreError, match="idf.json was changed after it was written"):
        read_receipt(own_run.layout.receipts, "idf")
