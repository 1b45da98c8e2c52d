"""SAE checkpoints on disk: SAELens' folder (cfg.json + sae_weights.safetensors) and the guide's sae_model_final.pth.

Our .pth files hold cfg.json too, as the bytes of a uint8 tensor `cfg_json`. A file without it is upstream's: h is clamped to
[0, 6] there, decoder columns are normalised in the forward pass, `decoder_bias` is the output bias and `decoder.bias` is
never used.
"""

import io
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes

from splat_assets.errors import InputError
from splat_assets.model.tensors import read_tensors
from splat_assets.sae.autoencoder import Sae
from splat_assets.store.documents import json_of, read_bytes
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import replacing_file, write_json
from splat_assets.store.sums import SUMS, record_sums
from splat_assets.text.wording import agreeing, counted

Tensors = dict[str, torch.Tensor]
logger = logging.getLogger(__name__)

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"
GUIDE_NAME = "sae_model_final.pth"
UPSTREAM_CLAMP = 6.0
_CONFIG_TENSOR = "cfg_json"
_SAELENS_LAYOUT_VERSION = "6.0.0"
_CLAMPED = "clamped_relu"
_TO_SAELENS = {"relu": "standard", "jumprelu": "jumprelu"}
_FROM_SAELENS = {"standard": "relu", "jumprelu": "jumprelu", _CLAMPED: "relu"}
_WHAT_TO_ADD = {
    "architecture": '"standard" where a feature is max(0, x), or "jumprelu" where the weights hold a threshold',
    "d_in": "the width of the activations it was trained on",
    "d_sae": "how many features it has",
}


def load_sae(path: Path | str) -> Sae:
    """Load an SAE from any of the layouts that this program reads.

    Args:
        path: a folder in SAELens' layout, a folder with sae_model_final.pth, or a .pth or .safetensors file.

    Returns:
        The SAE in float32 on the CPU: W_enc (d_in, d_sae), W_dec (d_sae, d_in) with rows of norm 1, one threshold per feature.

    Raises:
        InputError: path holds something else; the message names what is there and what is needed.
        FingerprintMismatchError: the weights are not those that cfg.json was written for.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sae(Sae(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), torch.zeros(2)), Path(folder))
        ...     load_sae(folder).d_sae
        2
    """
    path = Path(path)
    if path.is_dir():
        if (path / CONFIG_NAME).is_file():
            return _load_saelens(path)
        if (path / GUIDE_NAME).is_file():
            return _load_guide(path / GUIDE_NAME)
        raise InputError(f"{path} holds no SAE: expected {CONFIG_NAME} with {WEIGHTS_NAME}, or {GUIDE_NAME}")
    if path.suffix == ".safetensors":
        return _load_saelens(path.parent, path)
    return _load_guide(path)


def save_sae(sae: Sae, folder: Path) -> None:
    """Write cfg.json, sae_weights.safetensors, sae_model_final.pth and SHA256SUMS into folder, each atomically.

    Over another SAE, a kill leaves the one before, or weights that its cfg.json disowns, or the new one: never two that load.

    An SAE with a ceiling is written with architecture `clamped_relu`, which SAELens refuses: it cannot express one, and
    must not load it as if it were a plain ReLU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "W_enc": sae.W_enc.contiguous(),
        "b_enc": sae.b_enc,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    if sae.architecture == "jumprelu":
        tensors["threshold"] = sae.threshold
    for replaced in (GUIDE_NAME, SUMS):
        (folder / replaced).unlink(missing_ok=True)
    with replacing_file(folder / WEIGHTS_NAME) as aside:
        aside.write_bytes(safetensors_bytes({name: value.cpu() for name, value in tensors.items()}))
    write_json(folder / CONFIG_NAME, _config(sae))
    with replacing_file(folder / GUIDE_NAME) as aside:
        aside.write_bytes(_guide_bytes(sae))
    record_sums(folder, (WEIGHTS_NAME, CONFIG_NAME, GUIDE_NAME))


def _config(sae: Sae) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architecture": _TO_SAELENS[sae.architecture] if sae.clamp_max is None else _CLAMPED,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            **sae.metadata,
            "sae_lens_version": _SAELENS_LAYOUT_VERSION,
            "sae_fingerprint": sae.fingerprint,
        },
    }
    if sae.clamp_max is not None:
        config["clamp_max"] = sae.clamp_max
    return config


def _guide_bytes(sae: Sae) -> bytes:
    """The guide's file. It cannot say that b_dec is not subtracted from the input, so the encoder bias takes that up."""
    if not sae.apply_b_dec_to_input:
        sae = replace(sae, b_enc=sae.b_enc + sae.encoder @ sae.b_dec, apply_b_dec_to_input=True)
    tensors = {
        "encoder.weight": sae.encoder,
        "encoder.bias": sae.b_enc,
        "decoder.weight": sae.W_dec.t().contiguous(),
        "decoder.bias": torch.zeros(sae.d_in),
        "decoder_bias": sae.b_dec,
        "threshold": sae.threshold,
        _CONFIG_TENSOR: torch.frombuffer(bytearray(json.dumps(_config(sae)).encode()), dtype=torch.uint8),
    }
    held = io.BytesIO()
    torch.save({name: value.cpu() for name, value in tensors.items()}, held)
    return held.getvalue()


def _load_saelens(folder: Path, weights: Path | None = None) -> Sae:
    path = folder / CONFIG_NAME
    try:
        config = _read_config(read_bytes(path), path)
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    weights = weights or folder / WEIGHTS_NAME
    d_in, d_sae = config["d_in"], config["d_sae"]
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
    }
    if config["architecture"] == "jumprelu":
        shapes["threshold"] = (d_sae,)
    weights_by_name = read_tensors(weights)
    unexpected = sorted(weights_by_name.keys() - shapes.keys())
    if unexpected:
        raise InputError(
            f"{weights} holds {', '.join(unexpected)}, which a {config['architecture']} SAE does not have; "
            "it would compute something else without"
        )
    tensors = _checked(weights_by_name, shapes, weights)
    tensors["encoder"] = tensors.pop("W_enc").t().contiguous()
    tensors.setdefault("threshold", torch.zeros(d_sae))
    if "sae_fingerprint" not in (config.get("metadata") or {}):
        tensors = _unit_norm(tensors, config.get("clamp_max"), weights)
    return _configured(config, tensors, weights)


def _configured(config: dict[str, Any], tensors: Tensors, path: Path) -> Sae:
    """The SAE of a configuration and tensors; FingerprintMismatchError when it records another than they make."""
    sae = Sae(
        **tensors,
        architecture=_FROM_SAELENS[config["architecture"]],
        clamp_max=config.get("clamp_max"),
        apply_b_dec_to_input=bool(config.get("apply_b_dec_to_input", True)),
        metadata=dict(config.get("metadata") or {}),
    )
    recorded = sae.metadata.get("sae_fingerprint", sae.fingerprint)
    if recorded != sae.fingerprint:
        raise FingerprintMismatchError(
            f"{path} holds other weights than its configuration was written for",
            recorded,
            sae.fingerprint,
            "copy all files of the SAE again, or train it again",
        )
    return sae


def _read_config(written: bytes, path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json_of(written)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    missing = [key for key in ("architecture", "d_in", "d_sae") if not isinstance(config, dict) or key not in config]
    if missing:
        to_add = " and ".join(f'"{key}": {_WHAT_TO_ADD[key]}' for key in missing)
        lacks = f"{', '.join(missing)} {agreeing(len(missing), 'are')} missing"
        raise InputError(f"{path} is not an SAE configuration: {lacks}; add {to_add}")
    for broken, problem in _config_problems(config):
        if broken:
            raise InputError(f"{path}: {problem}")
    return config


def _config_problems(config: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, with the words for it. What an older SAELens leaves out or writes as false changes nothing."""
    architecture, clamp_max = config["architecture"], config.get("clamp_max")
    supported = ", ".join(_FROM_SAELENS)
    yield (
        not isinstance(architecture, str) or architecture not in _FROM_SAELENS,
        f"architecture {architecture!r} is not supported; it can be {supported}",
    )
    for key in ("activation_fn", "activation_fn_str"):
        yield config.get(key) not in ("relu", None), f"{key} is {config.get(key)!r}; only relu is supported"
    for key in ("activation_fn_kwargs", "k", "rescale_acts_by_decoder_norm"):
        yield (
            bool(config.get(key)),
            f"{key} is {config.get(key)!r}, as of a top-k or another activation than ReLU; only relu is supported. A top-k SAE "
            "has to be converted to jumprelu with a threshold first",
        )
    for key in ("normalize_activations", "reshape_activations", "finetuning_scaling_factor"):
        yield (
            config.get(key) not in ("none", None, False),
            f"{key} is {config.get(key)!r}; fold it into the weights first, so that it is 'none'",
        )
    sizes = config["d_in"], config["d_sae"]
    yield any(type(n) is not int or n < 1 for n in sizes), "d_in and d_sae must be whole numbers above 0"
    yield (
        (clamp_max is not None and not _is_above_0(clamp_max)),
        f"clamp_max must be a number above 0, not {clamp_max!r}",
    )
    subtracted = config.get("apply_b_dec_to_input", True)
    yield not isinstance(subtracted, bool), f"apply_b_dec_to_input must be true or false, not {subtracted!r}"
    metadata = config.get("metadata")
    yield (
        metadata is not None and not isinstance(metadata, dict),
        f"metadata must be a table of names and values, not {type(metadata).__name__}",
    )


def _is_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _unit_norm(tensors: Tensors, clamp_max: float | None, path: Path) -> Tensors:
    """The same function with unit-norm decoder rows: what a row loses in length, the encoder and threshold gain."""
    norms = tensors["W_dec"].norm(dim=1)
    norms = norms.where(norms > 0, torch.ones(()))  # a row of zeros adds nothing, whatever its feature is
    if (norms - 1).abs().max() < 1e-5:
        return tensors
    if clamp_max is not None:
        raise InputError(f"{path}: decoder rows are not unit norm, and with a ceiling the norms cannot be folded")
    logger.info("%s: decoder rows have norms %.3g to %.3g; folded to 1", path, float(norms.min()), float(norms.max()))
    return {
        "encoder": tensors["encoder"] * norms[:, None],
        "b_enc": tensors["b_enc"] * norms,
        "W_dec": tensors["W_dec"] / norms[:, None],
        "b_dec": tensors["b_dec"],
        "threshold": tensors["threshold"] * norms,
    }


def _load_guide(path: Path) -> Sae:
    tensors = read_tensors(path)
    weight = tensors.get("encoder.weight")
    if weight is None or weight.ndim != 2:
        raise InputError(
            f"{path} is not an SAE: a 2-D encoder.weight is missing (there are: {', '.join(sorted(tensors)[:8])})"
        )
    d_sae, d_in = weight.shape
    if not weight.numel():
        raise InputError(f"{path} is not an SAE: its encoder.weight has shape {tuple(weight.shape)}")
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.weight": (d_sae, d_in),
        "encoder.bias": (d_sae,),
        "decoder.weight": (d_in, d_sae),
        "decoder_bias": (d_in,),
    }
    ours = _CONFIG_TENSOR in tensors
    if "threshold" in tensors and not ours:
        raise InputError(f"{path} has a threshold but no {_CONFIG_TENSOR}: load the folder with {CONFIG_NAME} instead")
    used = _checked(tensors, shapes | ({"threshold": (d_sae,)} if ours else {}), path)
    named = {
        "encoder": used["encoder.weight"],
        "b_enc": used["encoder.bias"],
        "W_dec": used["decoder.weight"].t(),
        "b_dec": used["decoder_bias"],
    }
    if ours:
        config = _read_config(tensors[_CONFIG_TENSOR].numpy().tobytes(), path)
        return _configured(config, named | {"threshold": used["threshold"]}, path)
    logger.info("%s is an upstream checkpoint: h is clamped to [0, %g], columns are normalised", path, UPSTREAM_CLAMP)
    return Sae(
        encoder=named["encoder"],
        b_enc=named["b_enc"],
        W_dec=torch.nn.functional.normalize(used["decoder.weight"], dim=0).t(),
        b_dec=named["b_dec"],
        threshold=torch.zeros(d_sae),
        architecture="relu",
        clamp_max=UPSTREAM_CLAMP,
        metadata={"origin": "upstream"},
    )


def _checked(tensors: Tensors, shapes: dict[str, tuple[int, ...]], path: Path) -> Tensors:
    """The named tensors as float32; raises InputError naming every one that is missing, mis-shaped or not finite."""
    wrong, usable = [], {}
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None:
            wrong.append(f"{name} is missing (there are: {', '.join(sorted(tensors))})")
        elif tuple(tensor.shape) != shape:
            wrong.append(f"{name} has shape {tuple(tensor.shape)} where {shape} is needed")
        elif not tensor.is_floating_point():
            wrong.append(f"{name} holds {tensor.dtype}, not floating point numbers")
        else:
            usable[name] = tensor.to(torch.float32)
            n_bad = int((~torch.isfinite(usable[name])).sum())
            if n_bad:
                wrong.append(
                    f"{name} holds {counted(n_bad, 'values')} that {agreeing(n_bad, 'are')} NaN or infinite as float32"
                )
    if wrong:
        raise InputError(f"{path} is not a usable SAE: {'; '.join(wrong)}")
    return usable
