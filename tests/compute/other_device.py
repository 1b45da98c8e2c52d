"""A device that is not the processor, for tests on machines that have none: `other`, registered with torch as GPUs are.

What is on it is computed on the processor, but torch takes it for somewhere else: it cannot be mixed with tensors that are
here, nor seen from numpy, before it is brought here. So code that would fail on a GPU for want of a move fails on it.
"""

from functools import cache
from typing import Any

import torch
from torch.utils import _pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "other"
_MOVES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class _Elsewhere(torch.Tensor):
    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_Elsewhere":
        with torch.inference_mode(False):  # in which torch makes no such tensors
            made: _Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=f"{NAME}:0",
            )
        made.held = held
        return made

    def __init__(self, held: torch.Tensor) -> None:
        pass

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _called(func, *args, **(kwargs or {}))


def _called(func: Any, *args: Any, **kwargs: Any) -> Any:
    tensors = [value for value in _pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, _Elsewhere)]
    here = [tensor for tensor in tensors if not isinstance(tensor, _Elsewhere) and tensor.dim() > 0]
    if there and here and func not in _MOVES:
        raise RuntimeError(f"{func} of tensors on two devices: shapes {[tuple(tensor.shape) for tensor in tensors]}")
    stays = bool(there)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": "cpu", "pin_memory": None}
    args, kwargs = _pytree.tree_map(lambda value: getattr(value, "held", value), (args, kwargs))
    result = func(*args, **kwargs)
    return _pytree.tree_map(lambda value: _kept(value, there) if stays else value, result)


def _kept(value: Any, there: list[_Elsewhere]) -> Any:
    """A result as a tensor of the device: the argument itself where it was changed in place."""
    if not isinstance(value, torch.Tensor):
        return value
    same = [tensor for tensor in there if tensor.held is value]
    return same[0] if same else _Elsewhere(value)


@cache
def register() -> str:
    """Make the device known to torch, once in a process; returns its name."""
    _setup_privateuseone_for_python_backend(NAME)
    global _library
    _library = torch.library.Library("_", "IMPL")
    _library.fallback(_called, "PrivateUse1")
    return NAME


_library: torch.library.Library
