import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from splat_assets.errors import InputError
from splat_assets.runs import (
    ActivationsRecipe,
    HookRecipe,
    InputFile,
    Limits,
    RunConfig,
    RunInputs,
    SplitRecipe,
    StoreRecipe,
    checkpoint_file,
    create_run,
    hash_inputs,
    open_run,
)
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import sha256_of_file
from splat_assets.store.layout import DataRoot


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the names of a base model; what is in the files does not matter here."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.pth", "vocab.json", "weapon_vocab.json", "model_params.json", "data.csv"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def inputs(model: Path) -> RunInputs:
    return hash_inputs(model, None, None, model / "data.csv")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


def test_inputs_are_hashed_where_they_are(model: Path, inputs: RunInputs) -> None:
    assert inputs.model_checkpoint == InputFile(str(model / "model.pth"), sha256_of_file(model / "model.pth"))
    assert (inputs.vocab.path, inputs.data.path) == (str(model / "vocab.json"), str(model / "data.csv"))
    assert inputs.model_params is not None and inputs.sae_checkpoint is None


def test_relative_paths_become_absolute(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)

    inputs = hash_inputs(Path("model"), None, None, Path("model/data.csv"))

    assert inputs.data.path == str(model / "data.csv")


def test_a_file_that_was_changed_is_refused_with_both_fingerprints(model: Path, inputs: RunInputs) -> None:
    assert inputs.data.checked("dataset") == model / "data.csv"
    (model / "data.csv").write_text("other")

    with pytest.raises(FingerprintMismatchError, match="dataset .* is not the file this run was made from") as caught:
        inputs.data.checked("dataset")

    assert caught.value.expected == inputs.data.sha256
    assert caught.value.actual == sha256_of_file(model / "data.csv")


def test_every_input_of_a_run_is_compared_with_what_it_was(model: Path, inputs: RunInputs) -> None:
    inputs.refuse_changed()

    for name, expected in {"data.csv": "data", "model_params.json": "model params"}.items():
        (model / name).write_text("other")
        with pytest.raises(FingerprintMismatchError, match=f"^{expected} .*{name} is not the file"):
            inputs.refuse_changed()
        (model / name).write_text(name)


def test_a_run_is_frozen_and_opens_as_it_was_made(root: DataRoot, inputs: RunInputs) -> None:
    config = RunConfig(
        inputs,
        sae=SaeRecipe(architecture="relu_l1", l1_coeff=1e-3, d_sae=None, seed=3),
        split=SplitRecipe(seed=2, validation=0.2, test=0.1),
        hook=HookRecipe("token_ff", 0, 1),
        activations=ActivationsRecipe(masked_variants=2, seed=4, shard_items=8, batch_size=2, embeddings=False),
        store=StoreRecipe("compact", 7),
        limits=Limits(0.1, 2.0, 0.9),
    )

    made = create_run(root, "mine", config)

    opened = open_run(root, "mine")
    assert opened == made
    assert dataclasses.replace(opened.config, versions={}) == config
    assert {"python", "splat", "torch", "numpy", "zarr"} <= opened.config.versions.keys()
    assert root.run_names() == ["mine"]


def test_every_setting_is_in_the_description(root: DataRoot, inputs: RunInputs) -> None:
    run = create_run(root, "mine", RunConfig(inputs))

    written = tomllib.loads(run.layout.config.read_text(encoding="utf-8"))

    assert written["inputs"]["data"]["sha256"] == inputs.data.sha256
    for name in ("split", "hook", "activations", "store", "limits"):
        assert written[name] == dataclasses.asdict(getattr(run.config, name))
    set_ones = {key: value for key, value in dataclasses.asdict(run.config.sae).items() if value is not None}
    assert written["sae"] == set_ones


def test_the_same_run_again_is_the_one_there_is(root: DataRoot, inputs: RunInputs) -> None:
    first = create_run(root, "mine", RunConfig(inputs))
    before = first.layout.config.read_bytes()

    assert create_run(root, "mine", RunConfig(inputs)) == first
    assert first.layout.config.read_bytes() == before


def test_another_run_of_the_same_name_is_refused(root: DataRoot, inputs: RunInputs) -> None:
    create_run(root, "mine", RunConfig(inputs))

    with pytest.raises(InputError, match="'mine' exists and was made differently"):
        create_run(root, "mine", RunConfig(inputs, split=SplitRecipe(seed=1)))


def test_a_run_that_is_not_there_names_those_that_are(root: DataRoot, inputs: RunInputs) -> None:
    with pytest.raises(InputError, match="run 'mine' does not exist .*runs there: none"):
        open_run(root, "mine")
    create_run(root, "other", RunConfig(inputs))
    with pytest.raises(InputError, match="run 'mine' does not exist .*runs there: other"):
        open_run(root, "mine")


SPOILT: dict[str, tuple[str, str, str]] = {
    "not toml": ("[split]", "[split", "Expected"),
    "no inputs": ("[inputs.", "[others.", "inputs: "),
    "a key nobody knows": ("[split]", '[colours]\nfirst = "red"\n[split]', "colours: "),
    "a value of another kind": ("[split]\nseed = 0", '[split]\nseed = "one"', r"split\.seed: "),
    "a value that makes no sense": ("batch_size = 1024", "batch_size = 0", "batch size must be at least 1"),
}


@pytest.mark.parametrize(("before", "after", "expected"), SPOILT.values(), ids=SPOILT.keys())
def test_a_description_that_was_spoilt_says_where(
    before: str, after: str, expected: str, root: DataRoot, inputs: RunInputs
) -> None:
    config = create_run(root, "mine", RunConfig(inputs)).layout.config
    whole = config.read_text(encoding="utf-8")
    assert before in whole
    config.write_text(whole.replace(before, after), encoding="utf-8")

    with pytest.raises(InputError, match=rf"run\.toml does not describe a run: .*{expected}"):
        open_run(root, "mine")


REFUSED: dict[str, tuple[type, dict[str, Any], str]] = {
    "batch size": (ActivationsRecipe, {"batch_size": 0}, "batch size must be at least 1, not 0"),
    "shard items": (ActivationsRecipe, {"shard_items": -1}, "shard items must be at least 1"),
    "masked variants": (ActivationsRecipe, {"masked_variants": -1}, "masked variants must be at least 0"),
    "seed": (ActivationsRecipe, {"seed": -1}, "seed must be at least 0"),
    "batch rows": (StoreRecipe, {"batch_rows": 0}, "batch rows must be at least 1"),
    "split seed": (SplitRecipe, {"seed": -1}, "split seed must be 0 or more"),
    "no validation": (SplitRecipe, {"validation": 0.0}, "validation share .* between 0 and 1"),
    "no test": (SplitRecipe, {"test": 1.0}, "test share .* between 0 and 1"),
    "nothing to train on": (SplitRecipe, {"validation": 0.5, "test": 0.5}, "leave no builds to train on"),
    "hook": (HookRecipe, {"hook_target": "mean"}, "unknown hook target 'mean'"),
    "module": (HookRecipe, {"ff_module_index": 3}, "module 3 of a feed-forward block does not exist"),
    "limit": (Limits, {"max_fvu": float("nan")}, "max_fvu must be a number"),
}


@pytest.mark.parametrize(("kind", "settings", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_settings_that_make_no_sense_are_refused(kind: type, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        kind(**settings)


def test_a_folder_of_a_checkpoint_resolves_to_its_file(model: Path) -> None:
    assert checkpoint_file(model) == model / "model.pth"
    assert checkpoint_file(model / "model.pth") == model / "model.pth"
    (model / "model.pth").rename(model / "model.safetensors")
    assert checkpoint_file(model) == model / "model.safetensors"


def test_two_checkpoints_in_a_folder_are_not_guessed_between(model: Path) -> None:
    (model / "model.safetensors").touch()

    with pytest.raises(InputError, match="holds both model.pth and model.safetensors; pass the file"):
        hash_inputs(model, None, None, model / "data.csv")


def test_a_folder_in_the_place_of_a_file_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="dataset: .*model is a folder; pass the file"):
        hash_inputs(model, None, None, model)
