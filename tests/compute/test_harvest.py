import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.assets.opened import base_model_of, items_of, model_files_of
from splat_assets.compute.harvest import (
    BaseActivations,
    BaseModelFiles,
    Shard,
    harvest,
    harvest_identity,
    open_base_activations,
    shards_of,
)
from splat_assets.compute.items import Items
from splat_assets.compute.shards import ShardRunner
from splat_assets.errors import InputError
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from tests.store.making import bytes_below

POOLED, TOKENS = HookPoint("masked_mean"), HookPoint("token_ff")


@pytest.fixture(scope="module")
def run(finished_root: DataRoot) -> Run:
    return open_run(finished_root, "small")


@pytest.fixture(scope="module")
def items(run: Run) -> Items:
    """The first 300 items of a run: builds only."""
    whole = items_of(run)
    return Items(whole.builds.take(np.arange(300)), whole.kind[:300])


@pytest.fixture(scope="module")
def files(run: Run) -> BaseModelFiles:
    return model_files_of(run)


@pytest.mark.parametrize("hook", [POOLED, TOKENS], ids=["masked_mean", "token_ff"])
def test_it_holds_what_the_model_computes(
    hook: HookPoint, run: Run, items: Items, files: BaseModelFiles, tmp_path: Path
) -> None:
    base = harvest(tmp_path, items, files, hook, shard_items=128, batch_size=32)

    model = base_model_of(run)
    tokens, weapons = (torch.from_numpy(part) for part in items.builds.batch(np.arange(300), model.pad_id))
    expected = model.activations(tokens, weapons, hook_target=hook.target).values.numpy()
    assert base.values.shape == (items.first_samples(hook.per_token)[-1], 16)
    np.testing.assert_allclose(base.values, expected, atol=1e-5)
    with torch.inference_mode():
        np.testing.assert_allclose(base.logits, model(tokens, weapons).numpy(), atol=1e-5)


def test_shards_cover_all_items_once(items: Items) -> None:
    shards = shards_of(items, 128, per_token=True)

    assert [(shard.first_item, shard.last_item) for shard in shards] == [(0, 128), (128, 256), (256, 300)]
    assert shards[0].first_sample == 0
    assert [a.last_sample for a in shards[:-1]] == [b.first_sample for b in shards[1:]]
    assert shards[-1].last_sample == items.builds.tokens.size
    assert sum(shard.n_samples for shard in shards) == items.builds.tokens.size


def harvested(folder: Path, items: Items, files: BaseModelFiles, runner: ShardRunner | None = None) -> BaseActivations:
    return harvest(folder, items, files, POOLED, 128, 32, runner)


def test_a_harvest_is_not_done_twice(items: Items, files: BaseModelFiles, tmp_path: Path) -> None:
    harvested(tmp_path, items, files)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    harvested(tmp_path, items, files)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_harvest_cut_short_goes_on_with_the_shards_that_are_missing(
    items: Items, files: BaseModelFiles, tmp_path: Path
) -> None:
    whole = np.array(harvested(tmp_path, items, files).values)
    (tmp_path / "shard-00001.json").unlink()
    first = (tmp_path / "shard-00000.json").stat().st_mtime_ns
    watched = Watched()

    again = harvest(tmp_path, items, files, POOLED, 128, 32, progress=watched)

    np.testing.assert_array_equal(again.values, whole)
    assert (tmp_path / "shard-00000.json").stat().st_mtime_ns == first
    assert watched.done_before == [128 + 44], "what an earlier call did is counted apart"
    assert sum(watched.advances) == items.n_items - (128 + 44)


@dataclass
class Watched(SilentProgress):
    """Notes how far each piece of work says it is."""

    def __post_init__(self) -> None:
        self.advances: list[int] = []
        self.done_before: list[int] = []

    def task(self, what: str, total: int, unit: str, done_before: int = 0):  # type: ignore[no-untyped-def]
        from contextlib import contextmanager

        self.done_before.append(done_before)

        @contextmanager
        def noted() -> Iterator["Watched"]:
            yield self

        return noted()

    def advance(self, n: int, note: str = "") -> None:
        self.advances.append(n)


@pytest.mark.parametrize("name", ["values.npy", "logits.npy"])
def test_what_was_damaged_since_is_computed_again(
    name: str, items: Items, files: BaseModelFiles, tmp_path: Path
) -> None:
    harvested(tmp_path, items, files)
    before = (tmp_path / name).read_bytes()
    damaged = bytearray(before)
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / name).write_bytes(damaged)

    harvested(tmp_path, items, files)

    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", ["values.npy", "logits.npy", "harvest.json", "shard-00000.json"])
@pytest.mark.parametrize("spoil", ["lost", "cut short"])
def test_what_was_lost_since_is_computed_again(
    name: str, spoil: str, items: Items, files: BaseModelFiles, tmp_path: Path
) -> None:
    whole = np.array(harvested(tmp_path, items, files).values)
    (tmp_path / name).unlink() if spoil == "lost" else (tmp_path / name).write_bytes(b"")

    np.testing.assert_array_equal(harvested(tmp_path, items, files).values, whole)


def test_a_folder_of_another_harvest_is_started_over(items: Items, files: BaseModelFiles, tmp_path: Path) -> None:
    harvested(tmp_path, items, files)
    fewer = Items(items.builds.take(np.arange(200)), items.kind[:200])

    base = harvested(tmp_path, fewer, files)

    assert base.values.shape == (200, 16)
    assert sorted(path.name for path in tmp_path.glob("shard-*")) == ["shard-00000.json", "shard-00001.json"]
    with pytest.raises(InputError, match="holds other base activations"):
        open_base_activations(tmp_path, "0" * 64)


def test_whatever_decides_the_bytes_is_in_the_identity(items: Items) -> None:
    fewer = Items(items.builds.take(np.arange(200)), items.kind[:200])
    identities = {
        harvest_identity("model", items, POOLED, 128, 32),
        harvest_identity("other", items, POOLED, 128, 32),
        harvest_identity("model", fewer, POOLED, 128, 32),
        harvest_identity("model", items, TOKENS, 128, 32),
        harvest_identity("model", items, replace(TOKENS, ff_module_index=1), 128, 32),
        harvest_identity("model", items, POOLED, 64, 32),
        harvest_identity("model", items, POOLED, 128, 16),
    }

    assert len(identities) == 7


@pytest.mark.slow
def test_processes_give_the_same_bytes(items: Items, files: BaseModelFiles, tmp_path: Path) -> None:
    harvested(tmp_path / "local", items, files)
    harvested(tmp_path / "process", items, files, ShardRunner("process", 2))

    assert bytes_below(tmp_path / "process") == bytes_below(tmp_path / "local")


def test_a_model_that_gives_nan_is_refused_with_the_builds(run: Run, items: Items, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pth"
    tensors = torch.load(run.config.inputs.model_checkpoint.path, weights_only=True)
    tensors["ability_embedding.weight"].fill_(3e38)
    torch.save(tensors, checkpoint)
    params = Path(run.config.inputs.model_checkpoint.path).with_name("model_params.json")
    (tmp_path / "model_params.json").write_bytes(params.read_bytes())
    files = replace(model_files_of(run), checkpoint=checkpoint)

    with pytest.raises(InputError, match="gives NaN or infinity for a build among items 0 to 32"):
        harvested(tmp_path / "base", items, files)

    assert list((tmp_path / "base").glob("shard-*.json")) == []


@pytest.mark.parametrize(("shard_items", "batch_size"), [(0, 1), (1, 0), (-1, 1)])
def test_nothing_at_a_time_is_refused(
    shard_items: int, batch_size: int, items: Items, files: BaseModelFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="at least one build"):
        harvest(tmp_path / "base", items, files, POOLED, shard_items, batch_size)

    assert not (tmp_path / "base").exists()


def test_the_description_says_what_it_is_of(items: Items, files: BaseModelFiles, tmp_path: Path) -> None:
    base = harvested(tmp_path, items, files)

    described = json.loads((tmp_path / "harvest.json").read_text())
    assert described == {"fingerprint": base.fingerprint, "n_samples": 300, "width": 16, "n_shards": 3}
    assert open_base_activations(tmp_path, base.fingerprint).values.shape == (300, 16)
    assert isinstance(shards_of(items, 128, False)[0], Shard)
