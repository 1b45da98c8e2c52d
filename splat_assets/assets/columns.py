"""What every column of the pipeline's tables means, by the table's name: shown where a table is, as in the Dagster UI."""

from typing import Final

_FEATURE = "Number of the feature, 0 to n_features - 1."
_N_ACTIVE = "Samples on which the feature fires."
_SUMMARIES = {
    "min": "Smallest",
    "q25": "25th percentile",
    "median": "Median",
    "q75": "75th percentile",
    "q90": "90th percentile",
    "q95": "95th percentile",
    "q99": "99th percentile",
    "max": "Largest",
    "mean": "Mean",
    "std": "Standard deviation (dividing by n)",
}
_MAPS = {"decoder": "decoder direction", "coactivation": "co-activation"}

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "builds": {
        "tokens": "Numbers of the build's ability tokens, in the base model's vocabulary.",
        "weapon": "Number of its weapon, in the base model's vocabulary of weapons.",
        "split": "0 training, 1 validation, 2 test; equal builds are always on the same side.",
        "source_row": "Row of the dataset's file, from 0.",
    },
    "metrics": {
        "step": "Training steps so far.",
        "samples": "Samples seen so far, repeated ones counted again.",
        "epoch": "Passes over the training samples so far.",
        "lr": "Learning rate of the step.",
        "l1_coeff": "Weight of the L1 penalty at the step; 0 where there is none.",
        "loss": "Loss per batch, mean since the row before.",
        "fvu_train": "Fraction of variance unexplained on the batches since the row before, each before its step.",
        "fvu_held_out": "Fraction of variance unexplained on held-out samples.",
        "l0_train": "Active features per sample, mean over the batches since the row before.",
        "l0_held_out": "Active features per held-out sample, mean.",
        "dead_percent": "Percent of features without an activation for a whole window of samples; empty until one was seen.",
        "dense_percent": "Percent of features that fire on more than 10 % of the held-out samples.",
        "aux_loss": "Share of the residual's variance that dead features leave, mean since the row before; 0 without any.",
        "gradient_norm": "Norm of the gradient, mean since the row before.",
    },
    "histograms": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "n_zero": "Samples on which it does not fire; they are in no bin.",
        "lower": "Lower edge of the first bin.",
        "upper": "Upper edge of the last bin: the feature's largest activation.",
        "n_bins": "Bins, all of one width.",
        "counts": "Activations in each bin.",
    },
    "features": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "n_samples": "All samples.",
        "sparsity": "Share of all samples on which it does not fire.",
        "effective_max": "99.5th percentile of the activations above 0, which the bands of examples are shares of.",
        **{name: f"{words} of the activations above 0." for name, words in _SUMMARIES.items()},
        **{f"{name}_all": f"{words} over all samples, zeros included." for name, words in _SUMMARIES.items()},
        "first_sample": "Lowest number of a sample on which it fires.",
        "last_sample": "Highest number of a sample on which it fires.",
        "crc32c": "Checksum of the feature's samples and values in the store.",
    },
    "idf": {
        "ability_input_tokens": "Number of the token, in the base model's vocabulary.",
        "token": "Name of the token.",
        "doc_freq": "Samples that have the token; 0 for one that never occurs.",
        "idf": "Inverse document frequency: ln(n + 1) - ln(doc_freq + 1).",
    },
    "influences": {
        "feature_id": _FEATURE,
        "influence": "Change of each output's logit per unit of activation: W_dec @ W_out^T, in the order of the outputs.",
    },
    "examples": {
        "feature_id": _FEATURE,
        "group": "top, a band of activations (band_...), random_active or random_inactive.",
        "rank": "Place in its group, 1 for the strongest.",
        "sample_id": "Number of the sample.",
        "activation": "Of the feature on the sample; 0 where it does not fire.",
    },
    "neighbours": {
        "feature_id": _FEATURE,
        "kind": "decoder_cosine, pearson or jaccard.",
        "rank": "Place among the features most like it, 1 for the nearest.",
        "other_id": "Number of the other feature.",
        "score": "How alike the two are, by the kind: cosine of decoder directions, Pearson's r or Jaccard index of activations.",
        "n_both": "Samples on which both fire.",
    },
    "feature_map": {
        "feature_id": _FEATURE,
        **{f"{name}_{axis}": f"Place on the map by {words}, {axis}." for name, words in _MAPS.items() for axis in "xy"},
        **{f"{name}_cluster": f"Number of its cluster by {words} (Louvain)." for name, words in _MAPS.items()},
        **{
            f"{name}_kept": f"Share of its ten nearest by {words} that are near on the map."
            for name, words in _MAPS.items()
        },
    },
    "suggested_labels": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "suggested": "Whether the rule is good enough to be a label.",
        "text": "The best rule over builds, as text; empty where the feature fires on too few samples to choose one.",
        "rule": "The same as JSON.",
        "precision": "Share of the rule's held-out builds on which the feature fires.",
        "recall": "Share of the held-out builds on which the feature fires that the rule holds on.",
        "f1": "Harmonic mean of the two.",
        "f1_low": "Lower end of the 95 % interval of f1.",
        "f1_high": "Upper end of the 95 % interval of f1.",
        "auroc": "Probability that the activation is higher on a build of the rule than on another one, ties counting half.",
        "n": "Held-out builds: those that did not choose the rule.",
        "n_rule": "Of those, builds on which the rule holds.",
        "n_active_held_out": "Of those, builds on which the feature fires.",
        "n_both": "Of those, builds on which both hold.",
        "train_f1": "F1 on the builds that chose the rule.",
        "token": "The best single token.",
        "token_f1": "F1 of that token on the held-out builds.",
        "threshold": "Highest F1 that one of the permuted features of this size reached.",
        "n_null": "Permuted features of this size.",
        "p": "Share of them that do as well: (1 + k) / (1 + n_null).",
        "q": "p adjusted over all features (Benjamini and Hochberg).",
    },
    "shards": {
        "shard": "Name of the shard, a contiguous range of samples.",
        "first_row": "Number of its first sample.",
        "n_rows": "Samples in it.",
        "nnz": "Activations above 0 in it.",
    },
    "files": {
        "file": "Path in the version's folder.",
        "bytes": "Size.",
        "sha256": "Checksum of the content.",
    },
    "comparison": {
        "run": "Name of the run.",
        "width": "Features of the SAE, dead ones included.",
        "k": "Features that the recipe lets fire per sample.",
        "seed": "Seed of the training.",
        "fvu": "Fraction of variance unexplained on test samples; 0 is perfect.",
        "l0_mean": "Features active on a test sample, on average.",
        "fidelity": "1 - KL with the SAE in place / KL with the mean: 1 changes no prediction, 0 is no better than the mean.",
        "dead_percent": "Percent of features that fire on no training sample.",
        "dense_percent": "Percent of features that fire on more than 10 % of the training samples.",
        "stability": "How alike the decoder directions of other seeds with the same width and k are; empty with one seed.",
        "on_front": "Whether no other run has both a lower FVU and a lower L0.",
    },
    "stores": {
        "run": "Name of the run.",
        "version": "Published version that was looked at.",
        "problem": "The first thing that is not as it was published; none where all is.",
        "removed": "Older versions that were removed.",
    },
    "missing": {"run": "Name of a run that is left out because it has no SAE yet."},
}

CONTENT_OF: Final = {"dataset": "builds"}
"""The Parquet file that is an asset, where it is named otherwise."""
FACTS_OF: Final = {"raw_activations": "shards", "published_store": "files"}
"""The table that an asset reports of itself, by what its rows are."""


def meaning_of_column(table: str, column: str) -> str | None:
    """What a column of a table means; None for one that is described nowhere."""
    return COLUMNS.get(table, {}).get(column)
