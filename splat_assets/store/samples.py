"""The table of samples: its columns, its rules, and a layout with fast access to single rows.

Row number = `global_index` = sample id. Parquet is what people and engines read; the Arrow file beside it holds the same rows
uncompressed in one record batch, whose columns are used as they are read.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from splat_assets.errors import InputError
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import read_bytes
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError, SampleNotFoundError
from splat_assets.store.files import remove_leftovers, replacing_file

_COLUMNS: dict[str, pl.DataType] = {
    "global_index": pl.Int64(),
    "sample_id": pl.Int64(),
    "source_row": pl.Int64(),
    "kind": pl.String(),
    "is_null": pl.Boolean(),
    "split": pl.String(),
    "weapon_id_token": pl.Int32(),
    "weapon_name": pl.String(),
    "tokens": pl.List(pl.Int32()),
    "token_position": pl.Int32(),
}
SAMPLE_SCHEMA = pl.Schema(_COLUMNS)
"""global_index: the sample's id in the dataset, 0..n-1. sample_id: its row within its shard. source_row: the data row it comes
from, -1 for none. kind: build, null, masked, or unknown (imported). split: train, validation, test or none. tokens: ids of the
base model's vocabulary. token_position: -1 unless a sample is one position of a build."""

KINDS = ("build", "null", "masked", "unknown")
SPLITS = ("train", "validation", "test", "none")


def checked_samples(samples: pl.DataFrame, first_row: int, where: str) -> pl.DataFrame:
    """The table with its columns in order; raises InvalidActivationsError when it is not SAMPLE_SCHEMA from first_row on."""
    dtypes = {name: samples.schema.get(name) for name in SAMPLE_SCHEMA}
    wrong = [
        f"{name} is {dtypes[name]} instead of {dtype}" for name, dtype in SAMPLE_SCHEMA.items() if dtypes[name] != dtype
    ]
    if wrong:
        raise InvalidActivationsError(f"{where}: the sample table does not have the agreed columns: {'; '.join(wrong)}")
    samples = samples.select(SAMPLE_SCHEMA.names())
    empty = [name for name in SAMPLE_SCHEMA if samples[name].null_count()]
    if empty:
        raise InvalidActivationsError(f"{where}: the sample table has missing values in {', '.join(empty)}")
    running = np.arange(first_row, first_row + samples.height)
    off = np.flatnonzero(samples["global_index"].to_numpy() != running)
    if off.size:
        raise InvalidActivationsError(
            f"{where}: row {off[0]} has global_index {samples['global_index'][int(off[0])]} instead of {running[off[0]]}"
        )
    for column, allowed in (("kind", KINDS), ("split", SPLITS)):
        strange = sorted(set(samples[column].unique()) - set(allowed))
        if strange:
            raise InvalidActivationsError(f"{where}: {column} {strange[0]!r} is not one of {', '.join(allowed)}")
    return samples


def write_samples(samples: pl.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write `samples.parquet` and `samples.arrow` below folder, each atomically, and return both paths.

    Raises InvalidActivationsError unless the table is SAMPLE_SCHEMA with global_index 0..n-1.
    """
    samples = checked_samples(samples, 0, "samples.parquet").rechunk()
    parquet, arrow = folder / "samples.parquet", folder / "samples.arrow"
    for path in (parquet, arrow):
        remove_leftovers(folder, path.name)
    with explaining_write_errors("the table of samples", folder):
        with replacing_file(parquet) as aside:
            samples.write_parquet(aside, compression="zstd")
        table = _as_arrow(samples)
        with replacing_file(arrow) as aside, pa.ipc.new_file(str(aside), table.schema) as writer:
            for batch in table.to_batches():
                writer.write_batch(batch)
    return parquet, arrow


def _as_arrow(samples: pl.DataFrame) -> pa.Table:
    return samples.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


class SampleTable:
    """Rows of SAMPLE_SCHEMA by sample id."""

    def __init__(self, arrow: pa.Table, path: Path) -> None:
        """arrow: one row per sample, without missing values. path: where it came from, for messages."""
        self.arrow = arrow
        self.path = path

    @classmethod
    def of(cls, samples: pl.DataFrame, path: Path) -> "SampleTable":
        """The rows of a table that is in memory already, which came from path."""
        return cls(_as_arrow(checked_samples(samples, 0, str(path)).rechunk()), path)

    @classmethod
    def open(cls, path: Path) -> "SampleTable":
        """Read a `samples.arrow`: LayoutError when it is not there, else as `of_bytes`."""
        try:
            return cls.of_bytes(read_bytes(path), path)
        except FileNotFoundError as error:
            raise LayoutError(f"{path} is not there: the samples were not written with this store") from error
        except ValueError as error:
            raise CorruptStoreError(f"{path} cannot be read: {error}") from error

    @classmethod
    def of_bytes(cls, content: bytes, path: Path) -> "SampleTable":
        """The rows of a `samples.arrow` that came from path, without copying them.

        Held in memory and not mapped: a file that is cut short under a mapping ends the process. Raises CorruptStoreError when
        it is not an Arrow file, or a broken one. Offsets that point outside would end the process when a row is taken, so every
        one is checked here.
        """
        try:
            table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptStoreError(f"{path} cannot be read as an Arrow file: {error}") from error
        schema = _as_arrow(SAMPLE_SCHEMA.to_frame()).schema
        if not table.schema.equals(schema):
            raise CorruptStoreError(f"{path} cannot be read as an Arrow file of samples: it has other columns")
        return cls(table.cast(schema), path)

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        return int(self.arrow.num_rows)

    def all(self) -> pl.DataFrame:
        """Every row, in sample order."""
        return _as_polars(self.arrow)

    def take(self, sample_ids: npt.ArrayLike) -> pl.DataFrame:
        """The rows of these samples, in this order.

        Raises SampleNotFoundError for an id outside 0..n_samples - 1, InputError for anything but whole numbers.
        """
        ids = np.asarray(sample_ids).reshape(-1)
        if ids.size and ids.dtype.kind not in "iu":
            raise InputError(
                f"sample ids must be whole numbers, not {ids.dtype}; np.flatnonzero converts a mask to ids"
            )
        outside = ids[(ids < 0) | (ids >= self.n_samples)]
        if outside.size:
            raise SampleNotFoundError(int(outside[0]), self.n_samples, self.path)
        return _as_polars(self.arrow.take(pa.array(ids.astype(np.int64))))


def _as_polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.cast(SAMPLE_SCHEMA)
