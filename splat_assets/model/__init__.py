"""The base model: SplatGPT in torch, loading it, its hook points and interventions.

`from splat_assets.model import load_base_model, SplatGPT`; torch is imported on first use, not with the package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splat_assets.model.checkpoint import load_base_model as load_base_model
    from splat_assets.model.checkpoint import save_base_model as save_base_model
    from splat_assets.model.hooks import HOOK_TARGETS as HOOK_TARGETS
    from splat_assets.model.hooks import HookActivations as HookActivations
    from splat_assets.model.protocol import BaseModel as BaseModel
    from splat_assets.model.splatgpt import SplatGPT as SplatGPT

_HOMES = {
    "BaseModel": "protocol",
    "HOOK_TARGETS": "hooks",
    "HookActivations": "hooks",
    "SplatGPT": "splatgpt",
    "load_base_model": "checkpoint",
    "save_base_model": "checkpoint",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
