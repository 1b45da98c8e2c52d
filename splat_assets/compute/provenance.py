"""Checks that an SAE belongs to a base model and a hook, by what it records of its training; a mismatch is an error."""

from pathlib import Path
from typing import TYPE_CHECKING

from splat_assets.errors import InputError
from splat_assets.model.hooks import HookPoint
from splat_assets.store.errors import FingerprintMismatchError

if TYPE_CHECKING:
    from splat_assets.model.protocol import BaseModel
    from splat_assets.sae import Sae


def hook_for(sae: "Sae", requested: HookPoint | None, num_layers: int) -> HookPoint:
    """The hook the SAE records, or the requested one, or `masked_mean`, in a model of so many layers.

    Raises InputError when the two differ, or when either is not in the model.
    """
    recorded = sae.metadata.get("provenance", {})
    hook = requested.in_model(num_layers) if requested is not None else None
    if not isinstance(recorded, dict) or "hook_target" not in recorded:
        return hook or HookPoint("masked_mean")
    layer, module = recorded.get("layer_index", -1), recorded.get("ff_module_index", 2)
    if type(layer) is not int or type(module) is not int:
        raise InputError(f"the SAE records an invalid hook: layer {layer!r}, module {module!r}")
    trained_at = HookPoint(recorded["hook_target"], layer, module).in_model(num_layers)
    if hook is not None and hook != trained_at:
        raise InputError(
            f"the SAE was trained at {_in_words(trained_at)}, not at {_in_words(hook)}; take activations where it "
            f"was trained"
        )
    return trained_at


def refuse_other_model(sae: "Sae", where: Path, model: "BaseModel", hook: HookPoint) -> None:
    """Raise unless the SAE reads vectors as wide as the hook gives, and was trained on this model where it says on which."""
    width = model.hook_width(hook.target, hook.ff_module_index)
    if sae.d_in != width:
        raise InputError(
            f"SAE {where} reads vectors of width {sae.d_in}, but {hook.target} of this base model gives {width}; "
            "use the SAE that was trained on it"
        )
    recorded = sae.metadata.get("provenance", {}).get("base_model")
    if recorded is not None and recorded != model.fingerprint:
        raise FingerprintMismatchError(
            f"SAE {where} was trained on another base model",
            recorded,
            model.fingerprint,
            "use the model it was trained on",
        )


def _in_words(hook: HookPoint) -> str:
    return f"{hook.target} (layer {hook.layer_index}, module {hook.ff_module_index})" if hook.per_token else hook.target
