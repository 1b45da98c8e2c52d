"""Named tensors read from a checkpoint file, whatever its container, without running anything that is in it; and written.

`.pth` / `.pt` through torch's weights-only loader, `.safetensors` through safetensors. Wrapper dictionaries and the
prefixes that distributed training leaves are taken off. What the tensors mean is `checkpoint`'s business.
"""

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from splat_assets.errors import InputError

_WRAPPERS = ("model_state_dict", "state_dict")
_DISTRIBUTED_PREFIX = "module."


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, on the CPU.

    Raises InputError when the file is missing, truncated, no checkpoint, or a pickle that would run code.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint file {path}")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _without_distributed_prefix(_named_tensors(found, path), path)


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to path; what the disk refuses is an OSError, as with any other file."""
    try:
        save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:
        refused = re.search(r"os error (\d+)", str(error))
        if not refused:
            raise
        raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(path)) from error


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}); it is truncated or something else, copy it again"
        ) from error


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # the error below says more
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} was not loaded: it is no plain dictionary of tensors, and unpickling it could run code"
            f"{_what_it_names(error)}; save model.state_dict() with torch.save, or use safetensors"
        ) from error
    except Exception as error:  # damaged bytes make torch's reader fail in every way there is, AssertionError included
        raise InputError(
            f"{path} cannot be read as a torch checkpoint ({_first_line(error)}); it is truncated or something else, "
            "copy it again"
        ) from error


def _named_tensors(found: object, path: Path) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(found.get(wrapper), Mapping):
                found = found[wrapper]
                break
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path} holds {type(found).__name__}, not a dictionary of named tensors")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(
                f"{path} holds {type(tensor).__name__} under {name!r}; a checkpoint is a dictionary of named tensors, "
                f"bare or under {' or '.join(_WRAPPERS)}"
            )
        kind = _unusual_kind(tensor)
        if kind:
            raise InputError(f"{path}: {name} is {kind}, not an ordinary array of numbers")
    return {str(name): tensor for name, tensor in found.items()}


def _unusual_kind(tensor: Tensor) -> str:
    """What makes a tensor no plain array in memory; empty for one that is."""
    if tensor.is_meta:
        return "on the meta device"
    if tensor.is_quantized:
        return "quantized"
    return "" if tensor.layout == torch.strided else str(tensor.layout)


def _without_distributed_prefix(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    bare = {name.removeprefix(_DISTRIBUTED_PREFIX): tensor for name, tensor in tensors.items()}
    if len(bare) != len(tensors):
        twice = next(name for name in tensors if f"{_DISTRIBUTED_PREFIX}{name}" in tensors)
        raise InputError(f"{path} holds {twice} both with and without the prefix {_DISTRIBUTED_PREFIX}")
    return bare


def _what_it_names(error: Exception) -> str:
    """What a pickle asks for; torch's own words advise to load it all the same."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" (it names {found[1]})" if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
