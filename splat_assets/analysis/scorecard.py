"""What each figure of an SAE's scorecard means, in one sentence."""

from typing import Final

MEANINGS: Final[dict[str, str]] = {
    "fvu": "share of the variance of the test samples that the SAE leaves unexplained; 0 is perfect",
    "explained_variance": "1 - fvu",
    "cosine": "mean cosine of a sample and its reconstruction",
    "l2_ratio": "mean length of a reconstruction relative to its sample; below 1 is shrinkage",
    "relative_bias": "E||x_hat||^2 / E(x . x_hat); below 1 where activations shrink",
    "l0_mean": "features active on a test sample, on average",
    "l0_q05": "5 % of the test samples have at most this many active features",
    "l0_q50": "50 % of the test samples have at most this many active features",
    "l0_q95": "95 % of the test samples have at most this many active features",
    "dead_percent": "features that fire on no training sample",
    "dense_percent": "features that fire on more than 10 % of the training samples",
    "gamma": "distance of the mean activation from the origin, in standard deviations",
    "fidelity": "share of the predictions preserved: 1 = unchanged, 0 = no better than the mean",
    "fidelity_to_zero": "the same, compared with zero instead of the mean",
    "bce_recovered": "share of the loss added by the mean that the SAE recovers",
}
