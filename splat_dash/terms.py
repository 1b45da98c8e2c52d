"""What every number and heading on the pages means: the one place where terms are defined, shown on /about."""

from typing import Final

from splat_assets.analysis.scorecard import MEANINGS

FEW: Final = 30
"""Rows of fewer samples are marked: their shares and means say little."""

TERMS: Final[dict[str, dict[str, str]]] = {
    "Features": {
        "sample": "A build as the model saw it: a weapon and a set of ability tokens.",
        "feature": "A direction that the SAE found; it fires on some samples, with an activation.",
        "feature_id": "Its number.",
        "activation": "Value of a feature on a sample, 0 where it does not fire.",
        "fires on": "Samples with an activation above 0, of all.",
        "density": "Share of all samples on which a feature fires.",
        "max": "Largest activation.",
        "mean": "Mean activation over the samples on which it fires; in tables with n over all n, zeros included.",
        "effect": "Mean activation times the largest |W_dec @ W_out^T|: how far the most moved logit goes, on the direct path.",
        "median": "Median over the samples on which it fires.",
        "99 %": "99th percentile over the samples on which it fires.",
        "min": "Smallest activation over the samples on which it fires.",
        "q25": "25th percentile.",
        "q75": "75th percentile.",
        "q90": "90th percentile.",
        "q95": "95th percentile.",
        "q99": "99th percentile.",
        "std": "Standard deviation, dividing by n.",
        "over": "What a row of statistics is of: the activations alone, or all samples with zeros.",
        "zeros": "Samples on which it does not fire.",
        "effective max": "99.5th percentile of the activations above 0: what the bands are shares of.",
        "alike": "Examples of the same weapon with at least 80 % of their tokens in common: one line stands for them.",
        "band": "A range of activations, by shares of the feature's effective maximum (its 99.5th percentile).",
        "above": "Where a band begins.",
        "share": "Share of all activations of the feature.",
        "raises, lowers": "Change of a token's logit per unit of activation: W_dec @ W_out^T.",
        "influence": "Of a feature on one token: that change, by token.",
        "in_data": "Whether a token occurs in the data at all; one that never does is listed last.",
        "moves": "influence times the mean where it fires: how far a feature moves a token's logit, on the direct path.",
        "label": "What people call it.",
        "called": "Its label, or the rule that describes it.",
        "rule": "A condition over builds; the suggested one is chosen on one half of the builds and scored on the other.",
        "rule F1": "F1 of that rule on builds that did not choose it.",
    },
    "What goes with a feature": {
        "token": "An ability at a rung: `swim_speed_up_21` is at least 21 AP of swim speed up.",
        "weapon": "The weapon of a sample.",
        "build": "What a sample wears.",
        "n": f"Samples of the row; rows of fewer than {FEW} are pale, as what they say is of few samples.",
        "n_active": "Samples of those on which the feature fires.",
        "n_both": "Samples on which both hold.",
        "share_active": "n_active / n.",
        "share_of_active": "Share of the feature's activations that have it.",
        "share_of_set": "Share of the rule's samples on which the feature fires (recall).",
        "share_of_feature": "Share of the feature's samples on which the rule holds (precision).",
        "lift": "How many times as often a feature fires on samples with it as on all samples.",
        "mean_without": "Mean activation over the samples without it, zeros included.",
        "mean_absent": "Mean activation where the ability is not worn, zeros included.",
        "mean_worn": "Mean activation where it is worn, zeros included.",
        "phi": "Correlation of two yes-or-no facts: the sample has it, the feature fires.",
        "q": "p-value adjusted for the number of things compared (Benjamini and Hochberg).",
        "auroc": "Probability that the activation is higher on a sample of the rule than on another one, ties counting half.",
        "n_left": "Samples of the left rule, or of the left feature's activations.",
        "n_right": "The same of the right one.",
        "f1": "Harmonic mean of precision and recall.",
        "[95 %]": "An interval that holds the true value in 95 of 100 such draws.",
    },
    "Abilities": {
        "ability": "One of the 26.",
        "rung": "The AP at which a further token begins; of a build, the highest that it reaches.",
        "dose": "Mean activation at each rung that builds have, not worn first; the tallest bar is the largest.",
        "slope": "Change of the activation for 10 AP more (least squares, not worn counts as 0 AP).",
        "eta2": "Share of the variance of the activation that an ability's rungs explain.",
        "abilities": "Abilities of a build with their highest rung.",
    },
    "The map": {
        "cluster": "Features that are more alike one another than others: Louvain's communities among the nearest neighbours.",
        "n_features": "Features of the row.",
        "n_labelled": "Of those, features that people labelled.",
        "share_of_cluster": "Share of its features of which the token is the best single one.",
        "near": "Among the 100 nearest points of the map, or a fifth of all if that is less.",
    },
    "Comparing": {
        "statistic": "Over the activations; with _all over all samples, zeros included.",
        "feature N": "Of that one of the two features.",
        "difference": "Changed less base, or the first feature less the second.",
        "jaccard": "n_both over samples on which at least one fires.",
        "pearson": "Correlation of the activations over all samples, zeros included.",
        "only feature N": "Samples on which that one fires and the other does not.",
        "share of feature N": "Share of that one's activations that have it.",
        "share_left": "Share of the left rule's samples on which it fires.",
        "share_right": "Share of the right one's.",
        "fires": "Which of the two fires.",
    },
    "What if": {
        "base": "The build that one begins with.",
        "changed": "The build that it was made into.",
        "worn": "Whether the changed build has the token already.",
        "edited": "Probability with features edited; what the SAE does not rebuild stays in place.",
        "by_edits": "Edited less changed.",
        "measured": "Mean change of an output's logit when the feature is taken away and the model runs on.",
        "linear": "What the weights alone say of it: minus the activation times W_dec @ W_out^T.",
        "disagrees": "The two differ by more than builds do, and by no trifle.",
        "moved": "Mean over all outputs of |measured|.",
        "linear_moved": "Mean over all outputs of |linear|.",
        "without": "Activation when the ability is taken off and all else held.",
        "drop": "How much less that is.",
    },
    "Runs": {
        "run": "One base checkpoint, dataset and recipe.",
        "version": "An immutable state of a run's store; * is the current one.",
        "published": "When a version was, UTC.",
        "at": "When it happened, UTC.",
        "what": "arrived, refused: something that was brought; succeeded, failed: a run; removed: old versions.",
        "of": "The run, or what was brought.",
        "said": "What became of it, and why.",
        "samples": "Samples of the version.",
        "features": "Features of its SAE, dead ones included.",
        "activations": "Its activations above 0.",
        **{name: MEANINGS[name] for name in ("fvu", "l0_mean", "dead_percent", "dense_percent", "bce_recovered")},
    },
    "How good the SAE is": {
        "FVU": MEANINGS["fvu"],
        "L0": MEANINGS["l0_mean"],
        "dead": MEANINGS["dead_percent"],
        "dense": MEANINGS["dense_percent"],
        "fidelity": MEANINGS["fidelity"],
        "loss recovered": MEANINGS["bce_recovered"],
    },
}


MEANINGS_BY_NAME: Final = {name: meaning for group in TERMS.values() for name, meaning in group.items()}


def meaning_of(name: str) -> str:
    """What a heading means, its interval aside; empty for what is defined nowhere."""
    return MEANINGS_BY_NAME.get(name.removesuffix(" [95 %]"), "")
