"""Builds in columns: what every build wears, on which weapon, in which split. How files become builds is in `tokenised`."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import access_denied, first_line, refuse_irregular
from splat_assets.store.files import replacing_file
from splat_assets.store.tables import TABLE_FAULTS

SPLITS = ("train", "validation", "test")
"""What the codes 0, 1 and 2 of `Builds.split` mean."""

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "tokens": pl.List(pl.Int32),
    "weapon": pl.Int32,
    "split": pl.UInt8,
    "source_row": pl.Int64,
}

_DTYPES = {
    "tokens": np.dtype(np.int32),
    "offsets": np.dtype(np.int64),
    "weapons": np.dtype(np.int32),
    "split": np.dtype(np.uint8),
    "source_row": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Builds:
    """Many builds; build i has the tokens `tokens[offsets[i]:offsets[i + 1]]`.

    tokens: int32, shape (total,), every build holds at least one. offsets: int64, shape (n + 1,), from 0 to total.
    weapons: int32, shape (n,), ids of the weapon vocabulary. split: uint8, shape (n,), indices into SPLITS.
    source_row: int64, shape (n,), the 0-based data row of the file it came from.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    weapons: npt.NDArray[np.int32]
    split: npt.NDArray[np.uint8]
    source_row: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse columns that contradict each other (ValueError)."""
        dtypes = {name: column.dtype for name, column in vars(self).items() if name in _DTYPES}
        if dtypes != _DTYPES:
            raise ValueError(f"columns of builds have the types {_DTYPES}, not {dtypes}")
        n = self.weapons.size
        if self.offsets.shape != (n + 1,) or self.split.shape != (n,) or self.source_row.shape != (n,):
            raise ValueError(f"columns of {n} builds disagree in length")
        if self.offsets[0] != 0 or self.offsets[-1] != self.tokens.size or (n and np.diff(self.offsets).min() < 1):
            raise ValueError("offsets must rise by at least one from 0 to the number of tokens")

    @property
    def n_builds(self) -> int:
        """How many builds there are."""
        return int(self.weapons.size)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64, shape (n,): how many tokens each build has."""
        return np.diff(self.offsets)

    def tokens_of(self, build: int) -> npt.NDArray[np.int32]:
        """The tokens of one build, int32, in the order of the file."""
        return self.tokens[self.offsets[build] : self.offsets[build + 1]]

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """int64: which builds belong to a split (one of SPLITS), rising."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def batch(self, rows: npt.NDArray[np.int64], pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What a model takes for these builds.

        Ability tokens int64, shape (len(rows), longest of them), padded, and weapons int64, shape (len(rows), 1).
        """
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        width = int(lengths.max(initial=0))
        columns = np.arange(width)
        worn = columns < lengths[:, None]
        tokens = np.full((len(rows), width), pad_id, dtype=np.int64)
        tokens[worn] = self.tokens[(self.offsets[rows][:, None] + columns)[worn]]
        return tokens, self.weapons[rows].astype(np.int64)[:, None]

    def take(self, rows: npt.NDArray[np.int64]) -> "Builds":
        """These builds in this order."""
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        where = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Builds(self.tokens[where], offsets, self.weapons[rows], self.split[rows], self.source_row[rows])

    def with_split(self, split: npt.NDArray[np.uint8]) -> "Builds":
        """The same builds in other splits."""
        return replace(self, split=split)

    @cached_property
    def build_of_token(self) -> npt.NDArray[np.int64]:
        """int64, shape (total,): which build each token belongs to."""
        return np.repeat(np.arange(self.n_builds, dtype=np.int64), self.lengths)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the content of all columns."""
        digest = hashlib.sha256(b"builds 1")
        for column in (self.tokens, self.offsets, self.weapons, self.split, self.source_row):
            digest.update(np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()

    def to_frame(self) -> pl.DataFrame:
        """One row per build: tokens list<i32>, weapon i32, split u8, source_row i64."""
        tokens = pa.Array.from_buffers(
            pa.int32(), self.tokens.size, [None, pa.py_buffer(np.ascontiguousarray(self.tokens))]
        )
        ends = pa.py_buffer(np.ascontiguousarray(self.offsets))
        lists = pa.LargeListArray.from_buffers(
            pa.large_list(pa.int32()), self.n_builds, [None, ends], children=[tokens]
        )
        columns = {"weapon": self.weapons, "split": self.split, "source_row": self.source_row}
        return pl.DataFrame({"tokens": pl.from_arrow(lists), **columns}, schema=_SCHEMA)

    def save(self, path: Path) -> None:
        """Write the columns as Parquet, atomically."""
        with explaining_write_errors("builds", path.parent), replacing_file(path) as aside:
            self.to_frame().write_parquet(aside, compression="zstd", statistics=False)

    @classmethod
    def load(cls, path: Path) -> "Builds":
        """Read what `save` wrote. Raises InputError when path holds something else."""
        try:
            refuse_irregular(path)
            frame = pl.read_parquet(path.absolute(), glob=False)
        except PermissionError as error:
            raise access_denied(error, path) from error
        except TABLE_FAULTS as error:
            raise InputError(f"cannot read the builds {path}: {first_line(error)}; create them again") from error
        if frame.schema != pl.Schema(_SCHEMA):
            raise InputError(f"{path} does not hold builds: its columns are {dict(frame.schema)}, expected {_SCHEMA}")
        incomplete = [name for name in _SCHEMA if frame[name].null_count()]
        if incomplete or (frame["tokens"].list.len() == 0).any() or frame["tokens"].explode().null_count():
            raise InputError(f"{path} does not hold builds: a value is missing, or a build is empty; create it again")
        return cls(
            tokens=frame["tokens"].explode().to_numpy().astype(np.int32, copy=False),
            offsets=offsets_of(frame["tokens"].list.len().to_numpy()),
            weapons=frame["weapon"].to_numpy(),
            split=frame["split"].to_numpy(),
            source_row=frame["source_row"].to_numpy(),
        )
