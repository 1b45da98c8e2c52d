"""Loads what is compiled, with the types that answers use, before the first question needs it."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from splat_assets.store.import_samples import unknown_samples
from splat_assets.store.samples import SampleTable
from splat_serving import json_rows
from splat_serving.arrow_arrays import arrow_of
from splat_serving.sample_columns import SampleColumns


def warm_up() -> None:
    """Compile, or load from the cache that numba keeps, every loop that an answer about a feature runs."""
    columns = SampleColumns(SampleTable.of(unknown_samples(2), Path("warm up")), None, None)
    names = ("weapon_id", "ability_input_tokens", "split", "is_null")
    for ids in (np.array([0, 1], dtype=np.int32), np.array([0, 1], dtype=np.int64)):
        arrays = [arrow_of(ids), arrow_of(ids.astype(np.float32)), *(columns.take(name, ids) for name in names)]
        json_rows.rows(pa.RecordBatch.from_arrays(arrays, names=["global_index", "activation", *names]))
    columns.with_token(0)
