"""The sample table and the vocabulary of a folder of activations, in whichever layout it is."""

from pathlib import Path

import polars as pl

from splat_assets.store.errors import LayoutError, NotPublishedError
from splat_assets.store.guide_batches import METADATA, VOCABULARY
from splat_assets.store.published import open_store
from splat_assets.store.raw import RawActivations, shard_name
from splat_assets.store.vocabulary import Vocabulary


def samples_and_vocabulary(folder: Path) -> tuple[pl.DataFrame, Vocabulary | None]:
    """All samples (at least the column `tokens`, a list of ids) and the vocabulary that the folder records, if it does.

    folder: raw activations, a batch tree, a run, a store or a version. Raises LayoutError when it is none of these.
    """
    recorded = folder / VOCABULARY
    vocabulary = Vocabulary.load(recorded) if recorded.is_file() else None
    if (folder / shard_name(0)).is_dir():
        return RawActivations(folder).samples(), vocabulary
    tables = sorted((folder / METADATA).glob("*.parquet"))
    if tables:
        columns = pl.scan_parquet(tables, glob=False).select(pl.col("ability_tokens").alias("tokens"))
        return columns.collect(), vocabulary
    try:
        store = open_store(folder)
    except NotPublishedError as error:
        raise LayoutError(
            f"{folder} holds no samples: neither {shard_name(0)}, nor {METADATA}/batch_0000.parquet, nor a published store"
        ) from error
    return store.samples, store.vocabulary
