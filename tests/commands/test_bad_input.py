"""Every mistake a person can make at the command line: one sentence that helps, exit code 2, and nothing written."""

import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from splat_assets.cli import main
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from tests.small_run import make_inputs, new_small_run, save_random_model


@dataclass(frozen=True)
class Inputs:
    """Good inputs of one's own, to be spoilt."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "datasets" / "small" / "tokenized_data.csv"

    @property
    def model(self) -> Path:
        return self.folder / "saved_models" / "small"

    @property
    def checkpoint(self) -> Path:
        return self.model / "model.pth"

    def options(self) -> list[str]:
        return ["--model-checkpoint", str(self.model), "--data-csv", str(self.data)]

    def spoil_tensors(self, spoil: Callable[[dict[str, torch.Tensor]], object]) -> None:
        tensors = torch.load(self.checkpoint, weights_only=True)
        spoil(tensors)
        torch.save(tensors, self.checkpoint)

    def with_rows(self, *rows: str) -> None:
        self.data.write_text("\n".join(["ability_tags\tweapon_id", *rows]) + "\n", encoding="utf-8")

    def vocabulary(self) -> dict[str, int]:
        return dict(json.loads((self.model / "vocab.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def good_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_inputs(DataRoot(root), n_builds=60)
    return root


@pytest.fixture
def inputs(good_inputs: Path, tmp_path: Path) -> Inputs:
    shutil.copytree(good_inputs, tmp_path / "inputs")
    return Inputs(tmp_path / "inputs")


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("SPLAT_DATA", str(root))
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that what a command sets is undone
    return root


def splat(*arguments: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *expected: str) -> str:
    """Exit code 2 and one sentence on standard error that matches every expected pattern; returns the sentence."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    sentence = result.stderr.split("Error: ")[-1].strip()
    assert sentence and "\n" not in sentence
    assert result.stdout == ""
    for pattern in expected:
        assert re.search(pattern, sentence), f"{pattern!r} is not in {sentence!r}"
    return sentence


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Dataset files: the row, the rule, the way out.

BAD_ROWS = {
    "a token id outside the vocabulary": (["[0, 1]\t3", "[0, 999]\t3"], ("row 2", "token id 999", "0 to 139")),
    "a weapon outside the vocabulary": (["[0]\t900"], ("row 1", "weapon_id 900", "weapon vocabulary")),
    "an empty build": (["[0]\t1", "[0]\t1", "[]\t1"], ("row 3", "empty", "<NULL>")),
    "an over-full build": (["[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\t1"], ("row 1", "more than a full build", "57")),
    "a token twice": (["[4, 4]\t1"], ("row 1", "a token twice")),
    "padding in a build": (["[139, 4]\t1"], ("row 1", "<PAD>")),
    "something that is no list": (["banana\t1"], ("row 1", "JSON list", "banana")),
    "no rows": ([], ("no rows", "at least one build")),
}


@pytest.mark.parametrize(("rows", "expected"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_run_of_bad_builds_is_refused(
    rows: list[str], expected: tuple[str, ...], inputs: Inputs, data_root: Path
) -> None:
    inputs.with_rows(*rows)

    result = splat("run", "new", "mine", *inputs.options(), "--d-sae", "32", "--k", "4")

    refused(result, re.escape(str(inputs.data)), *expected)
    assert files_below(data_root) == []


@pytest.mark.parametrize(("mark", "name"), [(",", "commas"), (";", "semicolons")])
def test_another_separator_is_named(mark: str, name: str, inputs: Inputs, data_root: Path) -> None:
    inputs.data.write_text(inputs.data.read_text(encoding="utf-8").replace("\t", mark), encoding="utf-8")

    result = splat("run", "new", "mine", *inputs.options())

    refused(result, re.escape(str(inputs.data)), f"separated by {name}", "tab")
    assert files_below(data_root) == []


def test_a_dataset_that_is_not_there_is_named(inputs: Inputs, data_root: Path) -> None:
    inputs.data.unlink()

    result = splat("run", "new", "mine", *inputs.options())

    refused(result, "does not exist", re.escape(str(inputs.data)))
    assert files_below(data_root) == []


def test_too_few_builds_to_judge_an_sae_are_refused(inputs: Inputs, data_root: Path) -> None:
    inputs.with_rows("[0, 1]\t3")

    result = splat("run", "new", "mine", *inputs.options())

    refused(result, "0 validation and 0 test samples", "more builds")
    assert files_below(data_root) == []


# Checkpoints and vocabularies.


def no_pad(inputs: Inputs) -> None:
    names = [name for name in inputs.vocabulary() if name != "<PAD>"]
    text = json.dumps({name: i for i, name in enumerate(names)})
    (inputs.model / "vocab.json").write_text(text, encoding="utf-8")


def other_dimensions(inputs: Inputs) -> None:
    vocabulary = {**inputs.vocabulary(), "one_more": len(inputs.vocabulary())}
    (inputs.model / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")


def other_params(inputs: Inputs) -> None:
    params = json.loads((inputs.model / "model_params.json").read_text(encoding="utf-8"))
    (inputs.model / "model_params.json").write_text(json.dumps({**params, "hidden_dim": 512}), encoding="utf-8")


def a_tensor_of_another_shape(inputs: Inputs) -> None:
    inputs.spoil_tensors(lambda tensors: tensors.update({"output_layer.bias": torch.zeros(7)}))


def nan_weights(inputs: Inputs) -> None:
    inputs.spoil_tensors(lambda tensors: tensors["output_layer.weight"].view(-1)[3].fill_(float("nan")))


def truncated_safetensors(inputs: Inputs) -> None:
    whole = inputs.model / "model.safetensors"
    save_file(torch.load(inputs.checkpoint, weights_only=True), whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    inputs.checkpoint.unlink()


def truncated_pth(inputs: Inputs) -> None:
    inputs.checkpoint.write_bytes(inputs.checkpoint.read_bytes()[:1000])


BAD_MODELS: dict[str, tuple[Callable[[Inputs], object], tuple[str, ...]]] = {
    "a vocabulary without <PAD>": (no_pad, ("vocab.json", "lacks <PAD>", "139 tokens")),
    "a vocabulary of another size": (other_dimensions, ("model.pth", "140 ability tokens", "141")),
    "parameters of another model": (other_params, ("model_params.json", "hidden_dim is 512 there and 16")),
    "a tensor of another shape": (a_tensor_of_another_shape, ("model.pth", r"output_layer.bias has shape \(7,\)")),
    "NaN weights": (nan_weights, ("model.pth", "NaN", r"output_layer.weight \(1 of")),
    "a truncated safetensors": (truncated_safetensors, ("model.safetensors", "truncated", "copy it again")),
    "a truncated torch file": (truncated_pth, ("model.pth", "truncated", "copy it again")),
    "a missing checkpoint": (lambda inputs: inputs.checkpoint.unlink(), ("neither model.pth nor model.safetensors",)),
    "a missing vocabulary": (lambda inputs: (inputs.model / "vocab.json").unlink(), ("vocabulary", "does not exist")),
}


@pytest.mark.parametrize(("spoil", "expected"), BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_run_of_a_bad_model_is_refused(
    spoil: Callable[[Inputs], object], expected: tuple[str, ...], inputs: Inputs, data_root: Path
) -> None:
    spoil(inputs)

    result = splat("run", "new", "mine", *inputs.options(), "--d-sae", "32", "--k", "4")

    refused(result, *expected)
    assert files_below(data_root) == []


@pytest.mark.parametrize(("spoil", "expected"), BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_an_sae_is_not_trained_on_a_bad_model(
    spoil: Callable[[Inputs], object], expected: tuple[str, ...], inputs: Inputs, tmp_path: Path
) -> None:
    spoil(inputs)

    result = splat("train-sae", *inputs.options(), "--save-dir", tmp_path / "out", "--d-sae", "32", "--k", "4")

    refused(result)
    assert not (tmp_path / "out").exists()


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("save", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))])
def test_a_pickle_that_would_run_code_does_not_run(
    save: Callable[[object, Path], object], inputs: Inputs, data_root: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "the code ran"
    save({"output_layer.weight": Payload(mark)}, inputs.checkpoint)

    result = splat("run", "new", "mine", *inputs.options())

    refused(result, "model.pth", "could run code", "safetensors")
    assert not mark.exists()
    assert files_below(data_root) == []


def test_an_sae_that_would_run_code_does_not_run(inputs: Inputs, data_root: Path, tmp_path: Path) -> None:
    mark, sae = tmp_path / "the code ran", tmp_path / "sae_model_final.pth"
    torch.save({"encoder.weight": Payload(mark)}, sae)

    result = splat("run", "new", "mine", *inputs.options(), "--sae-checkpoint", sae)

    refused(result, "sae_model_final.pth", "run code")
    assert not mark.exists()
    assert files_below(data_root) == []


# Options that contradict the model, each other, or sense.

BAD_OPTIONS = {
    "an unknown hook target": ("--hook-target mean", ("hook target 'mean'", "masked_mean, token_ff")),
    "a layer the model does not have": ("--hook-target token_ff --hook-layer-index 4", ("layer 4 does not exist",)),
    "a module no block has": ("--hook-target token_ff --hook-ff-module-index 3", ("module 3 of a feed-forward",)),
    "k larger than the dictionary": ("--d-sae 32 --k 33", ("k = 33", "32 features", "lower k")),
    "k and an l1 weight": ("--k 4 --l1-coeff 1e-3", ("--k", "--l1-coeff", "choose one")),
    "k with the other architecture": ("--architecture relu_l1 --k 4", ("--k", "relu_l1", "choose one")),
    "an l1 weight with the other architecture": (
        "--architecture batch_topk --l1-coeff 1",
        ("--l1-coeff", "batch_topk"),
    ),
    "no builds per pass": ("--batch-size 0", ("batch size", "at least 1", "not 0")),
    "negative builds per pass": ("--batch-size -5", ("batch size", "not -5")),
    "no rows per step": ("--sae-batch-size 0", ("batch_size", "at least 1")),
    "no builds per shard": ("--shard-items 0", ("shard items", "at least 1")),
    "no samples per batch": ("--batch-rows 0", ("batch rows", "at least 1")),
    "negative masked variants": ("--masked-variants -1", ("masked variants", "at least 0")),
    "no epochs": ("--epochs 0", ("epochs", "at least 1")),
    "a negative seed": ("--split-seed -1", ("seed", "0 or more")),
    "a limit that is no number": ("--max-fvu nan", ("--max-fvu", "is not a number")),
    "a profile nobody knows": ("--profile tiny", ("'tiny'", "raw", "compact")),
}


@pytest.mark.parametrize(("options", "expected"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_a_run_with_bad_options_is_refused(
    options: str, expected: tuple[str, ...], inputs: Inputs, data_root: Path
) -> None:
    result = splat("run", "new", "mine", *inputs.options(), *options.split())

    refused(result, *expected)
    assert files_below(data_root) == []


BAD_STEP_OPTIONS = [
    "train-sae --batch-size 0",
    "train-sae --sae-batch-size -1",
    "train-sae --d-sae 8 --k 9",
    "train-sae --masked-variants -1",
    "train-sae --hook-target nowhere",
    "train-sae --hook-target token_ff --hook-layer-index 9",
    "train-sae --lr 0",
]


@pytest.mark.parametrize("words", BAD_STEP_OPTIONS)
def test_training_with_bad_options_writes_nothing(words: str, inputs: Inputs, tmp_path: Path) -> None:
    command, *options = words.split()

    result = splat(command, *inputs.options(), "--save-dir", tmp_path / "out", *options)

    refused(result)
    assert not (tmp_path / "out").exists()


# Names of runs, and runs that are not there.


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a..b", "x" * 200, "with space"])
@pytest.mark.parametrize("words", ["run new", "run show", "materialize", "verify"])
def test_a_name_that_is_no_folder_name_is_refused(name: str, words: str, inputs: Inputs, data_root: Path) -> None:
    options = inputs.options() if words == "run new" else []

    result = splat(*words.split(), name, *options)

    refused(result, re.escape(repr(name)), "letters, digits")
    assert files_below(data_root.parent) == files_below(inputs.folder)


@pytest.mark.parametrize("words", ["run show", "materialize", "verify"])
def test_an_unknown_run_names_those_there_are(words: str, finished_root: DataRoot) -> None:
    environment = {"SPLAT_DATA": str(finished_root.path)}

    result = CliRunner().invoke(main, [*words.split(), "smal"], env=environment)

    refused(result, "run 'smal' does not exist", "runs there: small", "splat run new")


def test_an_unknown_artifact_names_those_there_are(finished_root: DataRoot) -> None:
    environment = {"SPLAT_DATA": str(finished_root.path)}

    result = CliRunner().invoke(main, ["materialize", "small", "--select", "idf,histogram"], env=environment)

    refused(result, "artifact 'histogram' does not exist", "idf", "published_store")


def test_a_name_that_is_taken_by_another_run_is_refused(inputs: Inputs, data_root: Path) -> None:
    options = ("run", "new", "mine", *inputs.options(), "--d-sae", "32", "--k")
    assert splat(*options, "4").exit_code == 0
    before = (data_root / "runs" / "mine" / "run.toml").read_bytes()

    result = splat(*options, "5")

    refused(result, "'mine' exists", "choose another name")
    assert (data_root / "runs" / "mine" / "run.toml").read_bytes() == before


def test_a_description_that_was_spoilt_is_refused(own_root: DataRoot) -> None:
    config = own_root.run("small").config
    config.write_text(config.read_text(encoding="utf-8").replace("batch_size = 64", "batch_size = 0"))

    result = CliRunner().invoke(main, ["materialize", "small"], env={"SPLAT_DATA": str(own_root.path)})

    refused(result, "run.toml", "batch size must be at least 1")


# Folders that cannot be written.


@pytest.mark.parametrize("words", ["run new mine", "demo", "up"])
def test_a_data_root_below_a_file_is_refused(words: str, inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    root = tmp_path / "file" / "data"
    options = inputs.options() if words.startswith("run new") else []

    result = CliRunner().invoke(main, [*words.split(), *options], env={"SPLAT_DATA": str(root)})

    refused(result, re.escape(str(root)), "cannot be written", "SPLAT_DATA")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that even root cannot write to: mounted over itself, read-only."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
    if bound.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        if subprocess.run(["mount", "-o", "remount,bind,ro", folder], capture_output=True).returncode:
            pytest.skip("a read-only mount is not permitted here")
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_data_root_is_refused(inputs: Inputs, read_only_folder: Path) -> None:
    result = CliRunner().invoke(
        main, ["run", "new", "mine", *inputs.options()], env={"SPLAT_DATA": str(read_only_folder)}
    )

    refused(result, re.escape(str(read_only_folder)), "cannot be written", "Read-only", "SPLAT_DATA")


def test_an_output_folder_below_a_file_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = splat("train-sae", *inputs.options(), "--save-dir", tmp_path / "file" / "sae", "--d-sae", "32", "--k", "4")

    refused(result, "cannot be written", "not a folder")


# An SAE and a base model that do not belong together.


@pytest.fixture
def sae_of_the_finished_run(finished_root: DataRoot) -> Path:
    return open_run(finished_root, "small").layout.sae


def test_an_sae_of_another_width_is_refused(
    sae_of_the_finished_run: Path, inputs: Inputs, data_root: Path, tmp_path: Path
) -> None:
    sae = tmp_path / "sae"
    shutil.copytree(sae_of_the_finished_run, sae)
    config = json.loads((sae / "cfg.json").read_text(encoding="utf-8"))
    tensors = load_file(sae / "sae_weights.safetensors")
    narrow = {**tensors, "W_enc": tensors["W_enc"][:12].contiguous(), "b_dec": tensors["b_dec"][:12].contiguous()}
    save_file({**narrow, "W_dec": tensors["W_dec"][:, :12].contiguous()}, sae / "sae_weights.safetensors")
    (sae / "cfg.json").write_text(json.dumps({**config, "d_in": 12, "metadata": {}}), encoding="utf-8")

    result = splat("run", "new", "mine", *inputs.options(), "--sae-checkpoint", sae)

    refused(result, re.escape(str(sae)), "width 12", "gives 16", "use the SAE")
    assert files_below(data_root) == []


@pytest.mark.parametrize("command", ["run new", "generate-activations", "influences"])
def test_an_sae_of_another_base_model_is_refused_with_both_fingerprints(
    command: str, sae_of_the_finished_run: Path, inputs: Inputs, data_root: Path, tmp_path: Path
) -> None:
    inputs.spoil_tensors(lambda tensors: tensors["output_layer.bias"].add_(1.0))
    options = {
        "run new": ["mine", *inputs.options()],
        "generate-activations": [*inputs.options(), "--output-dir", tmp_path / "out"],
        "influences": ["--model-checkpoint", inputs.model, "--output-path", tmp_path / "out" / "influences.parquet"],
    }[command]

    result = splat(*command.split(), *options, "--sae-checkpoint", sae_of_the_finished_run)

    sentence = refused(result, "another base model", "use the model it was trained on")
    assert len(set(re.findall(r"[0-9a-f]{64}", sentence))) == 2
    assert files_below(data_root) == [] and not (tmp_path / "out").exists()


def test_an_sae_of_another_hook_is_refused(sae_of_the_finished_run: Path, inputs: Inputs, data_root: Path) -> None:
    result = splat(
        "run",
        "new",
        "mine",
        *inputs.options(),
        "--hook-target",
        "token_ff",
        "--sae-checkpoint",
        sae_of_the_finished_run,
    )

    refused(result, "trained at masked_mean", "not at token_ff")
    assert files_below(data_root) == []


@pytest.mark.parametrize("command", [["run", "new", "mine"], ["train-sae", "--save-dir", "out"]])
def test_a_layer_of_no_named_hook_is_refused(command: list[str], inputs: Inputs, data_root: Path) -> None:
    result = splat(*command, *inputs.options(), "--hook-layer-index", "0")

    refused(result, "pass --hook-target too")
    assert files_below(data_root) == []


def test_a_folder_without_an_sae_is_refused(inputs: Inputs, data_root: Path, tmp_path: Path) -> None:
    result = splat("run", "new", "mine", *inputs.options(), "--sae-checkpoint", tmp_path)

    refused(result, re.escape(str(tmp_path)), "no SAE", "sae_weights.safetensors")
    assert files_below(data_root) == []


# Faults that show only while a run is made: the run's own sentence, not Dagster's.


@pytest.fixture
def described(data_root: Path) -> Inputs:
    """A small run that is described, but not made; its inputs may be spoilt."""
    new_small_run(DataRoot(data_root))
    return Inputs(data_root)


@pytest.mark.slow
def test_a_dataset_that_was_replaced_is_refused_with_both_fingerprints(described: Inputs) -> None:
    described.with_rows("[0, 1]\t3")

    result = splat("materialize", "small")

    sentence = refused(result, "dataset", "not the file this run was made from", "make a new run")
    assert len(set(re.findall(r"[0-9a-f]{64}", sentence))) == 2
    assert not (described.folder / "runs" / "small" / "dataset").exists()


@pytest.mark.slow
def test_a_base_model_that_was_replaced_is_refused(described: Inputs) -> None:
    save_random_model(described.data.parent, described.model)
    described.spoil_tensors(lambda tensors: tensors["output_layer.bias"].add_(1.0))

    result = splat("materialize", "small", "--select", "base_model")

    refused(result, "model checkpoint", "not the file this run was made from")
    assert not (described.folder / "runs" / "small" / "base_model").exists()


# Folders of activations.


def test_a_folder_without_activations_is_refused(tmp_path: Path) -> None:
    result = splat("convert", "--input-dir", tmp_path, "--output-dir", tmp_path / "out")

    refused(result, re.escape(str(tmp_path)), "does not hold raw activations")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["transpose", "sparse-extract", "histograms"])
def test_a_folder_that_is_in_no_layout_is_refused(command: str, tmp_path: Path) -> None:
    target = "--target-dir" if command == "transpose" else "--output-dir"
    source = "--data-dir" if command == "histograms" else "--source-dir"

    result = splat(command, source, tmp_path, target, tmp_path / "out")

    refused(result, re.escape(str(tmp_path)))
    assert not (tmp_path / "out").exists()


def test_a_parquet_dataset_of_other_columns_is_refused(inputs: Inputs, data_root: Path) -> None:
    table = inputs.folder / "builds.parquet"
    pl.DataFrame({"tags": [[1, 2]], "weapon_id": [3]}).write_parquet(table)

    result = splat("run", "new", "mine", "--model-checkpoint", inputs.model, "--data-csv", table)

    refused(result, "builds.parquet", "ability_tags")
    assert files_below(data_root) == []


def test_a_folder_that_takes_nothing_is_refused_before_any_work(inputs: Inputs) -> None:
    model = ["--model-checkpoint", inputs.model / "model.pth", "--data-csv", inputs.data]

    result = splat("train-sae", *model, "--save-dir", "/proc/sae", "--d-sae", "32", "--k", "4", "--epochs", "1")

    refused(result, "/proc/sae cannot be written", "name another folder")


def test_more_outputs_than_there_are_are_refused_before_any_work(inputs: Inputs, tmp_path: Path) -> None:
    target = tmp_path / "influences.parquet"
    sae = ["--sae-checkpoint", tmp_path / "not-read-yet"]

    result = splat(
        "influences", "--model-checkpoint", inputs.model / "model.pth", *sae, "--output-path", target, "--top-k", "139"
    )

    refused(result, "--top-k must be between 1 and the 138 tokens", "not 139")
    assert not target.exists()
