"""PageRank of abilities over builds: which abilities are central among the builds on which a feature fires, against all builds.

In every build each ability points to each other one. An edge weighs as much as the feature's activation and, for
`ap_weighted`, the AP of the ability that it points to. A hub of all builds is a hub of every feature's builds, too, so scores
mean something only beside the baseline.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAMPING = 0.85
_ITERATIONS = 200
_TOLERANCE = 1e-12


def edge_weights(
    worn: npt.NDArray[np.bool_], ap: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]
) -> Floats:
    """Sum over builds of weight * worn(u) * ap(v), u to v, without loops: float64, shape (n_groups, n_groups).

    worn: shape (n_groups, n_builds). ap: of each ability in each build, 0 where it is not worn. weights: of the builds.
    """
    edges: Floats = (worn.astype(np.float64) * weights) @ ap.T.astype(np.float64)
    np.fill_diagonal(edges, 0.0)
    return edges


def pagerank(edges: Floats, damping: float = DAMPING) -> Floats:
    """Scores that sum to 1 (Brin and Page 1998). What a node without edges holds goes to all nodes alike."""
    n = edges.shape[0]
    out = edges.sum(axis=1)
    dangling = out == 0
    step = np.divide(edges, out[:, None], out=np.zeros_like(edges), where=~dangling[:, None])
    scores = np.full(n, 1 / max(n, 1))
    for _ in range(_ITERATIONS):
        after = (1 - damping) / n + damping * (scores @ step + scores[dangling].sum() / n)
        if np.abs(after - scores).sum() < _TOLERANCE:
            return np.asarray(after)
        scores = after
    return scores
