"""What each figure of an SAE's scorecard means, in one sentence."""

from typing import Final

MEANINGS: Final[dict[str, str]] = {
    "fvu": "share of the variance of the test samples that the SAE leaves unexplained; 0 is perfect",
    "explained_variance": "1 - fvu",
    "cosine": "mean cosine of a sample and its reconstruction",
    "l2_ratio": "mean length of a reconstruction relative to its sample; below 1 is shrinkage",
    "relative_bias": "E||x_hat||^2 / E(x . x_hat); below 1 where activations shrink",
    "l0_mean": "features active on a test sample, on average",
    "l0_q05": "5 % of the test samples have at most so many",
    "l0_q50": "half of them",
    "l0_q95": "95 % of them",
    "dead_percent": "features that fire on no training sample",
    "dense_percent": "features that fire on more than 10 % of the training samples",
    "gamma": "how far the activations lie from the origin, in standard deviations",
    "fidelity": "1 - KL with the SAE in place / KL with the mean: 1 changes no prediction, 0 is no better than the mean",
    "fidelity_to_zero": "the same against zero in place",
    "bce_recovered": "share of the loss that the mean in place adds which the SAE wins back",
}
