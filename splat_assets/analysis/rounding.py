"""The tolerance for comparing a stored activation with a recomputed one.

Another batch size, number of threads or device adds the same products in another order. What differs by more than that can do is
another model, SAE or build.
"""

import numpy as np
import numpy.typing as npt

OF_VALUE = 1e-3
"""An activation may differ by this share of itself ..."""
OF_SCALE = 1e-5
"""... or by this share of what was multiplied and added up to it, which may be far larger."""


def same_activations(
    stored: npt.ArrayLike, fresh: npt.ArrayLike, scale: npt.ArrayLike, threshold: npt.ArrayLike = 0.0
) -> npt.NDArray[np.bool_]:
    """Which activations differ by rounding only: bool, shape of the arrays broadcast.

    scale: the lengths of encoder and input multiplied, where they are known; else the feature's largest activation. threshold: of
    the feature; one that fires in one of the two only is the same where the other is that near its threshold.
    """
    ours, theirs = np.asarray(stored, dtype=np.float64), np.asarray(fresh, dtype=np.float64)
    largest = np.maximum(ours, theirs)
    allowed = np.maximum(OF_VALUE * largest, OF_SCALE * np.asarray(scale, dtype=np.float64))
    in_one_only = (ours > 0) != (theirs > 0)
    same: npt.NDArray[np.bool_] = np.where(
        in_one_only, largest - np.asarray(threshold, dtype=np.float64) <= allowed, np.abs(ours - theirs) <= allowed
    )
    return same
