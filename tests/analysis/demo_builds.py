"""Builds of the demo and features on them that nearly follow a rule, for tests of what finds rules."""

from pathlib import Path

import numpy as np

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.data.demo import make_demo_inputs
from splat_assets.data.tokenised import read_tokenised
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary


def demo_builds(folder: Path, seed: int) -> BuildTable:
    """Six thousand demo builds."""
    made = make_demo_inputs(folder, n_builds=6_000, seed=seed)
    vocabulary, contexts = read_vocabulary(made.vocabulary), read_contexts(made.weapon_vocabulary)
    found = read_tokenised(made.data, vocabulary, contexts)
    return BuildTable(found.tokens, found.offsets, found.weapons, vocabulary, contexts)


def nearly(holds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where a feature fires: where a rule holds, but for one in twenty, and as often elsewhere; bool, shape of holds."""
    fires, n = holds.copy(), round(0.05 * holds.sum())
    fires[rng.choice(np.flatnonzero(holds), n, replace=False)] = False
    fires[rng.choice(np.flatnonzero(~holds), n, replace=False)] = True
    return fires
