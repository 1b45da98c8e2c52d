"""The meaning of every column of the pipeline's tables, by table name: shown beside the table, as in the Dagster UI."""

from typing import Final

_FEATURE = "Feature id, 0 to n_features - 1."
_N_ACTIVE = "Samples on which the feature is active."
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
        "tokens": "Ids of the build's ability tokens, in the base model's vocabulary.",
        "weapon": "Id of its weapon, in the base model's weapon vocabulary.",
        "split": "0 training, 1 validation, 2 test; equal builds are in the same split.",
        "source_row": "Row of the dataset's file, from 0.",
    },
    "metrics": {
        "step": "Training steps so far.",
        "samples": "Samples seen so far, repeated ones counted again.",
        "epoch": "Passes over the training samples so far.",
        "lr": "Learning rate of the step.",
        "l1_coeff": "Weight of the L1 penalty at the step; 0 where there is none.",
        "loss": "Loss per batch, mean since the previous row.",
        "fvu_train": "Fraction of variance unexplained on the batches since the previous row, each before its step.",
        "fvu_held_out": "Fraction of variance unexplained on held-out samples.",
        "l0_train": "Active features per sample, mean over the batches since the previous row.",
        "l0_held_out": "Active features per held-out sample, mean.",
        "dead_percent": "Percent of features that stayed silent for a whole window of samples; empty before the "
        "first window.",
        "dense_percent": "Percent of features that fire on more than 10 % of the held-out samples.",
        "aux_loss": "Share of the residual's variance that dead features leave unexplained, mean since the "
        "previous row; 0 without any.",
        "gradient_norm": "Norm of the gradient, mean since the previous row.",
    },
    "histograms": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "n_zero": "Samples on which the feature is inactive; they are in no bin.",
        "lower": "Lower edge of the first bin.",
        "upper": "Upper edge of the last bin: the feature's largest activation.",
        "n_bins": "Number of bins, of equal width.",
        "counts": "Activations in each bin.",
    },
    "features": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "n_samples": "All samples.",
        "sparsity": "Share of samples on which the feature is inactive.",
        "effective_max": "99.5th percentile of the activations above 0; the bands of examples are shares of it.",
        **{name: f"{words} of the activations above 0." for name, words in _SUMMARIES.items()},
        **{f"{name}_all": f"{words} over all samples, zeros included." for name, words in _SUMMARIES.items()},
        "first_sample": "Lowest id of a sample on which it is active.",
        "last_sample": "Highest id of a sample on which it is active.",
        "crc32c": "Checksum of the feature's samples and values in the store.",
    },
    "idf": {
        "ability_input_tokens": "Id of the token, in the base model's vocabulary.",
        "token": "Name of the token.",
        "doc_freq": "Samples that contain the token; 0 if it never occurs.",
        "idf": "Inverse document frequency: ln(n + 1) - ln(doc_freq + 1).",
    },
    "influences": {
        "feature_id": _FEATURE,
        "influence": "Change of each output's logit per unit of activation: W_dec @ W_out^T, in the order of the outputs.",
    },
    "examples": {
        "feature_id": _FEATURE,
        "group": "top, a band of activations (band_...), random_active or random_inactive.",
        "rank": "Rank in its group, 1 for the strongest.",
        "sample_id": "Sample id.",
        "activation": "Activation of the feature on the sample; 0 where it is inactive.",
    },
    "neighbours": {
        "feature_id": _FEATURE,
        "kind": "decoder_cosine, pearson or jaccard.",
        "rank": "Rank among the nearest features, 1 for the nearest.",
        "other_id": "Id of the other feature.",
        "score": "Similarity, by kind: cosine of decoder directions, Pearson's r or Jaccard index of activations.",
        "n_both": "Samples on which both features are active.",
    },
    "feature_map": {
        "feature_id": _FEATURE,
        **{
            f"{name}_{axis}": f"Coordinate on the map by {words}, {axis}."
            for name, words in _MAPS.items()
            for axis in "xy"
        },
        **{f"{name}_cluster": f"Id of its cluster by {words} (Louvain)." for name, words in _MAPS.items()},
        **{
            f"{name}_kept": f"Share of its ten nearest neighbours by {words} that are also near on the map."
            for name, words in _MAPS.items()
        },
    },
    "suggested_labels": {
        "feature_id": _FEATURE,
        "n_active": _N_ACTIVE,
        "suggested": "Whether the rule is good enough to be a label.",
        "text": "The best rule over builds, as text; empty where the feature is active on too few samples.",
        "rule": "The same as JSON.",
        "precision": "Precision: share of the rule's held-out builds on which the feature is active.",
        "recall": "Recall: share of the feature's active held-out builds that match the rule.",
        "f1": "F1: harmonic mean of precision and recall.",
        "f1_low": "Lower bound of the 95 % interval of f1.",
        "f1_high": "Upper bound of the 95 % interval of f1.",
        "auroc": "Probability that the activation is higher on a build that matches the rule than on one that "
        "does not; ties count half.",
        "n": "Held-out builds, not used to choose the rule.",
        "n_rule": "Held-out builds that match the rule.",
        "n_active_held_out": "Held-out builds on which the feature is active.",
        "n_both": "Held-out builds that match the rule and on which the feature is active.",
        "train_f1": "F1 on the builds that chose the rule.",
        "token": "The best single token.",
        "token_f1": "F1 of that token on the held-out builds.",
        "threshold": "Highest F1 among the permuted features of this size.",
        "n_null": "Number of permuted features of this size.",
        "p": "p-value: the share of permuted features that score as high, (1 + k) / (1 + n_null).",
        "q": "p adjusted over all features (Benjamini and Hochberg).",
    },
    "shards": {
        "shard": "Name of the shard, a contiguous range of samples.",
        "first_row": "Id of its first sample.",
        "n_rows": "Number of samples.",
        "nnz": "Number of activations above 0.",
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
        "fidelity": "Share of the predictions preserved: 1 = unchanged, 0 = no better than the mean (1 - KL with "
        "the SAE / KL with the mean).",
        "dead_percent": "Percent of features that fire on no training sample.",
        "dense_percent": "Percent of features that fire on more than 10 % of the training samples.",
        "stability": "Similarity of the decoder directions across seeds of the same width and k; empty with one seed.",
        "on_front": "Whether the run is on the Pareto front: no other has both a lower FVU and a lower L0.",
    },
    "stores": {
        "run": "Name of the run.",
        "version": "Published version that was verified.",
        "problem": "The first difference from what was published; empty if there is none.",
        "removed": "Older versions that were removed.",
    },
    "missing": {"run": "Name of a run that is left out because its SAE is not trained yet."},
}

CONTENT_OF: Final = {"dataset": "builds"}
"""The Parquet file of an asset, where its name differs."""
FACTS_OF: Final = {"raw_activations": "shards", "published_store": "files"}
"""The table that an asset reports, by its kind of rows."""


def meaning_of_column(table: str, column: str) -> str | None:
    """The meaning of a column; None for an undocumented one."""
    return COLUMNS.get(table, {}).get(column)
