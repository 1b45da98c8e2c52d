"""Selection of activations of a feature: a frozen value, and its result as row numbers.

Steps, in this order: filter (value, weapon, tokens), draw a sample, sort, cut to a page. No I/O here.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from splat_serving.database.errors import ParameterError

Order = Literal["index", "activation"]
MOST_ROWS = 2**53
"""Beyond every store, and the largest integer that every JSON reader keeps."""
MOST_SEED = 2**63 - 1
"""The largest integer of 64 bits."""


def _is_text(text: str) -> bool:
    """Whether UTF-8 can encode it: not a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_finite(name: str, value: float | None) -> None:
    """Raise ParameterError unless the value is None or a finite number."""
    try:
        valid = value is None or (isinstance(value, Real) and math.isfinite(value))
    except OverflowError:  # a whole number that no float holds
        valid = False
    if not valid:
        raise ParameterError(name, f"must be a finite number, not {value!r:.60}")


def check_count(name: str, value: int, most: int = MOST_ROWS) -> None:
    """Raise ParameterError unless the value is a whole number from 0 to most."""
    try:
        valid = 0 <= operator.index(value) <= most
    except TypeError:
        valid = False
    if not valid:
        raise ParameterError(name, f"must be 0 or more, a whole number of at most {most}, not {value!r:.60}")


def check_names(name: str, names: Sequence[str]) -> None:
    """Raise ParameterError unless the value is a sequence of strings (a single string is not)."""
    if not isinstance(names, tuple | list) or not all(isinstance(one, str) and _is_text(one) for one in names):
        raise ParameterError(name, f"must be a sequence of texts, ids too, such as ('12',), and not {names!r:.60}")


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of activations of one feature. Default: all of them, in sample order."""

    order: Order = "index"
    """index: by rising sample id. activation: strongest first, equal ones by sample id."""
    min_activation: float | None = None
    """Only values of at least this."""
    max_activation: float | None = None
    """Only values of at most this."""
    weapon: tuple[str, ...] = ()
    """Only samples with one of these weapons, named by id, key or name."""
    token: tuple[str, ...] = ()
    """Only samples that hold every one of these tokens, named by id or name."""
    sample_frac: float | None = None
    """Share of the matching rows to draw, without replacement."""
    seed: int = 0
    """Seed of that draw."""
    offset: int = 0
    """Number of rows to skip."""
    limit: int | None = None
    """Largest number of rows."""

    def __post_init__(self) -> None:
        for name in ("min_activation", "max_activation", "sample_frac"):
            check_finite(name, getattr(self, name))
        if self.sample_frac is not None and not 0 < self.sample_frac <= 1:
            raise ParameterError("sample_frac", f"must be above 0 and at most 1, not {self.sample_frac}")
        check_count("seed", self.seed, MOST_SEED)
        check_count("offset", self.offset)
        if self.limit is not None:
            check_count("limit", self.limit)
        for name in ("weapon", "token"):
            check_names(name, getattr(self, name))
        if self.order not in ("index", "activation"):
            raise ParameterError("order", f"must be index or activation, not {self.order!r}")

    @property
    def keeps_all(self) -> bool:
        """Whether no activation is filtered out, before any drawing or cutting."""
        return self.min_activation is None and self.max_activation is None and not self.weapon and not self.token


def matching_values(selection: Selection, values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
    """Which values lie within the bounds: shape of values; None without bounds.

    Bounds are rounded to float32, like values, so that a displayed value matches itself as a bound.
    """
    kept: npt.NDArray[np.bool_] | None = None
    if selection.min_activation is not None:
        kept = values >= _as_stored(selection.min_activation)
    if selection.max_activation is not None:
        below = values <= _as_stored(selection.max_activation)
        kept = below if kept is None else kept & below
    return kept


def _as_stored(bound: float) -> np.float32:
    with np.errstate(over="ignore"):  # beyond float32: infinity, which no value reaches
        return np.float32(bound)


def page(selection: Selection, values: npt.NDArray[np.float32], feature_id: int) -> slice | npt.NDArray[np.intp]:
    """Which of the matching values are returned, in the selected order: a slice if possible.

    values: float32, shape (n_matching,), in sample order. feature_id: part of the seed of the draw.
    """
    drawn = _drawn(selection, values.size, feature_id)
    stop = None if selection.limit is None else selection.offset + selection.limit
    if selection.order == "index":
        return slice(selection.offset, stop) if drawn is None else drawn[selection.offset : stop]
    return _largest_positions(values, drawn, stop)[selection.offset : stop]


def _drawn(selection: Selection, n: int, feature_id: int) -> npt.NDArray[np.intp] | None:
    if selection.sample_frac is None or selection.sample_frac == 1:
        return None
    generator = np.random.default_rng((selection.seed, feature_id))
    return np.sort(generator.choice(n, round(selection.sample_frac * n), replace=False)).astype(np.intp)


def _largest_positions(
    values: npt.NDArray[np.float32], among: npt.NDArray[np.intp] | None, n: int | None
) -> npt.NDArray[np.intp]:
    """Positions of the n largest of values[among], largest first, equal ones in order."""
    pool: npt.NDArray[Any] = values if among is None else values[among]
    candidates = np.arange(pool.size)
    if n is not None and n < pool.size // 4:
        threshold = np.partition(pool, pool.size - n)[pool.size - n] if n else np.inf
        candidates = np.flatnonzero(pool >= threshold)
    order = candidates[np.argsort(-pool[candidates], kind="stable")]
    return order if among is None else among[order]
