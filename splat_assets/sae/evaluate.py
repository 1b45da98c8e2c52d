"""How well an SAE rebuilds activations: error, sparsity, dead and dense features, over rows read in blocks."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

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
    """
    if rows.size == 0:
        raise InputError("there are no rows to measure an SAE on")
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
