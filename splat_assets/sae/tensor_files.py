"""Reading named tensors from files that somebody else may have made: never by unpickling code, and with every fault named."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from splat_assets.errors import InputError

Tensors = dict[str, torch.Tensor]


def read_tensors(path: Path) -> Tensors:
    """The tensors of a .safetensors or .pth file, on the CPU, without DDP's `module.` prefixes.

    Raises InputError when the file is missing, cut short, would run code when unpickled, or holds no tensors.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is not a file")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)


def _read_safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}); copy it again") from error


def _read_pth(path: Path) -> Tensors:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and unpickling it could run code: it is refused; "
            "save its state_dict, or convert it to safetensors where you trust it"
        ) from error
    except (RuntimeError, EOFError, ValueError, zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path} is not a whole torch file ({str(error).splitlines()[0]}); copy it again") from error
    return _state_dict(held, path)


def _state_dict(held: Any, path: Path) -> Tensors:
    for wrapper in ("model_state_dict", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(wrapper), dict):
            held = held[wrapper]
    if not isinstance(held, dict) or not held or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise InputError(f"{path} does not hold a state_dict: expected a dictionary of named tensors")
    return {str(name).removeprefix("module."): value for name, value in held.items()}


def checked(tensors: Tensors, shapes: dict[str, tuple[int, ...]], path: Path) -> Tensors:
    """The named tensors as float32; raises InputError naming every one that is missing, mis-shaped or not finite."""
    wrong = []
    for name, shape in shapes.items():
        if name not in tensors:
            wrong.append(f"{name} is missing (there are: {', '.join(sorted(tensors))})")
        elif tuple(tensors[name].shape) != shape:
            wrong.append(f"{name} has shape {tuple(tensors[name].shape)} where {shape} is needed")
        elif not tensors[name].is_floating_point():
            wrong.append(f"{name} holds {tensors[name].dtype}, not floating point numbers")
        elif not torch.isfinite(tensors[name]).all():
            n_bad = int((~torch.isfinite(tensors[name])).sum())
            wrong.append(f"{name} holds {n_bad:,} values that are NaN or infinite")
    if wrong:
        raise InputError(f"{path} is not a usable SAE: {'; '.join(wrong)}")
    return {name: tensors[name].to(torch.float32) for name in shapes}
