import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from splat_assets.errors import InputError
from splat_assets.sae import Sae, SaeRecipe, TrainedSae, load_sae, train_sae
from splat_assets.sae.training.fused_step import FusedStep
from splat_assets.sae.training.monitoring import decoder_movement
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import AutogradStep, StepOutcome, StepSettings, batch_topk_loss
from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError
from splat_assets.store.files import staging_path
from splat_assets.text.progress import LogProgress
from tests.sae.planted import planted

ROWS = planted(1500, 16, 32, 2)
RECIPE = SaeRecipe(
    d_sae=64,
    k=2,
    epochs=4,
    batch_size=150,
    lr=3e-3,
    dead_after_samples=300,
    evaluate_every_steps=7,
    evaluation_rows=100,
)
N_STEPS = 4 * 9


def train(folder: Path, recipe: SaeRecipe = RECIPE, activations: Any = ROWS.values, **other: Any) -> TrainedSae:
    other.setdefault("provenance", {"base_model": "abc"})
    return train_sae(activations, np.arange(1350), np.arange(1350, 1500), recipe, folder, **other)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder)
    return folder


def test_training_finds_the_planted_directions_and_explains_rows_it_never_saw(tmp_path: Path) -> None:
    longer = SaeRecipe(d_sae=64, k=2, epochs=60, batch_size=150, lr=5e-3)

    trained = train(tmp_path, longer)

    best = (trained.sae.W_dec.numpy() @ ROWS.directions.T).max(axis=0)
    assert best.mean() > 0.9
    assert trained.summary["held_out"]["fvu"] < 0.3
    assert trained.summary["decoder_trained"]
    assert trained.summary["gamma"] == pytest.approx(3, rel=0.2)


def test_the_files_are_whole_and_say_what_they_are(undisturbed: Path) -> None:
    assert sorted(contents(undisturbed)) == [
        "SHA256SUMS",
        "cfg.json",
        "metrics.parquet",
        "sae_model_final.pth",
        "sae_weights.safetensors",
        "training_state/finished.json",
    ]
    sae = load_sae(undisturbed)
    assert (sae.d_in, sae.d_sae, sae.architecture) == (16, 64, "jumprelu")
    assert sae.metadata["trained_as"] == "batch_topk"
    assert sae.metadata["provenance"] == {"base_model": "abc"}
    assert sae.metadata["recipe"]["k"] == 2
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64), atol=1e-6, rtol=0)


def test_metrics_are_taken_at_the_configured_steps_and_at_the_end(undisturbed: Path) -> None:
    metrics = pl.read_parquet(undisturbed / "metrics.parquet")

    assert metrics["step"].to_list() == [7, 14, 21, 28, 35, 36]
    assert metrics["samples"].to_list()[-1] == 4 * 1350
    assert metrics["fvu_held_out"].to_list()[-1] < metrics["fvu_held_out"].to_list()[0]
    assert metrics["l0_train"].to_list() == pytest.approx([2.0] * 6, rel=1e-3)
    assert metrics["aux_loss"].to_list()[-1] > 0, "some features are dead, so that resuming has them to remember"
    assert metrics.null_count().sum_horizontal().item() == 0


def test_with_the_default_window_features_that_never_fire_count_as_dead_and_are_revived_on_few_rows(
    tmp_path: Path,
) -> None:
    trained = train(tmp_path, SaeRecipe(d_sae=400, k=2))

    metrics = pl.read_parquet(trained.metrics_path)
    assert trained.summary["dead_after_samples"] < metrics["samples"][-1]
    assert trained.summary["dead_percent"] == metrics["dead_percent"][-1] > 0
    assert metrics["aux_loss"].max() > 0


def test_dead_percent_is_none_before_the_window_has_passed(tmp_path: Path) -> None:
    recipe = SaeRecipe(**{**RECIPE.as_json(), "dead_after_samples": 1351})

    trained = train(tmp_path / "long", recipe)
    short = train(tmp_path / "short", SaeRecipe(**{**recipe.as_json(), "epochs": 1}))

    metrics = pl.read_parquet(trained.metrics_path)
    assert metrics["dead_percent"].is_null().to_list() == [True, False, False, False, False, False]
    assert pl.read_parquet(short.metrics_path)["dead_percent"].to_list() == [None, None]
    assert short.summary["dead_percent"] is None


@pytest.mark.parametrize("epochs", [1, 10])
def test_the_exported_threshold_keeps_k_active_on_held_out_rows(tmp_path: Path, epochs: int) -> None:
    sae = train(tmp_path, SaeRecipe(d_sae=64, k=3, epochs=epochs, batch_size=100, lr=3e-3)).sae

    rows = sae.encode_rows(ROWS.values[1350:])
    assert rows.nnz / rows.n_rows == pytest.approx(3, rel=0.02)


class Interrupted(Exception):
    pass


class StopsAt:
    """A step that is cut off after so many calls."""

    def __init__(self, n_steps: int) -> None:
        self._left = n_steps
        self._step = FusedStep()

    def __call__(self, state: TrainingState, x: torch.Tensor, settings: StepSettings) -> StepOutcome:
        if self._left == 0:
            raise Interrupted
        self._left -= 1
        return self._step(state, x, settings)


@pytest.mark.parametrize("stops", [(1,), (6, 7, 8), (20, 1, 1, 9)])
def test_a_training_cut_off_anywhere_ends_in_the_same_bytes(
    tmp_path: Path, undisturbed: Path, stops: tuple[int, ...]
) -> None:
    often = SaeRecipe(**{**RECIPE.as_json(), "checkpoint_every_seconds": 0})
    for n_steps in stops:
        with pytest.raises(Interrupted):
            train(tmp_path, often, step=StopsAt(n_steps))

    train(tmp_path, often)

    found, expected = contents(tmp_path), contents(undisturbed)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name


def test_the_number_of_threads_changes_no_byte(tmp_path: Path, undisturbed: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 3)
    try:
        train(tmp_path)
    finally:
        torch.set_num_threads(before)

    assert contents(tmp_path) == contents(undisturbed)


def test_a_memory_map_trains_like_an_array(tmp_path: Path, undisturbed: Path) -> None:
    np.save(tmp_path / "values.npy", ROWS.values)

    train(tmp_path / "sae", activations=np.load(tmp_path / "values.npy", mmap_mode="r"))

    assert contents(tmp_path / "sae") == contents(undisturbed)


def test_a_finished_training_is_returned_and_not_repeated(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    second = train(tmp_path, step=StopsAt(0))

    assert second.summary == first.summary
    assert second.sae.fingerprint == first.sae.fingerprint
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_finished_training_whose_sae_was_replaced_is_not_returned(tmp_path: Path) -> None:
    ours = train(tmp_path / "ours").sae
    other = train(tmp_path / "other", SaeRecipe(**{**RECIPE.as_json(), "seed": 1})).sae
    for name in ("cfg.json", "sae_weights.safetensors"):
        (tmp_path / "ours" / name).write_bytes((tmp_path / "other" / name).read_bytes())

    with pytest.raises(
        FingerprintMismatchError, match="holds another SAE than the training that finished there"
    ) as caught:
        train(tmp_path / "ours")

    assert (caught.value.expected, caught.value.actual) == (ours.fingerprint, other.fingerprint)
    assert train(tmp_path / "ours", resume=False).sae.fingerprint == ours.fingerprint


def test_a_resumed_training_counts_only_its_own_rows(tmp_path: Path) -> None:
    often, said = SaeRecipe(**{**RECIPE.as_json(), "checkpoint_every_seconds": 0}), list[str]()
    with pytest.raises(Interrupted):
        train(tmp_path, often, step=StopsAt(N_STEPS - 1))

    train(tmp_path, often, progress=LogProgress(said.append, every_seconds=3600))

    first, last = said[0], said[-1]
    resumed, total = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", first))
    assert first.startswith("train SAE: resumed at row ") and 0 < resumed < total
    assert last.split(" in ")[0] == f"train SAE: {total - resumed:,} rows"


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        {"recipe": SaeRecipe(**{**RECIPE.as_json(), "seed": 1})},
        {"activations": ROWS.values + np.float32(0.01)},
        {"provenance": {"base_model": "other"}},
    ],
    ids=["recipe", "data", "provenance"],
)
def test_another_trainings_state_is_not_resumed(tmp_path: Path, other: dict, finished: bool) -> None:
    often = SaeRecipe(**{**RECIPE.as_json(), "checkpoint_every_seconds": 0})
    if finished:
        train(tmp_path)
    else:
        with pytest.raises(Interrupted):
            train(tmp_path, often, step=StopsAt(5))
    before = contents(tmp_path)

    with pytest.raises(FingerprintMismatchError, match="belongs to a training with another recipe, data or origin"):
        train(tmp_path, **other)

    assert contents(tmp_path) == before
    assert train(tmp_path, resume=False, **other).summary["n_steps"] == N_STEPS


def test_what_a_killed_training_was_writing_goes_when_it_is_taken_up_again(tmp_path: Path, undisturbed: Path) -> None:
    for name in ("metrics.parquet", "cfg.json", "training_state/checkpoint.safetensors"):
        leftover = staging_path(tmp_path / name)
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_bytes(b"half")

    train(tmp_path)

    assert contents(tmp_path) == contents(undisturbed)


def test_a_kill_after_the_end_leaves_no_checkpoint_behind_for_good(tmp_path: Path, undisturbed: Path) -> None:
    train(tmp_path)
    for name in ("checkpoint.safetensors", staging_path(Path("finished.json")).name):
        (tmp_path / "training_state" / name).write_bytes(b"not yet deleted")

    train(tmp_path)

    assert contents(tmp_path) == contents(undisturbed)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    often = SaeRecipe(**{**RECIPE.as_json(), "checkpoint_every_seconds": 0})
    with pytest.raises(Interrupted):
        train(tmp_path, often, step=StopsAt(5))
    checkpoint = tmp_path / "training_state" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])

    with pytest.raises(CorruptStoreError, match="checkpoint.safetensors is not a whole training checkpoint"):
        train(tmp_path, often)


def hidden_from_gradient(hidden: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        directions = decoder / decoder.norm(dim=1, keepdim=True)
    return hidden @ directions


def test_a_decoder_that_did_not_train_is_distinguished_from_one_that_did(tmp_path: Path, undisturbed: Path) -> None:
    longer = SaeRecipe(**{**RECIPE.as_json(), "epochs": 12})
    stuck = train(tmp_path / "stuck", longer, step=AutogradStep(partial(batch_topk_loss, decode=hidden_from_gradient)))
    moved = train(tmp_path / "moved", longer)

    assert not stuck.summary["decoder_trained"]
    assert decoder_movement(stuck.sae).median == pytest.approx(1, abs=1e-5)
    assert moved.summary["decoder_trained"]
    assert decoder_movement(load_sae(tmp_path / "moved")).median < 0.95


def test_an_sae_without_a_recorded_seed_has_no_known_beginning() -> None:
    sae = Sae(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), torch.zeros(2))

    with pytest.raises(InputError, match="does not record the seed"):
        decoder_movement(sae)


def test_relu_l1_trains_and_a_larger_weight_makes_it_sparser(tmp_path: Path) -> None:
    found = {
        weight: train(
            tmp_path / str(weight),
            SaeRecipe(architecture="relu_l1", d_sae=64, l1_coeff=weight, epochs=20, batch_size=150, lr=3e-3),
        )
        for weight in (1e-3, 3e-2)
    }

    weak, strong = (trained.summary["held_out"] for trained in found.values())
    assert weak["l0_mean"] > 2 * strong["l0_mean"]
    assert weak["fvu"] < strong["fvu"] < 0.5
    assert found[1e-3].sae.architecture == "relu"
    assert found[3e-2].summary["decoder_trained"]


@pytest.mark.parametrize(
    ("recipe", "activations", "message"),
    [
        (SaeRecipe(d_sae=8, k=9), ROWS.values, "k = 9 is larger than the dictionary of 8 features"),
        (RECIPE, np.full((1500, 4), 2.0, dtype=np.float32), "all 1,350 training rows are equal"),
        (RECIPE, np.full((1500, 4), np.nan, dtype=np.float32), "row 0 of the activations holds a NaN"),
        (SaeRecipe(d_sae=8, k=2, lr=1e30), ROWS.values, "lower the learning rate"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_and_nothing_written(
    tmp_path: Path, recipe: SaeRecipe, activations: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(tmp_path / "sae", recipe, activations)

    assert not (tmp_path / "sae").exists()


def test_held_out_rows_that_cannot_be_measured_are_refused_before_the_first_step(tmp_path: Path) -> None:
    spoilt = ROWS.values.copy()
    spoilt[1400, 3] = np.nan

    with pytest.raises(InputError, match="row 1400 of the activations holds a NaN or an infinity"):
        train(tmp_path / "sae", activations=spoilt)
    with pytest.raises(InputError, match="held-out rows 1350 to 1500 are not all in 0 to 1499"):
        train_sae(ROWS.values, np.arange(9), np.arange(1350, 1501), RECIPE, tmp_path / "sae", provenance={})
    assert not (tmp_path / "sae").exists()


def test_a_learning_rate_that_breaks_the_last_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower the learning rate"):
        train(tmp_path / "sae", SaeRecipe(d_sae=64, k=2, lr=1e30, epochs=1))

    assert not (tmp_path / "sae").exists()


def test_without_held_out_rows_there_is_no_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs held-out rows"):
        train_sae(ROWS.values, np.arange(100), np.arange(0), RECIPE, tmp_path, provenance={})


CHILD = """
import sys
from pathlib import Path
from tests.sae.test_training import RECIPE, SaeRecipe, train
train(Path(sys.argv[1]), SaeRecipe(**{**RECIPE.as_json(), "epochs": 120, "checkpoint_every_seconds": 0.02}))
"""


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    wait = np.random.default_rng(0)
    root = Path(__file__).resolve().parents[2]

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], cwd=root)

    assert start(tmp_path / "undisturbed").wait() == 0
    n_killed = 0
    while n_killed < 8:
        child = start(tmp_path / "killed")
        state = tmp_path / "killed" / "training_state"
        while not state.exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(float(wait.uniform(0, 0.5)) + (2.0 if n_killed else 0))
        if child.poll() is not None:
            break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        n_killed += 1
    assert n_killed > 0
    assert start(tmp_path / "killed").wait() == 0

    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
