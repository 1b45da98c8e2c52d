"""Named tensors read from a checkpoint file, whatever its container, without running anything that is in it; and written.

`.pth` / `.pt` through torch's weights-only loader, `.safetensors` through safetensors. Wrapper dictionaries, the prefixes that
wrapped modules leave in names, and the counter of averaged models are taken off. What the tensors mean is `checkpoint`'s
business.

torch does not compare the checksums that its zip archives hold, so they are compared first. Neither safetensors nor the format
of torch before 1.6 has any.
"""

import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from splat_assets.errors import InputError

_WRAPPERS = ("model_state_dict", "state_dict", "model", "module")
"""Names under which trainers keep a model's tensors; `module` is DeepSpeed's."""
_WRAPPED_MODULES = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""What DistributedDataParallel and AveragedModel, torch.compile, FSDP, checkpointing and Lightning Fabric put into names."""
_OWN_ATTRIBUTE = "model"
"""Where a LightningModule keeps its model."""
_COUNTERS = {"n_averaged"}
"""What AveragedModel counts in; not part of the function."""
_MOST_LAYERS = 8
_ZIP = b"PK\x03\x04"
_DOS_DIRECTORY = 0x10


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, on the CPU.

    Raises InputError when the file is missing, truncated, damaged, not a checkpoint, or a pickle that would run code.
    """
    if not path.is_file():
        raise InputError(f"the checkpoint file {path} does not exist")
    if path.suffix == ".safetensors":
        held = _read_safetensors(path)
    else:
        _refuse_damaged_zip(path)
        held = _read_torch(path)
    return _with_bare_names(_named_tensors(held, path), path)


def has_checksums(path: Path) -> bool:
    """Whether a checkpoint file holds checksums of its own: torch's zip archives do."""
    with path.open("rb") as handle:
        return handle.read(len(_ZIP)) == _ZIP


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
            f"{path} was not loaded: it is not a plain dictionary of tensors, and unpickling it could run code"
            f"{_what_it_names(error)}; save model.state_dict() with torch.save, or use safetensors"
        ) from error
    except Exception as error:  # damaged bytes make torch's reader fail in every way there is, AssertionError included
        raise InputError(
            f"{path} cannot be read as a torch checkpoint ({_first_line(error)}); it is truncated or something else, "
            "copy it again"
        ) from error


def _refuse_damaged_zip(path: Path) -> None:
    """Compare every byte that torch reads of a zip archive with its checksum."""
    if not has_checksums(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
            # Marked as a folder, a member is empty for torch, whatever it holds.
            wrong = wrong or next((each.filename for each in archive.infolist() if _is_marked_folder(each)), None)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as a torch checkpoint ({_first_line(error)}); it is truncated or damaged, copy it again"
        ) from error
    if wrong:
        raise InputError(
            f"{path} is damaged: its part {wrong!r} fails the checksum that the file holds for it; copy it again"
        )


def _is_marked_folder(member: zipfile.ZipInfo) -> bool:
    return bool(member.external_attr & _DOS_DIRECTORY) and not member.is_dir()


def _named_tensors(held: object, path: Path) -> dict[str, Tensor]:
    held = _unwrapped(held, path)
    if not isinstance(held, Mapping) or not held:
        raise InputError(f"{path} holds {type(held).__name__}, not a dictionary of named tensors")
    for name, tensor in held.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(
                f"{path} holds {type(tensor).__name__} under {name!r}; a checkpoint is a dictionary of named tensors, "
                f"bare or under {' or '.join(_WRAPPERS)}"
            )
        kind = _unusual_kind(tensor)
        if kind:
            raise InputError(f"{path}: {name} is {kind}, not an ordinary array of numbers")
    return {str(name): tensor for name, tensor in held.items()}


def _unwrapped(held: object, path: Path) -> object:
    """The dictionary of tensors inside those that trainers put round it."""
    for _ in range(_MOST_LAYERS):
        if not isinstance(held, Mapping):
            break
        inside = [name for name in _WRAPPERS if _holds_tensors(held.get(name))]
        if len(inside) > 1:
            raise InputError(f"{path} holds tensors under {' and '.join(inside)}; save the intended model by itself")
        if not inside:
            break
        held = held[inside[0]]
    return held


def _holds_tensors(held: object, n_layers: int = _MOST_LAYERS) -> bool:
    """Whether a value is a dictionary with a tensor in it, below at most so many layers of wrappers."""
    if not isinstance(held, Mapping) or not n_layers:
        return False
    return any(isinstance(value, Tensor) for value in held.values()) or any(
        _holds_tensors(held.get(name), n_layers - 1) for name in _WRAPPERS
    )


def _unusual_kind(tensor: Tensor) -> str:
    """What makes a tensor no plain array in memory; empty for one that is."""
    if tensor.is_nested:
        return "nested, of rows of different lengths"
    if tensor.is_meta:
        return "on the meta device"
    if tensor.is_quantized:
        return "quantized"
    return "" if tensor.layout == torch.strided else str(tensor.layout)


def _with_bare_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors under the names that they have in a model that nothing wraps, without the counters of wrappers."""
    bare: dict[str, Tensor] = {}
    full_names: dict[str, str] = {}
    for name, tensor in tensors.items():
        short = _bare_name(name)
        if short in _COUNTERS:
            continue
        if short in bare:
            raise InputError(
                f"{path} holds {short} twice, as {full_names[short]} and as {name}, both with and without the "
                f"prefix of a "
                "wrapper; save the intended one"
            )
        bare[short], full_names[short] = tensor, name
    return bare


def _bare_name(name: str) -> str:
    """A tensor's name less what wrappers put before and into it: `module._orig_mod.model.w` is `w`."""
    parts = [part for part in name.split(".")[:-1] if part not in _WRAPPED_MODULES]
    while parts[:1] == [_OWN_ATTRIBUTE]:
        parts = parts[1:]
    return ".".join([*parts, name.split(".")[-1]])


def _what_it_names(error: Exception) -> str:
    """What a pickle asks for; torch's own words advise to load it all the same."""
    match = re.search(r"GLOBAL (\S+)", str(error))
    return f" (it names {match[1]})" if match else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
