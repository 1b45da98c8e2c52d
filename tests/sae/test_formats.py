import io
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from splat_assets.errors import InputError, SplatError
from splat_assets.sae import Sae, load_sae, save_sae
from splat_assets.store.errors import FingerprintMismatchError
from tests.sae.test_autoencoder import an_sae, rows_of, vars_of


def upstream_tensors(d_in: int = 6, d_sae: int = 10) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.weight": torch.randn(d_sae, d_in, generator=generator) * 9,
        "encoder.bias": torch.randn(d_sae, generator=generator),
        "decoder.weight": torch.randn(d_in, d_sae, generator=generator) * 3,
        "decoder.bias": torch.full((d_in,), 99.0),
        "decoder_bias": torch.randn(d_in, generator=generator),
        "usage_ema": torch.zeros(d_sae),
    }


@pytest.mark.parametrize("architecture", ["jumprelu", "relu"])
def test_both_files_of_a_saved_sae_load_back_to_the_same_function(tmp_path: Path, architecture: str) -> None:
    saved = Sae(
        **{**vars_of(an_sae(threshold=0.4 if architecture == "jumprelu" else 0.0)), "architecture": architecture}
    )

    save_sae(saved, tmp_path)

    for loaded in (load_sae(tmp_path), load_sae(tmp_path / "sae_model_final.pth")):
        assert loaded.fingerprint == saved.fingerprint
        assert loaded.architecture == architecture
    assert load_sae(tmp_path / "sae_weights.safetensors").fingerprint == saved.fingerprint


def test_both_files_say_where_the_sae_was_trained(tmp_path: Path) -> None:
    trained_at = {"base_model": "abc", "hook_target": "token_ff", "layer_index": 0, "ff_module_index": 2}
    save_sae(Sae(**vars_of(an_sae()), metadata={"provenance": trained_at}), tmp_path)

    for loaded in (load_sae(tmp_path), load_sae(tmp_path / "sae_model_final.pth")):
        assert loaded.metadata["provenance"] == trained_at
    assert torch.load(tmp_path / "sae_model_final.pth", weights_only=True)["cfg_json"].dtype == torch.uint8


def test_a_guide_file_that_lost_its_configuration_is_not_taken_for_upstreams(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    tensors = torch.load(tmp_path / "sae_model_final.pth", weights_only=True)
    del tensors["cfg_json"]
    torch.save(tensors, tmp_path / "bare.pth")

    with pytest.raises(InputError, match="bare.pth has a threshold but no cfg_json"):
        load_sae(tmp_path / "bare.pth")


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_sae(an_sae(), tmp_path / name)

    for name in ("cfg.json", "sae_weights.safetensors", "sae_model_final.pth"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_folder_has_the_names_and_shapes_of_saelens(tmp_path: Path) -> None:
    save_sae(an_sae(d_in=24, d_sae=150), tmp_path)

    config = json.loads((tmp_path / "cfg.json").read_text())
    shapes = {name: tuple(value.shape) for name, value in load_file(tmp_path / "sae_weights.safetensors").items()}
    assert shapes == {"W_enc": (24, 150), "b_enc": (150,), "W_dec": (150, 24), "b_dec": (24,), "threshold": (150,)}
    assert config["architecture"] == "jumprelu"
    assert config["dtype"] == "float32"
    assert config["apply_b_dec_to_input"] is True
    assert config["normalize_activations"] == "none"
    assert config["metadata"]["sae_lens_version"].startswith("6.")


def test_a_ceiling_survives_and_is_kept_from_readers_that_know_none(tmp_path: Path) -> None:
    saved = an_sae(threshold=0.0, clamp_max=0.5)
    saved = Sae(**{**vars_of(saved), "architecture": "relu"})

    save_sae(saved, tmp_path)

    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == "clamped_relu"
    for loaded in (load_sae(tmp_path), load_sae(tmp_path / "sae_model_final.pth")):
        assert loaded.clamp_max == 0.5
        assert loaded.encode(rows_of(50)).max() == 0.5


def test_an_input_bias_that_is_not_subtracted_is_folded_into_the_guides_file(tmp_path: Path) -> None:
    saved = Sae(**{**vars_of(an_sae()), "apply_b_dec_to_input": False})

    save_sae(saved, tmp_path)

    x = rows_of(40)
    assert load_sae(tmp_path).apply_b_dec_to_input is False
    loaded = load_sae(tmp_path / "sae_model_final.pth")
    np.testing.assert_allclose(loaded.encode(x).numpy(), saved.encode(x).numpy(), atol=1e-5)


def test_upstream_files_are_clamped_and_normalised_and_their_unused_bias_is_ignored(tmp_path: Path) -> None:
    tensors = upstream_tensors()
    torch.save(tensors, tmp_path / "sae_model_final.pth")
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))

    sae = load_sae(tmp_path)

    columns = torch.nn.functional.normalize(tensors["decoder.weight"], dim=0)
    pre = (x - tensors["decoder_bias"]) @ tensors["encoder.weight"].T + tensors["encoder.bias"]
    hidden = pre.relu().clamp(max=6)
    assert hidden.max() == 6
    torch.testing.assert_close(sae.encode(x), hidden)
    torch.testing.assert_close(sae.reconstruct(x), hidden @ columns.T + tensors["decoder_bias"])


@pytest.mark.parametrize("wrap", ["model_state_dict", "state_dict", None])
def test_prefixes_and_wrappers_are_looked_through(tmp_path: Path, wrap: str | None) -> None:
    tensors = {f"module.{name}": value for name, value in upstream_tensors().items()}
    torch.save({wrap: tensors, "epoch": 3} if wrap else tensors, tmp_path / "sae.pth")

    assert load_sae(tmp_path / "sae.pth").d_sae == 10


def test_an_averaged_sae_under_wrappers_in_any_nesting_is_the_same_function(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    guide = torch.load(tmp_path / "sae_model_final.pth", weights_only=True)
    wrapped = {f"module._orig_mod.model.{name}": value for name, value in guide.items()} | {
        "n_averaged": torch.tensor(7)
    }
    torch.save({"model": {"state_dict": wrapped}, "optimizer": {"lr": 0.1}}, tmp_path / "guide.pth")
    saelens = load_file(tmp_path / "sae_weights.safetensors")
    save_file(
        {f"_orig_mod.module.{name}": value for name, value in saelens.items()}, tmp_path / "sae_weights.safetensors"
    )

    for path in (tmp_path, tmp_path / "guide.pth"):
        assert load_sae(path).fingerprint == an_sae().fingerprint


def change_config(folder: Path, **change: object) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | change))


def with_bias(value: float) -> Sae:
    return Sae(**{**vars_of(an_sae()), "b_enc": torch.full((150,), value)})


def test_weights_of_another_sae_are_refused_with_both_fingerprints(tmp_path: Path) -> None:
    one, two = with_bias(0.1), with_bias(0.2)
    save_sae(one, tmp_path / "one")
    save_sae(two, tmp_path / "two")
    shutil.copyfile(tmp_path / "two" / "sae_weights.safetensors", tmp_path / "one" / "sae_weights.safetensors")
    tensors = torch.load(tmp_path / "two" / "sae_model_final.pth", weights_only=True)
    torch.save(tensors | {"encoder.bias": one.b_enc}, tmp_path / "changed.pth")

    for path, expected, found in (
        ("one", one, two),
        ("one/sae_weights.safetensors", one, two),
        ("changed.pth", two, one),
    ):
        with pytest.raises(FingerprintMismatchError, match="other weights than its configuration") as caught:
            load_sae(tmp_path / path)
        assert (caught.value.expected, caught.value.actual) == (expected.fingerprint, found.fingerprint)


KILLED_WHILE_SAVING = """
import os, sys
from pathlib import Path
from splat_assets.sae import save_sae
from tests.sae.test_formats import with_bias
left = int(sys.argv[2])
def count(event, _):
    global left
    left -= event in ("os.rename", "os.remove")
    if left < 0:
        os._exit(9)
with_bias(0.2).fingerprint
sys.addaudithook(count)
save_sae(with_bias(0.2), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_kill_while_an_sae_is_saved_over_another_never_mixes_them(tmp_path: Path) -> None:
    one, two = with_bias(0.1).fingerprint, with_bias(0.2).fingerprint
    outcomes = []
    for n_done in range(20):
        folder = tmp_path / str(n_done)
        save_sae(with_bias(0.1), folder)
        killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(folder), str(n_done)], check=False)
        found = []
        for path in (folder, folder / "sae_model_final.pth"):
            try:
                found.append({one: 1, two: 2}[load_sae(path).fingerprint])
            except SplatError:
                found.append(0)
        outcomes.append(found)
        if killed.returncode == 0:
            break

    assert outcomes[0] in ([1, 1], [1, 0])
    assert outcomes[-1] == [2, 2]
    assert [1, 2] not in outcomes and [2, 1] not in outcomes, outcomes


def test_upstream_columns_that_are_zero_or_tiny_survive_being_saved(tmp_path: Path) -> None:
    tensors = upstream_tensors()
    tensors["decoder.weight"][:, 3] = 0
    tensors["decoder.weight"][:, 4] *= 1e-14
    torch.save(tensors, tmp_path / "upstream.pth")
    loaded = load_sae(tmp_path / "upstream.pth")

    save_sae(loaded, tmp_path)

    assert (
        load_sae(tmp_path).fingerprint == load_sae(tmp_path / "sae_model_final.pth").fingerprint == loaded.fingerprint
    )


def test_a_decoder_row_of_zeros_is_left_as_it_is_when_norms_are_folded(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    change_config(tmp_path, metadata={})
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    tensors["W_dec"][7] = 0
    save_file(tensors, tmp_path / "sae_weights.safetensors")

    sae = load_sae(tmp_path)

    assert sae.W_dec[7].norm() == 0
    torch.testing.assert_close(sae.encode(rows_of(20)), an_sae().encode(rows_of(20)), atol=1e-6, rtol=1e-6)


def test_a_decoder_that_is_not_unit_norm_is_folded(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    scaled = tensors | {"W_dec": tensors["W_dec"] * 3, "W_enc": tensors["W_enc"] / 3, "b_enc": tensors["b_enc"] / 3,
                        "threshold": tensors["threshold"] / 3}  # fmt: skip
    save_file({name: value.contiguous() for name, value in scaled.items()}, tmp_path / "sae_weights.safetensors")
    change_config(tmp_path, metadata={})

    sae = load_sae(tmp_path)

    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(150))
    torch.testing.assert_close(sae.encode(rows_of(20)), an_sae().encode(rows_of(20)), atol=1e-5, rtol=1e-5)


class Malicious:
    def __reduce__(self) -> tuple:
        return (print, ("this must never be printed",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sae_model_final.pth").write_bytes(pickle.dumps(Malicious()))
    torch.save({"encoder.weight": Malicious()}, tmp_path / "zipped.pth")

    for path in (tmp_path / "sae_model_final.pth", tmp_path / "zipped.pth"):
        with pytest.raises(InputError, match="unpickling it could run code"):
            load_sae(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kept", [0, 1, 7, 100, 3000])
@pytest.mark.parametrize("name", ["sae_weights.safetensors", "sae_model_final.pth"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, kept: int) -> None:
    save_sae(an_sae(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:kept])

    with pytest.raises(InputError, match=f"{name} (cannot be read as .*copy it again|was not loaded)"):
        load_sae(tmp_path / name)


def test_nan_weights_are_counted_by_tensor(tmp_path: Path) -> None:
    tensors = upstream_tensors()
    tensors["encoder.weight"][2, 3] = float("nan")
    tensors["decoder_bias"][:] = float("inf")
    torch.save(tensors, tmp_path / "sae.pth")

    with pytest.raises(InputError, match="encoder.weight holds 1 value that is NaN.*decoder_bias holds 6 values"):
        load_sae(tmp_path / "sae.pth")


def test_every_missing_and_misshaped_tensor_is_named(tmp_path: Path) -> None:
    tensors = upstream_tensors()
    del tensors["encoder.bias"]
    tensors["decoder.weight"] = tensors["decoder.weight"].T.contiguous()
    torch.save(tensors, tmp_path / "sae.pth")

    with pytest.raises(
        InputError, match=r"encoder.bias is missing.*decoder.weight has shape \(10, 6\) where \(6, 10\) is needed"
    ):
        load_sae(tmp_path / "sae.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "topk"}, "architecture 'topk' is not supported; it can be standard, jumprelu"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'; fold it"),
        ({"activation_fn_str": "topk"}, "activation_fn_str is 'topk'"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"activation_fn_kwargs": {"k": 32}}, r"activation_fn_kwargs is \{'k': 32\}, as of a top-k"),
        ({"k": 32}, "k is 32, as of a top-k"),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm is True"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is True; fold it"),
        ({"normalize_activations": True}, "normalize_activations is True; fold it"),
        ({"architecture": "standard"}, "holds threshold, which a standard SAE does not have"),
        ({"architecture": ["x"]}, r"architecture \['x'\] is not supported"),
        ({"clamp_max": "6"}, "clamp_max must be a number above 0, not '6'"),
        ({"clamp_max": -1.0}, "clamp_max must be a number above 0, not -1.0"),
        ({"clamp_max": float("nan")}, "clamp_max must be a number above 0, not nan"),
        ({"metadata": [1]}, "metadata must be a table of names and values, not list"),
        ({"apply_b_dec_to_input": "no"}, "apply_b_dec_to_input must be true or false, not 'no'"),
        ({"d_in": True}, "d_in and d_sae must be whole numbers above 0"),
        ({"d_in": 25}, r"W_enc has shape \(24, 150\) where \(25, 150\) is needed"),
        ({"d_sae": "many"}, "d_in and d_sae must be whole numbers above 0"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    save_sae(an_sae(), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(config | change))

    with pytest.raises(InputError, match=message):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            ["architecture"],
            'architecture is missing; add "architecture": "standard" where .* or "jumprelu" where the weights hold',
        ),
        (["d_in", "d_sae"], 'd_in, d_sae are missing; add "d_in": the width of .* and "d_sae": how many features'),
    ],
)
def test_a_configuration_that_lacks_something_says_what_to_add(
    tmp_path: Path, missing: list[str], message: str
) -> None:
    save_sae(an_sae(), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({key: value for key, value in config.items() if key not in missing}))

    with pytest.raises(InputError, match=message):
        load_sae(tmp_path)


def test_what_older_saelens_writes_for_no_normalisation_is_accepted(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    change_config(
        tmp_path,
        normalize_activations=False,
        activation_fn_str="relu",
        activation_fn_kwargs={},
        finetuning_scaling_factor=False,
    )

    assert load_sae(tmp_path).fingerprint == an_sae().fingerprint


def spoilt(**change: torch.Tensor) -> dict[str, torch.Tensor]:
    return upstream_tensors() | {name.replace("__", "."): value for name, value in change.items()}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (spoilt(encoder__bias=torch.zeros(10).to_sparse()), "encoder.bias is torch.sparse_coo, not an ordinary"),
        (spoilt(encoder__bias=torch.zeros(10, device="meta")), "encoder.bias is on the meta device, not an ordinary"),
        (spoilt(encoder__bias=torch.full((10,), float("inf"))), "encoder.bias holds 10 values that are NaN"),
        (spoilt(encoder__bias=torch.full((10,), 1e300, dtype=torch.float64)), "encoder.bias holds 10 values .*float32"),
        (spoilt(encoder__weight=torch.zeros(0, 6)), r"is not an SAE: its encoder.weight has shape \(0, 6\)"),
    ],
    ids=["sparse", "meta", "infinite", "overflowing", "no features"],
)
def test_tensors_that_no_sae_has_are_named(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    torch.save(tensors, tmp_path / "sae.pth")

    with pytest.raises(InputError, match=message):
        load_sae(tmp_path / "sae.pth")


def test_eight_bit_floats_are_read_as_the_numbers_they_are(tmp_path: Path) -> None:
    tensors = upstream_tensors()
    small = tensors["encoder.bias"].to(torch.float8_e4m3fn)
    torch.save(tensors | {"encoder.bias": small}, tmp_path / "sae.pth")

    torch.testing.assert_close(load_sae(tmp_path / "sae.pth").b_enc, small.float())


def test_a_configuration_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_bytes(b"\xff\xfe{}")

    with pytest.raises(InputError, match="cfg.json is not JSON"):
        load_sae(tmp_path)


def test_a_file_that_is_not_an_sae_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="holds no SAE: expected cfg.json with sae_weights.safetensors, or sae_model_final"
    ):
        load_sae(tmp_path)
    with pytest.raises(InputError, match="the checkpoint file .*nothing.pth does not exist"):
        load_sae(tmp_path / "nothing.pth")
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(InputError, match="cfg.json is not JSON"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(InputError, match="architecture, d_in, d_sae are missing"):
        load_sae(tmp_path)
    held = io.BytesIO()
    torch.save([torch.zeros(3)], held)
    (tmp_path / "list.pth").write_bytes(held.getvalue())
    with pytest.raises(InputError, match="list.pth holds list, not a dictionary of named tensors"):
        load_sae(tmp_path / "list.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="is not an SAE: a 2-D encoder.weight is missing .there are: weight"):
        load_sae(tmp_path / "other.pth")
