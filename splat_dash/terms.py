"""Definitions of every number and heading on the pages, shown on /about."""

from typing import Final

from splat_assets.analysis.scorecard import MEANINGS

FEW: Final = 30
"""Rows of fewer samples are marked: their shares and means are unreliable."""

TERMS: Final[dict[str, dict[str, str]]] = {
    "Features": {
        "sample": "A build as the model reads it: a weapon and a set of ability tokens.",
        "feature": "A direction learned by the SAE; it fires on some samples, with an activation.",
        "feature_id": "Its number.",
        "activation": "Value of a feature on a sample; 0 where it does not fire.",
        "fires on": "Number of samples with an activation above 0.",
        "density": "Share of all samples on which a feature fires.",
        "max": "Largest activation.",
        "mean": "Mean activation over the samples on which it fires; in tables with an n column, over all n, zeros included.",
        "effect": "Mean activation times the largest |W_dec @ W_out^T|: change of the most affected logit, on the direct path.",
        "median": "Median over the samples on which it fires.",
        "99 %": "99th percentile over the samples on which it fires.",
        "min": "Smallest activation over the samples on which it fires.",
        "q25": "25th percentile.",
        "q75": "75th percentile.",
        "q90": "90th percentile.",
        "q95": "95th percentile.",
        "q99": "99th percentile.",
        "std": "Standard deviation, dividing by n.",
        "over": "Population of a row of statistics: the activations alone, or all samples with zeros.",
        "zeros": "Samples on which it does not fire.",
        "effective max": "99.5th percentile of the activations above 0; bands are defined as shares of it.",
        "alike": "Near duplicates: examples of the same weapon that share at least 80 % of their tokens, grouped into one row.",
        "band": "A range of activations, by shares of the feature's effective maximum (its 99.5th percentile).",
        "above": "Lower bound of a band.",
        "share": "Share of all activations of the feature.",
        "raises, lowers": "Change of a token's logit per unit of activation: W_dec @ W_out^T.",
        "influence": "Effect of a feature on one token's logit, per unit of activation.",
        "in_data": "Whether a token occurs in the data; those that never do are listed last.",
        "moves": "Influence times the mean where it fires: change of a token's logit, on the direct path.",
        "label": "Name of the feature given by a person.",
        "called": "Its label, or the rule that describes it.",
        "rule": "A condition on builds; the suggested one is selected on one half of the builds and scored on the other.",
        "rule F1": "F1 of that rule on held-out builds.",
    },
    "Associations": {
        "token": "An ability at an AP threshold: `swim_speed_up_21` means at least 21 AP of Swim Speed Up.",
        "weapon": "The weapon of a sample.",
        "build": "The abilities of a sample.",
        "n": f"Samples of the row; rows of fewer than {FEW} are pale, because their estimates are unreliable.",
        "n_active": "Samples of those on which the feature fires.",
        "n_both": "Samples on which both conditions hold.",
        "share_active": "n_active / n.",
        "share_of_active": "Share of the feature's activations that have it.",
        "share_of_set": "Share of the rule's samples on which the feature fires (recall).",
        "share_of_feature": "Share of the feature's samples on which the rule holds (precision).",
        "lift": "Firing rate on samples with it, divided by the overall firing rate.",
        "mean_without": "Mean activation over the samples without it, zeros included.",
        "mean_absent": "Mean activation on builds without the ability, zeros included.",
        "mean_worn": "Mean activation on builds with it, zeros included.",
        "phi": "Phi coefficient: correlation of two binary variables (the sample has it; the feature fires).",
        "q": "p-value adjusted for multiple comparisons (Benjamini and Hochberg).",
        "auroc": "Probability that the activation is higher on a sample of the rule than on another one; ties count half.",
        "n_left": "Samples of the left rule, or of the left feature's activations.",
        "n_right": "Samples of the right rule, or of the right feature's activations.",
        "f1": "Harmonic mean of precision and recall.",
        "[95 %]": "95 % confidence interval.",
    },
    "Abilities": {
        "ability": "One of the 26 gear abilities.",
        "rung": "An AP threshold with a token of its own; of a build, the highest one that it reaches.",
        "dose": "AP response: mean activation at each AP threshold, first bar: builds without the ability.",
        "slope": "Change of the activation per 10 AP (least squares; builds without the ability count as 0 AP).",
        "eta2": "Share of the variance of the activation explained by the ability's AP.",
        "abilities": "Abilities of a build with their AP.",
    },
    "The map": {
        "cluster": "Group of similar features: Louvain community of the nearest-neighbour graph.",
        "n_features": "Features of the row.",
        "n_labelled": "Of those, features with a label.",
        "share_of_cluster": "Share of its features whose best single token this is.",
        "near": "Among the 100 nearest points of the map, or a fifth of all if that is less.",
    },
    "Comparing": {
        "statistic": "Over the activations; with _all over all samples, zeros included.",
        "feature N": "Value for that feature.",
        "difference": "Changed minus base, or first feature minus second.",
        "jaccard": "n_both divided by the samples on which at least one fires.",
        "pearson": "Correlation of the activations over all samples, zeros included.",
        "only feature N": "Samples on which that one fires and the other does not.",
        "share of feature N": "Share of that feature's activations that have it.",
        "share_left": "Share of the left rule's samples on which it fires.",
        "share_right": "Share of the right rule's samples on which it fires.",
        "fires": "Which of the two fires.",
    },
    "What if": {
        "base": "The original build.",
        "changed": "The edited build.",
        "worn": "Whether the changed build has the token already.",
        "edited": "Probability with features edited; the reconstruction error of the SAE is kept.",
        "by_edits": "Edited minus changed.",
        "measured": "Mean change of an output's logit when the feature is ablated.",
        "linear": "The change predicted from the weights: minus the activation times W_dec @ W_out^T.",
        "disagrees": "Measured and linear differ by more than the variation between builds, and by a relevant amount.",
        "moved": "Mean over all outputs of |measured|.",
        "linear_moved": "Mean over all outputs of |linear|.",
        "without": "Activation without the ability, all else equal.",
        "drop": "Decrease of the activation without the ability.",
    },
    "Runs": {
        "run": "One base checkpoint, dataset and recipe.",
        "version": "An immutable state of a run's store; * is the current one.",
        "published": "Time of publication, UTC.",
        "at": "Time of the event, UTC.",
        "what": "arrived, refused: an incoming input; succeeded, failed: a run; removed: old versions.",
        "of": "The run or the input.",
        "details": "Outcome and reason.",
        "samples": "Samples of the version.",
        "features": "Features of its SAE, dead ones included.",
        "activations": "Its activations above 0.",
        **{name: MEANINGS[name] for name in ("fvu", "l0_mean", "dead_percent", "dense_percent", "bce_recovered")},
    },
    "Quality of the SAE": {
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
    """The definition of a heading, ignoring its interval; empty for an unknown one."""
    return MEANINGS_BY_NAME.get(name.removesuffix(" [95 %]"), "")
