"""How much room a run is expected to take: near to what it took, and refused where there is less."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from splat_assets.assets import ASSETS
from splat_assets.assets.expected import expected_size, refuse_unless_it_fits, room_for
from splat_assets.compute.cost import BYTES_BY, SECONDS_BY, Size, expected_bytes, expected_seconds
from splat_assets.errors import InputError
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from tests.small_run import new_small_run

SIZE = Size(n_samples=1e6, n_features=24_576, n_active=64, d_in=512, n_outputs=140, n_seen=5e6)


def test_every_artifact_has_a_cost() -> None:
    names = {asset.name for asset in ASSETS}
    assert BYTES_BY.keys() == names == SECONDS_BY.keys()
    for name in names:
        assert expected_bytes(name, SIZE) > 0
        assert expected_seconds(name, SIZE) > 0


def test_a_run_is_as_large_before_it_is_made_as_afterwards(finished_root: DataRoot, tmp_path: Path) -> None:
    done = expected_size(open_run(finished_root, "small"))
    before = expected_size(new_small_run(DataRoot(tmp_path)))

    assert done is not None and before is not None
    assert (before.n_samples, before.n_features, before.d_in, before.n_outputs) == (
        done.n_samples, done.n_features, done.d_in, done.n_outputs,
    )  # fmt: skip
    assert before.n_active == pytest.approx(done.n_active, rel=0.2)


def test_what_is_expected_is_near_to_what_was_written(finished_root: DataRoot) -> None:
    run = open_run(finished_root, "small")
    size = expected_size(run)
    assert size is not None
    receipts = {asset.name: read_receipt(run.layout.receipts, asset.name) for asset in ASSETS}
    written = sum(receipt.size_bytes for receipt in receipts.values() if receipt)
    expected = sum(expected_bytes(name, size) for name in receipts)
    assert 0.4 < expected / written < 2.5  # a run smaller than any that was measured


def test_nothing_is_said_of_a_finished_run_nor_of_one_whose_activity_is_unknown(
    finished_root: DataRoot, tmp_path: Path
) -> None:
    assert room_for(open_run(finished_root, "small"), ASSETS) is None
    root = DataRoot(tmp_path)
    data, model = root.datasets / "small" / "tokenized_data.csv", root.models / "small"
    new_small_run(root)
    from dataclasses import replace

    from splat_assets.runs import create_run
    from tests.small_run import RECIPE, small_config

    config = small_config(data, model, sae=replace(RECIPE, architecture="relu_l1"))
    assert room_for(create_run(root, "l1", config), ASSETS) is None


def test_a_run_that_does_not_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_small_run(DataRoot(tmp_path))
    room = room_for(run, ASSETS)
    assert room is not None and room.fits and room.needed_bytes > 1_000_000
    refuse_unless_it_fits(run, ASSETS)

    usage = shutil.disk_usage(tmp_path)

    def full(_: Any) -> Any:
        return usage._replace(free=100_000)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(
        InputError, match=r"will take about \d+ MiB more, and .* has 0 MiB free: free some space.*--anyway"
    ):
        refuse_unless_it_fits(run, ASSETS)
