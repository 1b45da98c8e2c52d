"""Does an SAE belong to a base model and a hook? It records what it was trained on; mixing is refused, not guessed away."""

from pathlib import Path
from typing import TYPE_CHECKING

from splat_assets.errors import InputError
from splat_assets.model.hooks import HookPoint
from splat_assets.store.errors import FingerprintMismatchError

if TYPE_CHECKING:
    from splat_assets.model.protocol import BaseModel
    from splat_assets.sae import Sae


def hook_for(sae: "Sae", given: HookPoint | None) -> HookPoint:
    """The hook the SAE records, or the given one, or `masked_mean`; InputError when record and given differ.

    Layer and module tell hooks apart where there are several: at `token_ff`.
    """
    recorded = sae.metadata.get("provenance", {})
    if "hook_target" not in recorded:
        return given or HookPoint("masked_mean")
    trained_at = HookPoint(recorded["hook_target"], recorded["layer_index"], recorded["ff_module_index"])
    same = given is None or given.target == trained_at.target and (given == trained_at or not given.per_token)
    if given is not None and not same:
        raise InputError(
            f"the SAE was trained at {_in_words(trained_at)}, not at {_in_words(given)}; take activations where it was trained"
        )
    return given or trained_at


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
