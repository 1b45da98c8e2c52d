"""The sample table and the vocabulary of a folder of activations, in whichever layout it is."""

from pathlib import Path

import polars as pl

from splat_assets.store.documents import entries
from splat_assets.store.errors import LayoutError, NotPublishedError
from splat_assets.store.guide.batches import METADATA, VOCABULARY
from splat_assets.store.published.publishing import open_store
from splat_assets.store.raw import RawActivations, shard_name
from splat_assets.store.tables import explaining_damage
from splat_assets.store.vocabulary import Vocabulary


def samples_and_vocabulary(folder: Path) -> tuple[pl.DataFrame, Vocabulary | None]:
    """All samples (`tokens`, a list of ids; `token_position` where it is known) and the vocabulary that the folder records.

    folder: raw activations, a batch tree, a run, a store or a version. Raises LayoutError when it is none of these.
    """
    recorded = folder / VOCABULARY
    vocabulary = Vocabulary.load(recorded) if recorded.is_file() else None
    if (folder / shard_name(0)).is_dir():
        return RawActivations(folder).samples(), vocabulary
    tables = [table for table in entries(folder / METADATA) if table.suffix == ".parquet"]
    if tables:
        return pl.concat([_tokens_of(table) for table in tables]), vocabulary
    try:
        store = open_store(folder)
    except NotPublishedError as error:
        raise LayoutError(
            f"{folder} holds no samples: neither {shard_name(0)}, nor {METADATA}/batch_0000.parquet, nor a published store"
        ) from error
    return store.samples, store.vocabulary


def _tokens_of(metadata: Path) -> pl.DataFrame:
    """Token ids of a batch, and of which position of its build a sample is where the batch says so."""
    with explaining_damage(metadata):
        batch = pl.scan_parquet(metadata.absolute(), glob=False)
        columns = (
            ["ability_tokens", "token_position"] if "token_position" in batch.collect_schema() else ["ability_tokens"]
        )
        return batch.select(columns).rename({"ability_tokens": "tokens"}).collect()
