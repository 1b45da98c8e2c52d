"""Train, validation and test: seeded, and grouped so that equal builds never stand on both sides.

A group is a weapon with a token set. Its split depends on nothing but the seed and itself: not on the order of rows, and
not on what else the file holds, so a build keeps its split when the dataset grows.
"""

import numpy as np
import numpy.typing as npt

from splat_assets.data.builds import SPLITS, Builds
from splat_assets.errors import InputError
from splat_assets.store.checksums import mixed_bits

_U64 = np.uint64


def split_builds(builds: Builds, seed: int, validation: float = 0.1, test: float = 0.1) -> Builds:
    """The same builds with `split` set; shares are expected shares of the groups.

    In small datasets at least one group trains, and from three groups on every share above 0 gets at least one. Raises
    InputError for shares that leave nothing to train on.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(f"split shares must be at least 0 and below 1 together: validation {validation}, test {test}")
    groups, group_of = np.unique(group_hashes(builds, seed), return_inverse=True)
    n_test, n_validation = _group_counts(groups, validation, test)
    split_of = np.full(groups.size, SPLITS.index("train"), dtype=np.uint8)
    split_of[: n_test + n_validation] = SPLITS.index("validation")
    split_of[:n_test] = SPLITS.index("test")
    return builds.with_split(split_of[group_of])


def group_hashes(builds: Builds, seed: int) -> npt.NDArray[np.uint64]:
    """uint64, shape (n,): a seeded hash of each build's weapon and token set, whatever the order of its tokens."""
    salt = mixed_bits(np.array([seed % 2**64], dtype=_U64))[0]
    hashed = mixed_bits(builds.tokens.astype(_U64) ^ salt)
    if not builds.n_builds:
        return np.empty(0, dtype=_U64)
    return mixed_bits(
        np.add.reduceat(hashed, builds.offsets[:-1]) ^ mixed_bits(builds.weapons.astype(_U64) + _U64(1) + salt)
    )


def refuse_too_few(builds: Builds) -> None:
    """InputError where there are not as many different builds as splits: equal ones all stand in one."""
    n_distinct = np.unique(group_hashes(builds, 0)).size
    if n_distinct >= len(SPLITS):
        return
    n = builds.n_builds
    held = f"of {n:,} builds, {n_distinct} are different"
    if n_distinct == 1:
        held = "there is 1 build" if n == 1 else f"all {n:,} builds are equal"
    raise InputError(
        f"{held}: an SAE needs {len(SPLITS)} different ones at least, to train, to calibrate and to measure it on"
    )


def _group_counts(groups: npt.NDArray[np.uint64], validation: float, test: float) -> tuple[int, int]:
    """How many of the rising hashes, from the lowest on, are test and then validation groups."""
    place = groups.astype(np.float64) / 2.0**64
    n_test = int(np.searchsorted(place, test))
    n_validation = int(np.searchsorted(place, test + validation)) - n_test
    if groups.size >= len(SPLITS):
        n_test, n_validation = max(n_test, int(test > 0)), max(n_validation, int(validation > 0))
    too_many = max(0, n_test + n_validation - (groups.size - 1)) if groups.size else 0
    if n_test > n_validation:
        return n_test - too_many, n_validation
    return n_test, n_validation - too_many
