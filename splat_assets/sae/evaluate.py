"""How well an SAE rebuilds activations, over rows read in blocks, and what the base model loses with the SAE in place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.errors import InputError
from splat_assets.sae.autoencoder import Sae

_BLOCK_ROWS = 4096
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class _Sums:
    x: npt.NDArray[np.float64]
    fired: npt.NDArray[np.int64]
    n_not_zero: int = 0
    square: float = 0.0
    error: float = 0.0
    cosine: float = 0.0
    ratio: float = 0.0
    inner: float = 0.0
    rebuilt_square: float = 0.0
    active: list[npt.NDArray[np.int64]] = field(default_factory=list)


def reconstruction_metrics(
    sae: Sae, activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Figures over rows of activations.

    fvu: E||x - x_hat||^2 / E||x - mean||^2, mean over these rows; explained_variance: 1 - fvu. l0_mean and l0_qNN: active
    features per row. dead_percent: features that fire on none of these rows. dense_percent, dense_1_percent: features that
    fire on more than 10 % and 1 % of them. cosine, l2_ratio: means of cos(x, x_hat) and ||x_hat|| / ||x|| over rows that are
    not 0 (0.0 where all are). relative_bias: E||x_hat||^2 / E[x . x_hat], below 1 where activations shrink.
    gamma: ||mean|| / sqrt(E||x - mean||^2).

    Args:
        activations: float32, shape (n, d_in), an array or a memory map; read in blocks.
        rows: int64, those to measure on.

    Raises:
        InputError: rows is empty.

    Examples:
        >>> zeros = torch.zeros(2)
        >>> sae = Sae(torch.eye(2), zeros, torch.eye(2), zeros, zeros, architecture="relu")
        >>> figures = reconstruction_metrics(sae, np.float32([[1, 0], [0, 1], [1, -1]]), np.arange(3))
        >>> round(figures["fvu"], 3), figures["l0_mean"], figures["dead_percent"]
        (0.375, 1.0, 0.0)
    """
    if rows.size == 0:
        raise InputError("an SAE is measured on at least one row; rows is empty")
    sums = _Sums(np.zeros(sae.d_in), np.zeros(sae.d_sae, dtype=np.int64))
    for start in range(0, rows.size, _BLOCK_ROWS):
        _add(sums, sae, np.asarray(activations[rows[start : start + _BLOCK_ROWS]], dtype=np.float32))
    return _figures(sums, sae, rows.size)


def live_features(sae: Sae, activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool, shape (d_sae,): the features that fire on any of the rows."""
    live = np.zeros(sae.d_sae, dtype=np.bool_)
    for start in range(0, rows.size, _BLOCK_ROWS):
        block = np.asarray(activations[rows[start : start + _BLOCK_ROWS]], dtype=np.float32)
        live[sae.encode_rows(block).feature_ids] = True
    return live


def _add(sums: _Sums, sae: Sae, x: npt.NDArray[np.float32]) -> None:
    encoded = sae.encode_rows(x)
    rebuilt = sae.decode_rows(encoded).astype(np.float64)
    values = x.astype(np.float64)
    from_centre = values - sae.b_dec.cpu().numpy()
    sums.x += from_centre.sum(axis=0)
    sums.square += float(np.square(from_centre).sum())
    sums.error += float(np.square(values - rebuilt).sum())
    inner = np.einsum("nd,nd->n", values, rebuilt)
    norms, rebuilt_norms = np.linalg.norm(values, axis=1), np.linalg.norm(rebuilt, axis=1)
    some = norms > 0
    safe, rebuilt_safe = norms[some], np.maximum(rebuilt_norms[some], 1e-30)
    sums.n_not_zero += int(some.sum())
    sums.cosine += float((inner[some] / (safe * rebuilt_safe)).sum())
    sums.ratio += float((rebuilt_norms[some] / safe).sum())
    sums.inner += float(inner.sum())
    sums.rebuilt_square += float(np.square(rebuilt_norms).sum())
    sums.fired += np.bincount(encoded.feature_ids, minlength=sae.d_sae)
    sums.active.append(np.diff(encoded.indptr))


def _figures(sums: _Sums, sae: Sae, n_rows: int) -> dict[str, float]:
    from_centre = sums.x / n_rows
    variance = sums.square / n_rows - float(from_centre @ from_centre)
    mean = from_centre + sae.b_dec.cpu().numpy()
    active = np.concatenate(sums.active)
    fvu = sums.error / n_rows / variance if variance > 0 else float(sums.error > 0)
    share = sums.fired / n_rows
    return {
        "n_rows": n_rows,
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "l0_mean": float(active.mean()),
        **{f"l0_q{round(q * 100):02d}": float(np.quantile(active, q)) for q in _QUANTILES},
        "dead_percent": float(100 * (sums.fired == 0).mean()),
        "dense_percent": float(100 * (share > 0.1).mean()),
        "dense_1_percent": float(100 * (share > 0.01).mean()),
        "cosine": sums.cosine / max(1, sums.n_not_zero),
        "l2_ratio": sums.ratio / max(1, sums.n_not_zero),
        "relative_bias": sums.rebuilt_square / sums.inner if sums.inner > 0 else 0.0,
        "gamma": float(np.linalg.norm(mean) / np.sqrt(variance)) if variance > 0 else 0.0,
    }


if TYPE_CHECKING:
    from splat_assets.data.builds import Builds
    from splat_assets.model.protocol import BaseModel

_BATCH_BUILDS = 512
_TOP = (1, 10)


def downstream_fidelity(
    model: "BaseModel",
    reconstruct: Callable[[torch.Tensor], torch.Tensor],
    builds: "Builds",
    rows: npt.NDArray[np.int64],
    *,
    mean: npt.NDArray[np.float32],
    hook_target: str = "masked_mean",
    layer_index: int = -1,
    ff_module_index: int = 2,
) -> dict[str, float | None]:
    """Compare the base model's predictions for the builds `rows` as they are and with the hook's values replaced.

    For `sae`, `mean` and `zero` (and `original` for bce): bce_*: binary cross-entropy per token against the build's own
    tokens. kl_*: Bernoulli KL(original || replaced) per token, in nats. top1_change_*, top10_change_*: share of the original
    1 or 10 likeliest tokens that are no longer among them. fidelity: 1 - kl_sae / kl_mean, 1 for a perfect reconstruction
    and 0 for the mean; fidelity_to_zero the same against zero; bce_recovered: the share of the loss that mean-ablation adds
    which the SAE wins back. n_fidelity_builds: how many builds these are over. A share of what ablation costs is None where
    ablation costs nothing.

    Args:
        reconstruct: gives activations (n, d) as the SAE rebuilds them, same shape: `Sae.reconstruct`.
        rows: int64, the builds to compare on.
        mean: float32, shape (d,), what mean-ablation puts in place: the mean of the training activations.

    Raises:
        InputError: rows is empty.
    """
    if rows.size == 0:
        raise InputError("downstream fidelity is measured on at least one build; rows is empty")
    centre = torch.from_numpy(np.asarray(mean, dtype=np.float32))
    replacements: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sae": reconstruct,
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
            _add_rows(totals, "bce_original", _bce(original, target))
            for name, replace in replacements.items():
                replaced = model.logits_with(tokens, weapons, replace, **hook).double()  # type: ignore[arg-type]
                _add_rows(totals, f"bce_{name}", _bce(replaced, target))
                _add_rows(totals, f"kl_{name}", _kl(original, replaced))
                for top in _TOP:
                    _add_rows(totals, f"top{top}_change_{name}", _top_change(original, replaced, top))
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


def _add_rows(totals: dict[str, float], name: str, per_row: torch.Tensor) -> None:
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
