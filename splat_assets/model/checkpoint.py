"""Loading a SplatGPT from a file or folder, and saving one.

Sizes come from the tensors, the number of heads from `model_params.json`, the padding id from the vocabulary. What does
not fit is explained key by key and never guessed round.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from splat_assets.model.dimensions import SplatGPTDimensions, dimensions_of
from splat_assets.model.splatgpt import SplatGPT
from splat_assets.model.tensors import read_tensors, write_safetensors
from splat_assets.store.documents import is_regular, read_json
from splat_assets.store.files import replacing_file, write_json
from splat_assets.text.wording import counted

WEIGHT_FILES = ("model.safetensors", "model.pth")
PARAMS_FILE = "model_params.json"
VOCAB_FILE = "vocab.json"
WEAPON_VOCAB_FILE = "weapon_vocab.json"

_PROBLEMS_SHOWN = 8


def load_base_model(
    path: Path | str,
    *,
    vocab_path: Path | str | None = None,
    weapon_vocab_path: Path | str | None = None,
    num_heads: int | None = None,
    device: torch.device | str = "cpu",
) -> SplatGPT:
    """Load a frozen SplatGPT in evaluation mode.

    Args:
        path: a `.pth` or `.safetensors` file, or a folder with `model.safetensors` or `model.pth`.
        vocab_path: vocab.json. [default: the one beside the weights]
        weapon_vocab_path: weapon_vocab.json. [default: the one beside the weights]
        num_heads: number of attention heads, needed only where `model_params.json` beside the weights does not record it.
        device: where the model computes.

    Returns:
        The model in float32, without gradients.

    Raises:
        InputError: the file is unreadable or would run code, or tensors, parameters and vocabularies disagree.

    Examples:
        >>> import tempfile
        >>> sizes = SplatGPTDimensions(vocab_size=5, weapon_vocab_size=2, embedding_dim=4, hidden_dim=8, output_dim=5,
        ...     num_layers=1, num_heads=2, num_inducing_points=3, use_layer_norm=True)
        >>> def zero(module):
        ...     for weights in module.parameters():
        ...         weights.data.zero_()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     weights = save_base_model(SplatGPT(sizes, pad_id=4).apply(zero), Path(folder))
        ...     load_base_model(folder).dimensions == sizes
        True
    """
    weights = _weights_file(Path(path))
    params = _read_params(weights.parent / PARAMS_FILE)
    tensors = read_tensors(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dimensions = dimensions_of(shapes, _heads(params, num_heads, weights), weights)
    _refuse_other_params(dimensions, params, weights)
    pad_id = _pad_id(dimensions, params, _path_or_beside(vocab_path, weights, VOCAB_FILE), weights)
    _refuse_other_weapons(dimensions, _path_or_beside(weapon_vocab_path, weights, WEAPON_VOCAB_FILE), weights)
    with torch.device("meta"):
        model = SplatGPT(dimensions, pad_id)
    _refuse_other_tensors(model, tensors, weights)
    _refuse_non_finite(tensors, weights)
    model.load_state_dict(
        {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}, assign=True
    )
    return model.to(device).eval().requires_grad_(False)


def save_base_model(model: SplatGPT, folder: Path, *, container: str = "pth") -> Path:
    """Write `model.pth` (or `model.safetensors`) and `model_params.json` into folder, each atomically; return the former."""
    if container not in ("pth", "safetensors"):
        raise InputError(f"a checkpoint is saved as pth or safetensors, not {container!r}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    target = folder / f"model.{container}"
    with replacing_file(target) as aside:
        if container == "pth":
            with aside.open("wb") as handle:  # given a path, torch would write its random name into the file
                torch.save(tensors, handle)
        else:
            write_safetensors(tensors, aside)
    write_json(folder / PARAMS_FILE, {**asdict(model.dimensions), "dropout": 0.0, "pad_token_id": model.pad_id})
    return target


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    there = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
    if not there:
        raise InputError(f"the folder {path} holds neither {' nor '.join(WEIGHT_FILES)}")
    if len(there) > 1:
        raise InputError(f"the folder {path} holds both {' and '.join(WEIGHT_FILES)}; pass the file to load")
    return there[0]


def _path_or_beside(chosen: Path | str | None, weights: Path, name: str) -> Path | None:
    if chosen is not None:
        return Path(chosen)
    beside = weights.parent / name
    return beside if beside.is_file() else None


def _read_params(path: Path) -> Mapping[str, Any]:
    """The parameters; none when the file is absent or empty (one known trainer writes it empty)."""
    try:
        if not is_regular(path) or path.stat().st_size == 0:
            return {}
        params = read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise InputError(f"{path} holds {type(params).__name__}, not an object of parameters")
    return params


def _heads(params: Mapping[str, Any], num_heads: int | None, weights: Path) -> int:
    recorded = params.get("num_heads")
    if recorded is None and num_heads is None:
        raise InputError(
            f"the number of attention heads of {weights} cannot be read off its tensors: put a {PARAMS_FILE} with "
            f"num_heads "
            "beside it, or pass num_heads"
        )
    if recorded is not None and (not isinstance(recorded, int) or isinstance(recorded, bool)):
        raise InputError(f"{PARAMS_FILE} beside {weights} says num_heads is {recorded!r}; it must be a whole number")
    if recorded is not None and num_heads is not None and recorded != num_heads:
        raise InputError(f"num_heads is {num_heads}, but {PARAMS_FILE} beside {weights} records {recorded}")
    return recorded if recorded is not None else int(num_heads or 0)


def _refuse_other_params(dimensions: SplatGPTDimensions, params: Mapping[str, Any], weights: Path) -> None:
    wrong = [
        f"{name} is {params[name]} there and {value} in the tensors"
        for name, value in asdict(dimensions).items()
        if name in params and params[name] != value
    ]
    if wrong:
        raise InputError(f"{PARAMS_FILE} beside {weights} describes another model: {_first_faults(wrong)}")


def _pad_id(dimensions: SplatGPTDimensions, params: Mapping[str, Any], vocab: Path | None, weights: Path) -> int:
    recorded = params.get("pad_token_id")
    if recorded is not None and type(recorded) is not int:
        raise InputError(f"{PARAMS_FILE} beside {weights} says pad_token_id is {recorded!r}; it must be a whole number")
    if vocab is None:
        if recorded is None:
            raise InputError(
                f"which token of {weights} is padding is not known: put its {VOCAB_FILE} beside it, or pass vocab_path"
            )
        return recorded
    vocabulary = read_vocabulary(vocab)
    if len(vocabulary) != dimensions.vocab_size:
        raise InputError(
            f"{weights} was trained on {counted(dimensions.vocab_size, 'ability tokens')}, but {vocab} holds "
            f"{len(vocabulary)}; use the vocabulary of this checkpoint"
        )
    if recorded is not None and recorded != vocabulary.pad_id:
        raise InputError(f"<PAD> is {vocabulary.pad_id} in {vocab}, but {PARAMS_FILE} beside {weights} says {recorded}")
    return vocabulary.pad_id


def _refuse_other_weapons(dimensions: SplatGPTDimensions, vocab: Path | None, weights: Path) -> None:
    if vocab is None:
        return
    n_weapons = len(read_contexts(vocab))
    if n_weapons != dimensions.weapon_vocab_size:
        raise InputError(
            f"{weights} was trained on {counted(dimensions.weapon_vocab_size, 'weapons')}, but {vocab} holds "
            f"{n_weapons}; use the weapon vocabulary of this checkpoint"
        )


def _refuse_other_tensors(model: SplatGPT, tensors: Mapping[str, Tensor], weights: Path) -> None:
    """Explain key by key how tensors differ from what a SplatGPT of these sizes has."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is not part of the architecture" for name in tensors if name not in expected]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    wrong += [
        f"{name} holds {tensors[name].dtype} instead of floating point numbers"
        for name in expected
        if name in tensors and not tensors[name].is_floating_point()
    ]
    if wrong:
        raise InputError(f"{weights} is not a SplatGPT of {_in_words(model.dimensions)}: {_first_faults(wrong)}")


def _refuse_non_finite(tensors: Mapping[str, Tensor], weights: Path) -> None:
    wrong = [
        f"{name} ({n_bad} of {tensor.numel()})"
        for name, tensor in tensors.items()
        if (n_bad := int((~torch.isfinite(tensor.to(torch.float32))).sum()))
    ]
    if wrong:
        raise InputError(
            f"{weights} holds NaN or infinite weights (as float32), as a training that diverged leaves: "
            f"{_first_faults(wrong)}"
        )


def _in_words(dimensions: SplatGPTDimensions) -> str:
    return (
        f"embedding {dimensions.embedding_dim}, hidden {dimensions.hidden_dim}, {dimensions.num_layers} layers, "
        f"{counted(dimensions.num_inducing_points, 'inducing points')}, "
        f"{'with' if dimensions.use_layer_norm else 'without'} layer norm"
    )


def _first_faults(wrong: list[str]) -> str:
    rest = len(wrong) - _PROBLEMS_SHOWN
    return "; ".join(wrong[:_PROBLEMS_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
