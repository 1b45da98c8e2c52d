"""Direct effect of every feature on every output token: `influences.parquet`, and the guide's wide table made from it.

The canonical table has one row per feature and one fixed-size list `influence`, in token-id order, of all tokens but padding
and null; which tokens these are is in the table's facts.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.influence import influenced_tokens, influences, most_lowered, most_raised
from splat_assets.errors import InputError
from splat_assets.store.tables import misplaced_ids, read_table, spot_check_ids, table_facts, write_table
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

logger = logging.getLogger(__name__)

_BLOCK_FEATURES = 4096
Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InfluencesWritten:
    """The shape of what was written."""

    n_features: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Influences:
    """The canonical table in memory.

    token_ids, token_names: the outputs, in id order. values: float32, shape (n_features, n_tokens).
    """

    token_ids: tuple[int, ...]
    token_names: tuple[str, ...]
    values: Floats32


def write_influences(
    output_weight: Floats32, decoder: Floats32, vocabulary: Vocabulary, path: Path, progress: Progress | None = None
) -> InfluencesWritten:
    """Write W_dec @ W_out transposed, without bias, padding and null.

    output_weight: W_out, shape (n_tokens of the vocabulary, d). decoder: W_dec, shape (n_features, d). Raises InputError when
    they do not fit each other or the vocabulary.
    """
    _must_fit(output_weight, decoder, vocabulary)
    tokens = influenced_tokens(vocabulary)
    kept = output_weight[[token.id for token in tokens]]
    values = np.empty((decoder.shape[0], len(tokens)), dtype=np.float32)
    with (progress or SilentProgress()).task("influences", len(decoder), "features") as task:
        for start in range(0, len(decoder), _BLOCK_FEATURES):
            block = decoder[start : start + _BLOCK_FEATURES]
            values[start : start + len(block)] = influences(block, kept)
            task.advance(len(block))
    facts = {
        "token_ids": [token.id for token in tokens],
        "token_names": [token.name for token in tokens],
        "formula": "W_dec @ W_out^T, no bias; padding and null tokens left out",
    }
    frame = pl.DataFrame(
        {
            "feature_id": np.arange(len(decoder), dtype=np.uint32),
            "influence": pl.Series(values, dtype=pl.Array(pl.Float32, len(tokens))),
        }
    )
    write_table(path, frame, facts)
    logger.info("influences of %d features on %d tokens", *values.shape)
    return InfluencesWritten(*values.shape)


def read_influences(path: Path) -> Influences:
    """The table that `write_influences` wrote."""
    facts = table_facts(path, "token_ids", "token_names")
    values = read_table(path, ["influence"])["influence"].to_numpy()
    shape = (-1, len(facts["token_ids"]))
    return Influences(tuple(facts["token_ids"]), tuple(facts["token_names"]), values.reshape(shape))


def wide_influences(
    path: Path, top_k: int, labels: Mapping[int, str] | None = None, unseen: Collection[str] = ()
) -> pl.DataFrame:
    """The guide's table: feature_id, feature_label, `+r_tok` and `+r_val` for r = 1..top_k, then `-r_tok` and `-r_val`.

    `+` columns hold the outputs a feature raises, largest first; `-` columns those it lowers, most negative first, with their
    sign. Outputs named in `unseen` (those that never occur in the data) come after all others of their sign. Where a feature
    has fewer than top_k of one sign the rest is null (never the other sign). feature_label is null for a feature without a
    label. Raises InputError unless 1 <= top_k <= number of tokens.
    """
    table = read_influences(path)
    n_features, n_tokens = table.values.shape
    if not 1 <= top_k <= n_tokens:
        raise InputError(
            f"top-k must be between 1 and the {counted(n_tokens, 'tokens')} that {path} holds, not {top_k}"
        )
    label_of = labels or {}
    columns = [
        pl.Series("feature_id", np.arange(n_features, dtype=np.uint32)),
        pl.Series("feature_label", [label_of.get(i) for i in range(n_features)], dtype=pl.String),
    ]
    names = pl.Series(table.token_names, dtype=pl.String)
    last = np.array([name in unseen for name in table.token_names])
    raised, lowered = most_raised(table.values, top_k, last), most_lowered(table.values, top_k, last)
    for sign, strongest in (("+", raised), ("-", lowered)):
        for r in range(top_k):
            positions = pl.Series(strongest.columns[:, r]).cast(pl.Int64)
            positions = positions.to_frame("at").select(pl.when(pl.col("at") >= 0).then(pl.col("at"))).to_series()
            columns.append(names.gather(positions).alias(f"{sign}{r + 1}_tok"))
            columns.append(pl.Series(f"{sign}{r + 1}_val", strongest.values[:, r]).fill_nan(None))
    return pl.DataFrame(columns)


def mismatched_influences(
    output_weight: Floats32, decoder: Floats32, vocabulary: Vocabulary, path: Path, n_sampled: int, seed: int
) -> list[int]:
    """Features whose row is out of place, or, of n_sampled random ones, further than 1e-5 from W_out @ W_dec.

    All features are wrong when the table's tokens differ from the vocabulary's.
    """
    _must_fit(output_weight, decoder, vocabulary)
    stored = read_influences(path)
    wrong = misplaced_ids(read_table(path, ["feature_id"])["feature_id"], len(decoder))
    if wrong:
        return wrong
    ids = [token.id for token in influenced_tokens(vocabulary)]
    names = [vocabulary.tokens[i].name for i in ids]
    if list(stored.token_ids) != ids or list(stored.token_names) != names:
        return list(range(len(decoder)))
    finite = np.isfinite(stored.values).all(axis=1)
    wrong_ones = {int(i) for i in np.flatnonzero(~finite)}
    for feature_id in spot_check_ids(len(decoder), n_sampled, seed):
        fresh = output_weight[ids].astype(np.float64) @ decoder[feature_id].astype(np.float64)
        if not np.allclose(stored.values[feature_id], fresh, rtol=1e-5, atol=1e-6):
            wrong_ones.add(feature_id)
    return sorted(wrong_ones)


def _must_fit(output_weight: Floats32, decoder: Floats32, vocabulary: Vocabulary) -> None:
    if output_weight.shape[0] != len(vocabulary):
        raise InputError(
            f"the base model has {counted(output_weight.shape[0], 'outputs')}, the vocabulary "
            f"{counted(len(vocabulary), 'tokens')}; "
            "use the vocabulary the model was trained with"
        )
    if output_weight.shape[1] != decoder.shape[1]:
        raise InputError(
            f"the base model's output layer reads {output_weight.shape[1]} dimensions, the SAE's decoder writes "
            f"{decoder.shape[1]}; influences need an SAE of the same model's masked_mean"
        )
