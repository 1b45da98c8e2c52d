"""What the base model loses with the SAE in place: its predictions against those with the mean or nothing in place."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.errors import InputError

if TYPE_CHECKING:
    from splat_assets.data.builds import Builds
    from splat_assets.model.protocol import BaseModel

_BATCH_BUILDS = 512
_TOP = (1, 10)


class Reconstructs(Protocol):
    """Whatever rebuilds activations; an `Sae` does."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """x rebuilt, same shape."""
        ...


def downstream_fidelity(
    model: "BaseModel",
    sae: Reconstructs,
    builds: "Builds",
    rows: npt.NDArray[np.int64],
    *,
    mean: npt.NDArray[np.float32],
    hook_target: str = "masked_mean",
    layer_index: int = -1,
    ff_module_index: int = 2,
) -> dict[str, float | None]:
    """Compare the base model's predictions for the builds `rows` as they are and with the hook's values replaced.

    mean: float32, shape (d,), what mean-ablation puts in place: the mean of the training activations.

    For `sae`, `mean` and `zero` (and `original` for bce): bce_*: binary cross-entropy per token against the build's own
    tokens. kl_*: Bernoulli KL(original || replaced) per token, in nats. top1_change_*, top10_change_*: share of the original
    1 or 10 likeliest tokens that are no longer among them. fidelity: 1 - kl_sae / kl_mean, 1 for a perfect reconstruction
    and 0 for the mean; fidelity_to_zero the same against zero; bce_recovered: the share of the loss that mean-ablation adds
    which the SAE wins back. n_fidelity_builds: how many builds these are over. A share of what ablation costs is None where
    ablation costs nothing.
    """
    if rows.size == 0:
        raise InputError("there are no builds to measure downstream fidelity on")
    centre = torch.from_numpy(np.asarray(mean, dtype=np.float32))
    replacements: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sae": sae.reconstruct,
        "mean": lambda x: centre.to(x).expand_as(x),
        "zero": torch.zeros_like,
    }
    hook = {"hook_target": hook_target, "layer_index": layer_index, "ff_module_index": ff_module_index}
    totals: dict[str, float] = {}
    with torch.no_grad():
        for start in range(0, rows.size, _BATCH_BUILDS):
            chosen = rows[start : start + _BATCH_BUILDS]
            tokens, weapons = (torch.from_numpy(part) for part in builds.batch(chosen, model.pad_id))
            original = model(tokens, weapons).double()
            target = _multi_hot(tokens, model.pad_id, original.shape[1])
            _add(totals, "bce_original", _bce(original, target))
            for name, replace in replacements.items():
                replaced = model.logits_with(tokens, weapons, replace, **hook).double()  # type: ignore[arg-type]
                _add(totals, f"bce_{name}", _bce(replaced, target))
                _add(totals, f"kl_{name}", _kl(original, replaced))
                for top in _TOP:
                    _add(totals, f"top{top}_change_{name}", _top_change(original, replaced, top))
    means = {name: total / rows.size for name, total in totals.items()}
    return {
        "fidelity": _recovered(means["kl_sae"], means["kl_mean"]),
        "fidelity_to_zero": _recovered(means["kl_sae"], means["kl_zero"]),
        "bce_recovered": _recovered(
            means["bce_sae"] - means["bce_original"], means["bce_mean"] - means["bce_original"]
        ),
        "n_fidelity_builds": rows.size,
        **means,
    }


def _add(totals: dict[str, float], name: str, per_row: torch.Tensor) -> None:
    totals[name] = totals.get(name, 0.0) + float(per_row.sum())


def _recovered(lost: float, lost_by_ablation: float) -> float | None:
    return 1 - lost / lost_by_ablation if lost_by_ablation > 0 else None


def _multi_hot(tokens: torch.Tensor, pad_id: int, n_outputs: int) -> torch.Tensor:
    target = torch.zeros((tokens.shape[0], max(n_outputs, pad_id + 1)), dtype=torch.float64)
    target.scatter_(1, tokens, 1.0)
    target[:, pad_id] = 0
    return target[:, :n_outputs]


def _bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)


def _kl(original: torch.Tensor, replaced: torch.Tensor) -> torch.Tensor:
    """KL of independent Bernoullis given by logits: p (l - l') + softplus(l') - softplus(l)."""
    softplus = torch.nn.functional.softplus
    gap = original.sigmoid() * (original - replaced) + softplus(replaced) - softplus(original)
    return gap.clamp(min=0).mean(dim=1)


def _top_change(original: torch.Tensor, replaced: torch.Tensor, top: int) -> torch.Tensor:
    top = min(top, original.shape[1])
    before, after = original.topk(top, dim=1).indices, replaced.topk(top, dim=1).indices
    kept = (before[:, :, None] == after[:, None, :]).any(dim=2)
    return 1 - kept.double().mean(dim=1)
