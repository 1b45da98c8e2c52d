"""Where torch computes: on the processor, or on the device that SPLAT_DEVICE or an option names."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from splat_assets.errors import InputError

if TYPE_CHECKING:
    import torch

DEVICE = "SPLAT_DEVICE"
"""The variable of the environment: `cpu` (default), `cuda`, `cuda:1`, or whatever else torch knows."""
CPU = "cpu"


def requested_device(environment: Mapping[str, str] = os.environ, otherwise: str = CPU) -> str:
    """What SPLAT_DEVICE says; `otherwise` where it says nothing."""
    return environment.get(DEVICE, "") or otherwise


def usable_device(name: "torch.device | str") -> "torch.device":
    """The device of this name; raises InputError where torch cannot compute on it here."""
    import torch

    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"torch cannot compute on the device {str(name)!r} here: {str(error).splitlines()[0]}"
        ) from error
