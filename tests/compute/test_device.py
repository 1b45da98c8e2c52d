"""Where torch computes, on a device that is not the processor. Each call is in a process of its own: torch settles what
devices there are at the first gradient."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from splat_assets.assets.opened import contexts_of, items_of, model_files_of, sae_of, vocabulary_of
from splat_assets.cli import main
from splat_assets.compute.encode import encode, is_same_row
from splat_assets.compute.harvest import harvest, shards_of
from splat_assets.compute.items import Items
from splat_assets.compute.shards import ShardRunner
from splat_assets.errors import InputError
from splat_assets.model.device import usable_device
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import open_run
from splat_assets.sae import SaeRecipe, load_sae, train_sae
from splat_assets.sae.training.step import AutogradStep, batch_topk_loss, relu_l1_loss
from splat_assets.store.layout import DataRoot
from splat_assets.store.raw import RawActivations
from tests.compute.other_device import NAME, register

Elsewhere = Callable[..., Any]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that the test has none of")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Calls a function in a process that knows the device."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=register) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()


def _mixed() -> None:
    torch.ones(3).to(NAME) + torch.ones(3)


def _seen_from_numpy() -> None:
    torch.ones(3).to(NAME).numpy()


@pytest.mark.parametrize(
    ("careless", "refusal"),
    [(_mixed, "tensors on two devices"), (_seen_from_numpy, "not supported for tensor subclasses")],
)
def test_the_device_of_these_tests_is_as_far_away_as_a_gpu(
    careless: Callable[[], None], refusal: str, elsewhere: Elsewhere
) -> None:
    with pytest.raises((RuntimeError, TypeError), match=refusal):
        elsewhere(careless)


LOSSES = {"batch_topk": batch_topk_loss, "relu_l1": relu_l1_loss}


def _trained(folder: Path, architecture: str, device: str, killed_at: int | None = None) -> str:
    rows = np.random.default_rng(0).standard_normal((1_200, 16)).astype(np.float32)
    recipe = SaeRecipe(
        d_sae=64, k=4, epochs=4, batch_size=200, architecture=architecture, checkpoint_every_seconds=0, dead_after_samples=300
    )  # fmt: skip
    step = AutogradStep(LOSSES[architecture])

    def until_killed(state: Any, *args: Any) -> Any:
        if state.step == killed_at:
            raise KeyboardInterrupt
        return step(state, *args)

    try:
        trained = train_sae(
            rows, np.arange(1_000), np.arange(1_000, 1_200), recipe, folder,
            provenance={}, device=device, step=until_killed,
        )  # fmt: skip
    except KeyboardInterrupt:
        return ""
    return trained.sae.fingerprint


@pytest.mark.parametrize("architecture", LOSSES)
def test_the_steps_of_a_training_are_taken_there_also_after_a_kill(
    architecture: str, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    here = _trained(tmp_path / "here", architecture, "cpu")

    assert elsewhere(_trained, tmp_path / "there", architecture, NAME) == here
    assert elsewhere(_trained, tmp_path / "killed", architecture, NAME, 7) == ""
    assert elsewhere(_trained, tmp_path / "killed", architecture, NAME) == here


def _raw_activations(root: Path, folder: Path, hook: HookPoint, device: str) -> Path:
    """The last 100 builds of a run, and its null rows, through base model and SAE."""
    run, runner = open_run(DataRoot(root), "small"), ShardRunner(device=device)
    whole = items_of(run)
    chosen = np.arange(800, whole.n_items)
    items = Items(whole.builds.take(chosen), whole.kind[chosen])
    base = harvest(folder / "base", items, model_files_of(run), hook, 64, 32, runner)
    encode(
        folder / "raw", items, vocabulary_of(run), contexts_of(run), shards_of(items, 64, hook.per_token), base,
        run.layout.sae, per_token=hook.per_token, embeddings=True, runner=runner,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("target", ["masked_mean", "token_ff"])
def test_base_model_and_sae_run_there_and_give_the_same_but_for_rounding(
    target: str, finished_root: DataRoot, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    hook = HookPoint(target)
    here = _raw_activations(finished_root.path, tmp_path / "here", hook, "cpu")
    there = elsewhere(_raw_activations, finished_root.path, tmp_path / "there", hook, NAME)

    x, y = (np.load(folder / "base" / "values.npy") for folder in (here, there))
    np.testing.assert_allclose(y, x, atol=1e-5)
    ours, theirs = RawActivations(here / "raw"), RawActivations(there / "raw")
    assert theirs.problems() == []
    assert theirs.n_samples == ours.n_samples
    sae, a, b = sae_of(open_run(finished_root, "small")), next(ours.rows(10_000)), next(theirs.rows(10_000))
    assert a.nnz > 500
    assert all(is_same_row(a.row(i), b.row(i), sae, x[i]) for i in range(a.n_rows))


def _sparse(sae: Path, x: Any, largest: int) -> Any:
    import splat_assets.sae.autoencoder as module

    module._DENSE_BYTES = largest
    return load_sae(sae).to(NAME).encode_rows(x)


def test_only_a_block_of_features_is_dense_there(finished_root: DataRoot, elsewhere: Elsewhere) -> None:
    path = open_run(finished_root, "small").layout.sae
    sae = load_sae(path)
    x = np.random.default_rng(1).standard_normal((50, sae.d_in)).astype(np.float32)

    whole, in_blocks = elsewhere(_sparse, path, x, 2**29), elsewhere(_sparse, path, x, 4 * sae.d_sae * 7)

    expected = sae.encode_rows(x)
    for results in (whole, in_blocks):
        np.testing.assert_array_equal(results.indptr, expected.indptr)
        np.testing.assert_array_equal(results.feature_ids, expected.feature_ids)
        np.testing.assert_allclose(results.values, expected.values, rtol=1e-4, atol=1e-6)
        assert results.feature_ids.dtype == expected.feature_ids.dtype


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "nonsense", "cuda:x"])
def test_a_device_that_is_not_there_is_one_sentence(name: str) -> None:
    with pytest.raises(InputError, match=f"torch cannot compute on the device '{name}' here"):
        usable_device(name)


@no_gpu
def test_a_command_says_so_before_it_reads_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DEVICE", "cuda")
    for command in ("train-sae --save-dir", "generate-activations --sae-checkpoint nowhere --output-dir"):
        requested = [*command.split(), str(tmp_path / "out"), "--model-checkpoint", "nowhere", "--data-csv", "nowhere"]
        result = CliRunner().invoke(main, requested)
        assert result.exit_code != 0
        assert "torch cannot compute on the device 'cuda' here" in result.output
    assert not (tmp_path / "out").exists()


def test_shards_that_ask_for_a_gpu_compute_on_it() -> None:
    on_ray = {"SPLAT_SHARDS": "ray", "SPLAT_SHARD_GPUS": "0.5"}
    assert ShardRunner.from_environment(on_ray).device == "cuda"
    assert ShardRunner.from_environment(on_ray | {"SPLAT_DEVICE": "cuda:1"}).device == "cuda:1"
    assert ShardRunner.from_environment({"SPLAT_SHARD_GPUS": "0.5"}).device == "cpu"
    assert ShardRunner.from_environment({"SPLAT_DEVICE": "cuda"}).device == "cuda"
    with pytest.raises(InputError, match="each shard would hold a GPU and leave it idle"):
        ShardRunner.from_environment(on_ray | {"SPLAT_DEVICE": "cpu"})
