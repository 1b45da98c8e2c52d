"""A run with an SAE that somebody brings instead of training one."""

from dataclasses import replace
from pathlib import Path

import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import bring_up_to_date, run_check
from splat_assets.assets.opened import sae_of
from splat_assets.runs import Run, create_run, hash_inputs, open_run
from splat_assets.sae import Sae, save_sae
from splat_assets.store import open_store
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from tests.assets.faults.planting import change_json
from tests.small_run import make_all, small_config


def run_with(root: DataRoot, sae: Path) -> Run:
    data, model = root.datasets / "small" / "tokenized_data.csv", root.models / "small"
    config = small_config(data, model)
    inputs = hash_inputs(model, None, None, data, sae)
    return create_run(root, "brought", replace(config, inputs=inputs))


def saved(sae: Sae, folder: Path) -> Path:
    save_sae(sae, folder)
    return folder


@pytest.mark.parametrize("name", ["", "sae_weights.safetensors", "sae_model_final.pth"])
def test_it_gives_the_activations_that_it_gave_where_it_was_trained(name: str, own_root: DataRoot) -> None:
    trained = open_run(own_root, "small")

    run = run_with(own_root, trained.layout.sae / name)
    make_all(run)

    ours, theirs = open_store(run.layout.root), open_store(trained.layout.root)
    assert ours.manifest.nnz == theirs.manifest.nnz
    assert next(ours.rows(1000)).values.tolist() == pytest.approx(next(theirs.rows(1000)).values.tolist(), rel=1e-5)
    failed = [c.name for asset in ASSETS for c in asset.checks if not run_check(asset, c, run).passed]
    assert failed == []


def test_one_that_was_trained_on_another_model_is_refused(own_root: DataRoot, tmp_path: Path) -> None:
    sae = sae_of(open_run(own_root, "small"))
    provenance = {**sae.metadata["provenance"], "base_model": "0" * 64}
    other = saved(replace(sae, metadata={**sae.metadata, "provenance": provenance}), tmp_path / "sae")
    run = run_with(own_root, other)
    for name in ("dataset", "base_model"):
        bring_up_to_date(asset_named(name), run, SilentProgress())

    with pytest.raises(FingerprintMismatchError, match="trained on another base model"):
        bring_up_to_date(asset_named("sae_checkpoint"), run, SilentProgress())

    assert not run.layout.sae.exists()


def test_one_whose_configuration_was_changed_since_is_refused(own_root: DataRoot, tmp_path: Path) -> None:
    run = run_with(own_root, saved(sae_of(open_run(own_root, "small")), tmp_path / "sae"))
    change_json(tmp_path / "sae" / "cfg.json", apply_b_dec_to_input=False)
    for name in ("dataset", "base_model"):
        bring_up_to_date(asset_named(name), run, SilentProgress())

    with pytest.raises(FingerprintMismatchError, match="SAE configuration .* is not the file this run was made from"):
        bring_up_to_date(asset_named("sae_checkpoint"), run, SilentProgress())


def test_one_that_was_replaced_since_is_refused(own_root: DataRoot, tmp_path: Path) -> None:
    sae = sae_of(open_run(own_root, "small"))
    run = run_with(own_root, saved(sae, tmp_path / "sae"))
    saved(replace(sae, b_enc=sae.b_enc + 1), tmp_path / "sae")
    for name in ("dataset", "base_model"):
        bring_up_to_date(asset_named(name), run, SilentProgress())

    with pytest.raises(FingerprintMismatchError, match="SAE checkpoint .* is not the file this run was made from"):
        bring_up_to_date(asset_named("sae_checkpoint"), run, SilentProgress())
