"""Interaction of two abilities: an additive fit, its residual, and the significance of that.

Cells are the rungs of one ability by those of the other. The null hypothesis is that cell means are a row's part plus a
column's part. Activations are mostly 0 and spread differently in every cell, so no common variance is assumed: the null
distribution comes from the cells' own spread.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
N_DRAWS = 999
LEAST_IN_CELL = 5
_FEW = 200


@dataclass(frozen=True, slots=True)
class Interaction:
    """The residual of an additive fit.

    fitted: additive fit of the cell means, shape of the cells, NaN where a cell is not used. share: interaction share of the
    between-cell sum of squares, 0 (plainly additive) to 1. p: how often chance alone leaves as much, (1 + k) / (1 + n_draws).
    n_cells: cells used. Where rows and columns overlap too little to tell (no degree of freedom), share and p are None.
    """

    fitted: Floats
    share: float | None
    p: float | None
    n_cells: int


def additive_fit(means: Floats, weights: Floats) -> Floats:
    """Weighted least squares of row part + column part, shape of means; NaN outside the cells with weight > 0."""
    used = weights > 0
    rows, columns = np.nonzero(used)
    design = _design(rows, columns, means.shape)
    root = np.sqrt(weights[used])
    parts, *_ = np.linalg.lstsq(design * root[:, None], means[used] * root, rcond=None)
    fitted = np.full(means.shape, np.nan)
    fitted[used] = design @ parts
    return fitted


def interaction_of_cells(
    codes: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    n: npt.NDArray[np.integer],
    rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> Interaction:
    """The interaction in observed samples: unequal numbers in cells, zeros included.

    n: samples in each cell, int, shape (n_rows, n_columns). codes, values: of the samples with an activation > 0 the cell (row
    * n_columns + column) and the activation. Cells with fewer than LEAST_IN_CELL samples are left out. The null draws sums of
    resampled deviations from each cell's own mean (a bootstrap within cells) around the additive fit; cells with many activations
    are drawn from the normal distribution with the same variance.
    """
    shape = n.shape
    total = np.bincount(codes, weights=values, minlength=n.size).astype(np.float64).reshape(shape)
    squares = (
        np.bincount(codes, weights=values.astype(np.float64) ** 2, minlength=n.size).astype(np.float64).reshape(shape)
    )
    used = n >= LEAST_IN_CELL
    weights = np.where(used, n, 0).astype(np.float64)
    means = np.where(used, total / np.maximum(n, 1), 0.0)
    rows, columns = np.nonzero(used)
    design = _design(rows, columns, shape)
    free = rows.size - _basis(design).shape[1] if rows.size else 0
    if free < 1:
        return Interaction(np.full(shape, np.nan), None, None, int(rows.size))
    fitted = additive_fit(means, weights)
    left, between = _sums_of_squares(means[used], fitted[used], weights[used])
    draws = _cell_noise(codes, values, n, total, squares, used, rng, n_draws)
    # What a fit leaves of the fit plus noise is what it leaves of the noise, as it is linear.
    root = np.sqrt(weights[used])
    basis = _basis(design * root[:, None])
    scaled = draws * root
    null = np.square(scaled - (scaled @ basis) @ basis.T).sum(axis=1)
    p = (1 + int((null >= left * (1 - 1e-12)).sum())) / (1 + n_draws)
    return Interaction(fitted, left / between if between > 0 else None, p if between > 0 else None, int(rows.size))


def interaction_of_factorial(
    responses: npt.NDArray[np.floating], rng: np.random.Generator, n_draws: int = N_DRAWS
) -> Interaction:
    """The interaction where every build was edited into every cell: shape (n_builds, n_rows, n_columns), without NaN.

    Each build has its own additive part taken off; the null flips the sign of what is left, build by build.
    """
    wide = responses.astype(np.float64)
    n_builds, n_rows, n_columns = wide.shape
    means = wide.mean(axis=0)
    fitted = means.mean(axis=1, keepdims=True) + means.mean(axis=0, keepdims=True) - means.mean()
    left, between = _sums_of_squares(means, fitted, np.ones_like(means))
    if n_builds < 2 or n_rows < 2 or n_columns < 2 or between <= 0:
        return Interaction(fitted, left / between if between > 0 else None, None, means.size)
    own = (
        wide
        - wide.mean(axis=2, keepdims=True)
        - wide.mean(axis=1, keepdims=True)
        + wide.mean(axis=(1, 2), keepdims=True)
    )
    signs = rng.choice([-1.0, 1.0], size=(n_draws, n_builds))
    null = np.square(signs @ own.reshape(n_builds, -1) / n_builds).sum(axis=1)
    p = (1 + int((null >= left * (1 - 1e-12)).sum())) / (1 + n_draws)
    return Interaction(fitted, left / between, p, means.size)


def _design(rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], shape: tuple[int, ...]) -> Floats:
    design = np.zeros((rows.size, shape[0] + shape[1]))
    at = np.arange(rows.size)
    design[at, rows] = 1
    design[at, shape[0] + columns] = 1
    return design


def _basis(matrix: Floats) -> Floats:
    """Orthonormal columns that span those of the matrix, which need not be independent."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    basis: Floats = left[:, singular > singular.max() * max(matrix.shape) * np.finfo(np.float64).eps]
    return basis


def _sums_of_squares(means: Floats, fitted: Floats, weights: Floats) -> tuple[float, float]:
    """Residual and total sum of squares between cells."""
    grand = float((weights * means).sum() / weights.sum())
    return float((weights * (means - fitted) ** 2).sum()), float((weights * (means - grand) ** 2).sum())


def _cell_noise(
    codes: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    n: npt.NDArray[np.integer],
    total: Floats,
    squares: Floats,
    used: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    n_draws: int,
) -> Floats:
    """Errors of the cell means under resampling within cells: shape (n_draws, n_used_cells)."""
    counts, sums, square = n[used].astype(np.float64), total[used], squares[used]
    variance = np.maximum(square / counts - (sums / counts) ** 2, 0) * counts / np.maximum(counts - 1, 1)
    noise = rng.standard_normal((n_draws, counts.size)) * np.sqrt(variance / counts)
    order = np.argsort(codes, kind="stable")
    ordered, held = codes[order], values[order].astype(np.float64)
    for at, cell in enumerate(np.flatnonzero(used.reshape(-1)).tolist()):
        first, stop = np.searchsorted(ordered, [cell, cell + 1])
        if 0 < stop - first < _FEW:
            size = int(counts[at])
            drawn = rng.binomial(size, (stop - first) / size, size=n_draws)
            picked = held[first + rng.integers(0, stop - first, size=int(drawn.sum()))]
            edges = np.concatenate([[0], np.cumsum(drawn)])
            running = np.concatenate([[0.0], np.cumsum(picked)])
            noise[:, at] = (running[edges[1:]] - running[edges[:-1]]) / size - sums[at] / size
    return noise
