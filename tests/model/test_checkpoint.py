import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from splat_assets.errors import InputError
from splat_assets.model import load_base_model, save_base_model
from splat_assets.model.tensors import read_tensors
from tests.model.conftest import PAD, tiny_model

Tensors = dict[str, Tensor]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the tiny model and its vocabularies, as somebody would bring it."""
    save_base_model(tiny_model(), tmp_path)
    names = ["swim_speed_up_3", "swim_speed_up_6", "comeback", "haunt", "<NULL>", "<PAD>"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (tmp_path / "weapon_vocab.json").write_text(json.dumps({f"weapon_id_{i * 10}": i for i in range(3)}))
    return tmp_path


def rewrite(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Replace model.pth by what change returns (or leaves behind, when it returns None)."""
    tensors = torch.load(folder / "model.pth", weights_only=True)
    changed = change(tensors)
    torch.save(tensors if changed is None else changed, folder / "model.pth")


def set_params(folder: Path, **values: object) -> None:
    path = folder / "model_params.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class TestWhatIsAccepted:
    @pytest.mark.parametrize("container", ["pth", "safetensors"])
    def test_a_saved_model_comes_back_the_same(self, tmp_path: Path, container: str) -> None:
        model = tiny_model()

        written = save_base_model(model, tmp_path, container=container)

        assert written.name == f"model.{container}"
        for path in (tmp_path, written):
            loaded = load_base_model(path)
            assert loaded.fingerprint == model.fingerprint
            assert loaded.dimensions == model.dimensions and loaded.pad_id == PAD

    @pytest.mark.parametrize("container", ["pth", "safetensors"])
    def test_the_same_model_gives_the_same_bytes(self, tmp_path: Path, container: str) -> None:
        one, other = (save_base_model(tiny_model(), tmp_path / name, container=container) for name in "ab")

        assert one.read_bytes() == other.read_bytes()

    @pytest.mark.parametrize("sizes", [{"use_layer_norm": False}, {"embedding_dim": 8}, {"num_layers": 1}])
    def test_every_variant_of_the_architecture_is_recognised(self, tmp_path: Path, sizes: dict) -> None:
        model = tiny_model(**sizes)

        save_base_model(model, tmp_path)

        assert load_base_model(tmp_path).fingerprint == model.fingerprint

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {"model_state_dict": tensors, "epoch": 3},
            lambda tensors: {"model_state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
            lambda tensors: {name: tensor.double() for name, tensor in tensors.items()},
            lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {f"module._orig_mod.model.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {f"model._orig_mod.module.model.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {
                name.replace("layers.0.", "layers.0._orig_mod.module."): tensor for name, tensor in tensors.items()
            },
            lambda tensors: {"n_averaged": torch.tensor(9), **{f"module.{n}": t for n, t in tensors.items()}},
            lambda tensors: {
                "state_dict": {
                    "model._orig_mod.n_averaged": torch.tensor(9),
                    **{f"model._orig_mod.module.{name}": tensor for name, tensor in tensors.items()},
                },
                "epoch": 3,
            },
            lambda tensors: {"model": tensors, "optimizer": {"state": {}, "lr": 0.1}},
            lambda tensors: {"module": {"model": {"state_dict": tensors}}, "step": torch.tensor(3)},
            lambda tensors: {"model": {"hidden_dim": 8}, "state_dict": tensors},
        ],
    )
    def test_prefixes_wrappers_and_precision_make_no_other_model(self, saved: Path, wrap: Callable) -> None:
        rewrite(saved, wrap)

        assert load_base_model(saved).fingerprint == tiny_model().fingerprint

    def test_the_model_is_frozen(self, saved: Path) -> None:
        model = load_base_model(saved)

        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())

    def test_files_may_lie_elsewhere(self, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        alone = tmp_path_factory.mktemp("alone") / "checkpoint_3.pth"
        shutil.copy(saved / "model.pth", alone)

        model = load_base_model(alone, vocab_path=saved / "vocab.json", num_heads=2)

        assert model.fingerprint == tiny_model().fingerprint

    def test_a_byte_order_mark_before_the_parameters_is_no_part_of_them(self, saved: Path) -> None:
        path = saved / "model_params.json"
        path.write_text("\ufeff" + path.read_text(), encoding="utf-8")

        assert load_base_model(saved).fingerprint == tiny_model().fingerprint

    def test_an_empty_parameter_file_counts_as_none(self, saved: Path) -> None:
        (saved / "model_params.json").write_text("")

        assert load_base_model(saved, num_heads=2).fingerprint == tiny_model().fingerprint


def missing_bias(tensors: Tensors) -> None:
    del tensors["output_layer.bias"]


def extra(tensors: Tensors) -> None:
    tensors["lora.weight"] = torch.zeros(1)


def misshapen(tensors: Tensors) -> None:
    tensors["transformer_layers.1.feedforward.0.weight"] = torch.zeros(16, 8)


def diverged(tensors: Tensors) -> None:
    tensors["transformer_layers.0.feedforward.0.bias"][3] = float("nan")


def integers(tensors: Tensors) -> None:
    tensors["output_layer.bias"] = torch.zeros(6, dtype=torch.int64)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (missing_bias, "output_layer.bias is missing"),
            (extra, "lora.weight is not part of the architecture"),
            (misshapen, r"transformer_layers.1.feedforward.0.weight has shape \(16, 8\) instead of \(32, 8\)"),
            (diverged, r"NaN or infinite weights.*transformer_layers.0.feedforward.0.bias \(1 of 32\)"),
            (integers, "output_layer.bias holds torch.int64"),
            (lambda tensors: {"encoder.weight": torch.zeros(3, 3)}, "is not a SplatGPT checkpoint"),
            (lambda tensors: {"epoch": 3}, "holds int under 'epoch'"),
            (
                lambda tensors: {"model": tensors, "state_dict": {n: t + 1 for n, t in tensors.items()}},
                "holds tensors under state_dict and model; save the intended",
            ),
            (lambda tensors: [1, 2], "holds list, not a dictionary of named tensors"),
            (
                lambda tensors: {**tensors, "module.output_layer.bias": torch.zeros(6)},
                "both with and without the prefix",
            ),
        ],
    )
    def test_tensors_that_do_not_fit_are_named(self, saved: Path, change: Callable, said: str) -> None:
        rewrite(saved, change)

        with pytest.raises(InputError, match=said):
            load_base_model(saved)

    def test_all_wrong_keys_are_listed_together(self, saved: Path) -> None:
        rewrite(saved, lambda tensors: (missing_bias(tensors), extra(tensors), misshapen(tensors), None)[-1])

        with pytest.raises(InputError, match="missing.*not part of.*instead of"):
            load_base_model(saved)

    def test_a_vocabulary_of_another_size_is_refused(self, saved: Path) -> None:
        (saved / "vocab.json").write_text(json.dumps({"haunt": 0, "<NULL>": 1, "<PAD>": 2}))

        with pytest.raises(InputError, match="trained on 6 ability tokens, but .*vocab.json holds 3"):
            load_base_model(saved)

    def test_a_weapon_vocabulary_of_another_size_is_refused(self, saved: Path) -> None:
        (saved / "weapon_vocab.json").write_text(json.dumps({"weapon_id_0": 0}))

        with pytest.raises(InputError, match="trained on 3 weapons, but .*weapon_vocab.json holds 1"):
            load_base_model(saved)

    @pytest.mark.parametrize(
        ("params", "said"),
        [
            ({"hidden_dim": 16}, "hidden_dim is 16 there and 8 in the tensors"),
            ({"num_heads": 3}, "num_heads 3 does not divide hidden_dim 8"),
            ({"num_heads": 0}, "num_heads of at least 1"),
            ({"num_heads": "2"}, "num_heads is '2'"),
            ({"pad_token_id": "5"}, "pad_token_id is '5'; it must be a whole number"),
            ({"pad_token_id": 0}, "<PAD> is 5 in .*model_params.json beside .* says 0"),
        ],
    )
    def test_parameters_of_another_model_are_refused(self, saved: Path, params: dict, said: str) -> None:
        set_params(saved, **params)

        with pytest.raises(InputError, match=said):
            load_base_model(saved)

    def test_heads_are_never_guessed(self, saved: Path) -> None:
        (saved / "model_params.json").unlink()

        with pytest.raises(InputError, match="model_params.json with num_heads"):
            load_base_model(saved)

    def test_heads_that_contradict_the_parameters_are_refused(self, saved: Path) -> None:
        with pytest.raises(InputError, match="num_heads is 4, but .* records 2"):
            load_base_model(saved, num_heads=4)

    def test_padding_is_never_guessed(self, saved: Path) -> None:
        set_params(saved, pad_token_id=None)
        (saved / "vocab.json").unlink()

        with pytest.raises(InputError, match="which token of .* is padding is not known"):
            load_base_model(saved)

    def test_broken_json_is_named(self, saved: Path) -> None:
        (saved / "model_params.json").write_text("{")

        with pytest.raises(InputError, match="model_params.json is not JSON"):
            load_base_model(saved)


class RunsCode:
    """Unpickling this would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


class TestFilesThatAreNoCheckpoint:
    @pytest.mark.parametrize("write", [pickle.dumps, None], ids=["pickle", "torch"])
    def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
        self, saved: Path, write: Callable | None
    ) -> None:
        trap = saved / "ran"
        if write is None:
            torch.save({"w": RunsCode(trap)}, saved / "model.pth")
        else:
            (saved / "model.pth").write_bytes(write(RunsCode(trap)))

        with pytest.raises(InputError, match="could run code") as refusal:
            load_base_model(saved)
        assert not trap.exists()
        assert "weights_only" not in str(refusal.value), "nobody is told how to run it all the same"

    def test_a_whole_module_saved_with_pickle_is_refused(self, saved: Path) -> None:
        torch.save(torch.nn.Linear(2, 2), saved / "model.pth")

        with pytest.raises(InputError, match="save model.state_dict"):
            load_base_model(saved)

    @pytest.mark.parametrize("container", ["pth", "safetensors"])
    @pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, container: str, kept: float) -> None:
        written = save_base_model(tiny_model(), tmp_path, container=container)
        whole = written.read_bytes()
        written.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])

        with pytest.raises(InputError, match="truncated|could run code"):
            load_base_model(tmp_path)

    def test_text_is_refused(self, saved: Path) -> None:
        (saved / "model.pth").write_text("version https://git-lfs.github.com/spec/v1\n")

        with pytest.raises(InputError, match="model.pth"):
            load_base_model(saved)

    def test_a_missing_file_is_named(self, saved: Path) -> None:
        with pytest.raises(InputError, match="the checkpoint file .*other.pth does not exist"):
            load_base_model(saved / "other.pth")

    def test_a_folder_without_a_checkpoint_says_what_it_should_hold(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="neither model.safetensors nor model.pth"):
            load_base_model(tmp_path)

    def test_a_folder_with_two_checkpoints_asks_which(self, saved: Path) -> None:
        save_file({"w": torch.zeros(1)}, saved / "model.safetensors")

        with pytest.raises(InputError, match="pass the file to load"):
            load_base_model(saved)


def test_what_torch_itself_makes_of_a_wrapped_model_loads_with_equal_outputs(saved: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(tiny_model()))
    averaged.update_parameters(torch.nn.DataParallel(tiny_model()))
    torch.save({"model": averaged.state_dict()}, saved / "model.pth")
    tokens, weapon = torch.tensor([[0, 2, PAD]]), torch.tensor([[1]])

    loaded = load_base_model(saved)

    assert loaded.fingerprint == tiny_model().fingerprint
    assert torch.equal(loaded(tokens, weapon), tiny_model()(tokens, weapon))


def test_no_flipped_bit_of_a_torch_archive_changes_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    tensors = {"a.weight": torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), "b.bias": torch.arange(9.0)}
    torch.save(tensors, path)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    marks_a_folder = whole.rindex(b"PK\x01\x02", 0, whole.index(b"data/1", directory)) + 38
    flips = [(at, at * 5 % 8) for at in range(0, len(whole), 4)] + [(at, bit) for at in range(8) for bit in range(8)]
    refused = 0
    for at, bit in [*flips, (marks_a_folder, 4)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            loaded = read_tensors(path)
        except InputError:
            refused += 1
        else:
            assert loaded.keys() == tensors.keys()
            assert all(torch.equal(loaded[name], tensors[name]) for name in tensors), f"byte {at}, bit {bit}"

    path.write_bytes(whole)
    assert read_tensors(path).keys() == tensors.keys()
    assert refused > len(flips) / 3


def test_an_archive_that_fails_its_checksums_is_called_damaged(saved: Path) -> None:
    whole = (saved / "model.pth").read_bytes()
    at = whole.index(b"data/3") + 200
    (saved / "model.pth").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])

    with pytest.raises(InputError, match=r"model.pth is damaged: its part .*data/\d+' fails the checksum"):
        load_base_model(saved)


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, splat_assets.model; assert 'torch' not in sys.modules; splat_assets.model.load_base_model"

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.to_sparse(), "output_layer.bias is torch.sparse_coo, not an ordinary array"),
        (lambda t: t.to("meta"), "output_layer.bias is on the meta device"),
        (
            lambda t: torch.nested.nested_tensor([t, t[:2]]),
            "output_layer.bias is nested, of rows of different lengths",
        ),
        (lambda t: t.double() + 1e300, r"NaN or infinite weights.*output_layer.bias \(6 of 6\)"),
    ],
    ids=["sparse", "meta", "nested", "overflowing"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_tensor_that_no_model_computes_with_is_named(
    tmp_path: Path, spoil: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    weights = save_base_model(tiny_model(), tmp_path)
    tensors = torch.load(weights, weights_only=True)
    torch.save(tensors | {"output_layer.bias": spoil(tensors["output_layer.bias"])}, weights)

    with pytest.raises(InputError, match=message):
        load_base_model(weights)


def test_a_damaged_file_of_the_old_torch_format_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    key = whole.rindex(b"FloatStorage") + whole[whole.rindex(b"FloatStorage") :].index(b"X") + 5
    path.write_bytes(whole[:key] + bytes([whole[key] ^ 1]) + whole[key + 1 :])

    with pytest.raises(InputError, match="old.pth cannot be read as a torch checkpoint"):
        read_tensors(path)
