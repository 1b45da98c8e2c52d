"""The sample table of the guide's batch tree: upstream's columns and their sources.

Upstream's are `batch_id, sample_id (row in the batch), ability_tokens, weapon_id_token, is_null_token, weapon_name,
global_index`. Added: `abilities` (names), `weapon_id` (the vocabulary index, as in the dataset), `split`, `kind`,
`source_row`, `token_position`.
"""

import numpy as np
import polars as pl

from splat_assets.store.errors import LayoutError
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.wording import agreeing, counted


def check_samples(samples: pl.DataFrame, n_samples: int, n_tokens: int) -> None:
    """Raise LayoutError unless samples has one row per sample, a running `global_index`, and tokens of the vocabulary."""
    if samples.height != n_samples:
        raise LayoutError(
            f"{counted(samples.height, 'rows')} of sample metadata {agreeing(samples.height, 'do')} not "
            f"describe {counted(n_samples, 'samples')}"
        )
    wrong = np.flatnonzero(samples["global_index"].to_numpy() != np.arange(n_samples))
    if wrong.size:
        row = int(wrong[0])
        raise LayoutError(
            f"sample metadata row {row} has global_index {samples['global_index'][row]}; it must be {row}"
        )
    tokens = samples["tokens"].explode().drop_nulls().to_numpy()
    strange = tokens[(tokens < 0) | (tokens >= n_tokens)]
    if strange.size:
        raise LayoutError(f"sample metadata names token {strange[0]}; the vocabulary has tokens 0 to {n_tokens - 1}")


def batch_metadata(samples: pl.DataFrame, batch: int, vocabulary: Vocabulary) -> pl.DataFrame:
    """The table of one batch from its samples (the columns of raw activations)."""
    ids = [token.id for token in vocabulary.tokens]
    names = [token.name for token in vocabulary.tokens]
    return samples.select(
        pl.lit(batch, pl.Int64).alias("batch_id"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("sample_id"),
        pl.col("tokens").cast(pl.List(pl.Int64)).alias("ability_tokens"),
        pl.col("weapon_id_token").cast(pl.Int64),
        pl.col("is_null").alias("is_null_token"),
        "weapon_name",
        pl.col("global_index").cast(pl.Int64),
        pl.col("tokens").list.eval(pl.element().replace_strict(ids, names, return_dtype=pl.String)).alias("abilities"),
        pl.col("weapon_id_token").cast(pl.Int64).alias("weapon_id"),
        "split",
        "kind",
        pl.col("source_row").cast(pl.Int64),
        pl.col("token_position").cast(pl.Int32),
    )
