"""Raw activations: the rows an encoder writes, one folder per shard (a contiguous range of samples), each with a receipt.

`raw_activations.json` says how many samples and shards there are to be, so that a folder whose writer was cut off is known
for what it is. A shard is written whole or not at all. `RawActivations` reads all shards of a folder as one run of samples.
What becomes of them, the indexed store, is in `merge`.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import SparseRows, feature_id_dtype, joined
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, entries, read_json
from splat_assets.store.errors import (
    CorruptStoreError,
    FingerprintMismatchError,
    InvalidActivationsError,
    LayoutError,
    StoreError,
)
from splat_assets.store.files import files_below, replacing_folder, sha256_of_file, sha256_of_json, write_json
from splat_assets.store.npy import NpyFile
from splat_assets.store.samples import checked_samples
from splat_assets.store.tables import read_table
from splat_assets.text.wording import agreeing, counted

FORMAT_VERSION = 1
DESCRIPTION = "raw_activations.json"
_RECEIPT = "receipt.json"
_PREFIX = "shard-"
_SHARD = re.compile(rf"{_PREFIX}(\d{{5,}})")


def shard_name(number: int) -> str:
    """The folder name of shard `number`, counted from 0: `shard-00007`."""
    return f"{_PREFIX}{number:05d}"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a shard: its size and the sha256 of its bytes."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """The receipt of a finished shard: samples first_row..first_row + n_rows - 1, and what they were made from."""

    first_row: int
    n_rows: int
    n_features: int
    nnz: int
    inputs: dict[str, str]
    files: dict[str, ShardFile]
    format_version: int = FORMAT_VERSION

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def fingerprint(self) -> str:
        """sha256 of the receipt: of the rows, the bytes and the inputs."""
        return sha256_of_json(asdict(self))


def begin_raw_activations(root: Path, n_samples: int, n_shards: int) -> None:
    """Say in root how many samples are to come, in how many shards, and remove shards that are beyond them."""
    for number, folder in _shard_folders(root):
        if number >= n_shards:
            shutil.rmtree(folder)
    counts = {"n_samples": n_samples, "n_shards": n_shards}
    with explaining_write_errors("raw activations", root):
        write_json(root / DESCRIPTION, {"format_version": FORMAT_VERSION, **counts})


def write_shard(
    folder: Path,
    rows: SparseRows,
    samples: pl.DataFrame,
    embeddings: Mapping[str, npt.NDArray[np.float32]],
    n_features: int,
    inputs: Mapping[str, str],
) -> ShardReceipt:
    """Write one shard atomically; the range of samples is that of `samples["global_index"]`.

    samples: SAMPLE_SCHEMA, one line per row. embeddings: float32, shape (n_rows, width) each, by name.
    Raises InvalidActivationsError when rows, samples and embeddings do not fit together or break a promise of the store.
    """
    where = folder.name
    if samples.height == 0 or samples.height != rows.n_rows:
        raise InvalidActivationsError(
            f"{where}: {counted(rows.n_rows, 'rows')} of activations {agreeing(rows.n_rows, 'come')} with "
            f"{counted(samples.height, 'samples')}"
        )
    rows.validate(n_features, where)
    first_row = int(samples["global_index"][0])
    samples = checked_samples(samples, first_row, where)
    _check_embeddings(embeddings, rows.n_rows, where)
    with explaining_write_errors(f"raw activations ({where})", folder.parent), replacing_folder(folder) as aside:
        np.save(aside / "indptr.npy", np.ascontiguousarray(rows.indptr, dtype=np.int64))
        np.save(aside / "feature_ids.npy", np.ascontiguousarray(rows.feature_ids, dtype=feature_id_dtype(n_features)))
        np.save(aside / "values.npy", np.ascontiguousarray(rows.values, dtype=np.float32))
        samples.write_parquet(aside / "samples.parquet", compression="zstd")
        for name, block in embeddings.items():
            (aside / "embeddings").mkdir(exist_ok=True)
            np.save(aside / "embeddings" / f"{name}.npy", np.ascontiguousarray(block, dtype=np.float32))
        files = {
            path.relative_to(aside).as_posix(): ShardFile(path.stat().st_size, sha256_of_file(path))
            for path in files_below(aside)
        }
        receipt = ShardReceipt(first_row, rows.n_rows, n_features, rows.nnz, dict(inputs), files)
        write_json(aside / _RECEIPT, asdict(receipt))
    return receipt


def read_shard_receipt(folder: Path) -> ShardReceipt:
    """The receipt in folder; LayoutError when there is none, CorruptStoreError when it cannot be read."""
    path = folder / _RECEIPT
    try:
        raw: dict[str, Any] = read_json(path)
        if raw["format_version"] != FORMAT_VERSION:
            raise LayoutError(
                f"{path} is of format version {raw['format_version']}; this program reads version {FORMAT_VERSION}"
            )
        files = {name: ShardFile(**file) for name, file in raw["files"].items()}
        return ShardReceipt(**{**raw, "files": files})
    except FileNotFoundError as error:
        raise LayoutError(f"{folder} is not a finished shard: {_RECEIPT} is missing") from error
    except WRONG_CONTENT as error:
        raise CorruptStoreError(f"{path} is not a shard's receipt: {error}; write the shard again") from error


def shard_is_valid(folder: Path, first_row: int, n_rows: int, inputs: Mapping[str, str], deep: bool = False) -> bool:
    """Whether folder is a finished shard of exactly these rows from exactly these inputs.

    deep also compares the sha256 of every file; otherwise only sizes are compared.
    """
    try:
        receipt = read_shard_receipt(folder)
    except StoreError:
        return False
    expected = (first_row, n_rows, dict(inputs))
    return (receipt.first_row, receipt.n_rows, receipt.inputs) == expected and not shard_problems(folder, receipt, deep)


def shard_problems(folder: Path, receipt: ShardReceipt, deep: bool) -> list[str]:
    """The problems of the files of a shard, one sentence each; deep compares every byte's sha256."""
    problems = []
    for name, file in receipt.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif path.stat().st_size != file.size_bytes:
            problems.append(f"{path} has {path.stat().st_size} bytes instead of {file.size_bytes}")
        elif deep and sha256_of_file(path) != file.sha256:
            problems.append(f"{path} holds other bytes than were written: its sha256 is not {file.sha256}")
    return problems


class RawActivations:
    """All shards below a folder as one run of samples, read in order."""

    def __init__(self, root: Path | str) -> None:
        """Read the description and the receipts.

        Raises LayoutError when a shard is missing, CorruptStoreError when a file is gone or of another size, and
        FingerprintMismatchError when shards were made from different inputs.
        """
        self.root = Path(root)
        n_samples, n_shards = _described(self.root)
        self.shards = _all_shards(self.root, n_shards)
        self.receipts = [read_shard_receipt(folder) for folder in self.shards]
        self._check_receipts(n_samples)

    def _check_receipts(self, n_samples: int) -> None:
        first, at = self.receipts[0], 0
        for folder, receipt in zip(self.shards, self.receipts, strict=True):
            if receipt.first_row != at:
                raise LayoutError(f"{folder} starts at sample {receipt.first_row} where sample {at} comes next")
            if receipt.n_features != first.n_features:
                raise LayoutError(
                    f"{folder} has {counted(receipt.n_features, 'features')}, {self.shards[0]} has {first.n_features}"
                )
            if receipt.inputs != first.inputs:
                raise FingerprintMismatchError(
                    f"{folder} was not made from what {self.shards[0].name} was made from",
                    sha256_of_json(first.inputs),
                    sha256_of_json(receipt.inputs),
                    "write the raw activations again",
                )
            problems = shard_problems(folder, receipt, deep=False)
            if problems:
                raise CorruptStoreError(f"{problems[0]}; write the shard again")
            at += receipt.n_rows
        self._ends = np.cumsum([receipt.n_rows for receipt in self.receipts])
        if at != n_samples:
            raise LayoutError(
                f"{self.root} holds samples 0 to {at - 1} in {counted(len(self.shards), 'shards')}; "
                f"{counted(n_samples, 'samples', 'were')} expected"
            )

    @property
    def n_samples(self) -> int:
        """The number of samples in all shards."""
        return int(self._ends[-1])

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self.receipts[0].n_features

    @property
    def n_shards(self) -> int:
        """The number of shards."""
        return len(self.shards)

    @property
    def nnz(self) -> int:
        """The number of activations in all shards."""
        return sum(receipt.nnz for receipt in self.receipts)

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of the shards: fingerprints by name."""
        return self.receipts[0].inputs

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all receipts: which rows, which bytes, from which inputs."""
        return sha256_of_json([receipt.fingerprint for receipt in self.receipts])

    def rows(self, block_rows: int, start: int = 0) -> Iterator[SparseRows]:
        """All samples from `start` on, in blocks of block_rows (the last one may be shorter), across shards."""
        for lo in range(start, self.n_samples, block_rows):
            yield joined(list(self._pieces(lo, min(lo + block_rows, self.n_samples))))

    def _pieces(self, lo: int, hi: int) -> Iterator[SparseRows]:
        shard = int(np.searchsorted(self._ends, lo, side="right"))
        while lo < hi:
            receipt = self.receipts[shard]
            stop = min(hi, receipt.first_row + receipt.n_rows)
            yield self._read_rows(shard, lo - receipt.first_row, stop - receipt.first_row)
            lo, shard = stop, shard + 1

    def _read_rows(self, shard: int, start: int, stop: int) -> SparseRows:
        folder = self.shards[shard]
        indptr = NpyFile(folder / "indptr.npy").read(start, stop + 1).astype(np.int64, copy=False)
        lo, hi = int(indptr[0]), int(indptr[-1])
        ids, values = NpyFile(folder / "feature_ids.npy"), NpyFile(folder / "values.npy")
        if not 0 <= lo <= hi <= min(ids.n_rows, values.n_rows):
            raise CorruptStoreError(f"{folder / 'indptr.npy'} points outside the shard's activations; write it again")
        return SparseRows(indptr - lo, ids.read(lo, hi), values.read(lo, hi))

    def samples(self) -> pl.DataFrame:
        """The sample table: SAMPLE_SCHEMA, row number = global_index."""
        tables = [read_table(folder / "samples.parquet") for folder in self.shards]
        return checked_samples(pl.concat(tables), 0, str(self.root))

    @property
    def embedding_names(self) -> list[str]:
        """The names of the dense values kept beside the rows, sorted."""
        prefix = "embeddings/"
        return sorted(
            name.removeprefix(prefix).removesuffix(".npy") for name in self.receipts[0].files if name.startswith(prefix)
        )

    def embeddings(self, name: str) -> Iterator[npt.NDArray[np.float32]]:
        """The dense values `name`, shard by shard: float32, shape (n_rows, width); LayoutError when there are none."""
        if name not in self.embedding_names:
            kept = ", ".join(self.embedding_names) or "none"
            raise LayoutError(f"{self.root} keeps no embeddings {name!r}; kept: {kept}")
        for folder in self.shards:
            yield NpyFile(folder / "embeddings" / f"{name}.npy").read_all()

    def problems(self) -> list[str]:
        """The problems of all files of all shards, one sentence each: reads and hashes everything."""
        return [
            problem
            for folder, receipt in zip(self.shards, self.receipts, strict=True)
            for problem in shard_problems(folder, receipt, deep=True)
        ]


def _check_embeddings(embeddings: Mapping[str, npt.NDArray[np.float32]], n_rows: int, where: str) -> None:
    for name, block in embeddings.items():
        if block.ndim != 2 or block.shape[0] != n_rows:
            raise InvalidActivationsError(
                f"{where}: embeddings {name!r} have shape {block.shape} for {counted(n_rows, 'rows')}"
            )
        if not np.isfinite(block).all():
            row = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise InvalidActivationsError(f"{where}: embeddings {name!r} hold NaN or infinity in row {row}")


def _described(root: Path) -> tuple[int, int]:
    """The expected numbers of samples and shards."""
    path = root / DESCRIPTION
    try:
        raw = read_json(path)
        return int(raw["n_samples"]), int(raw["n_shards"])
    except FileNotFoundError as error:
        raise LayoutError(f"{root} does not hold raw activations: {DESCRIPTION} is missing") from error
    except WRONG_CONTENT as error:
        raise CorruptStoreError(f"{path} does not describe raw activations: {error}; make them again") from error


def _all_shards(root: Path, n_shards: int) -> list[Path]:
    folders = dict(_shard_folders(root))
    missing = [number for number in range(n_shards) if number not in folders]
    if missing:
        raise LayoutError(
            f"{root} is unfinished: {shard_name(missing[0])} is missing ({len(missing)} of "
            f"{counted(n_shards, 'shards')} are); "
            "run the same command again, existing shards are kept"
        )
    return [folders[number] for number in range(n_shards)]


def _shard_folders(root: Path) -> list[tuple[int, Path]]:
    return [(int(match[1]), path) for path in entries(root) if (match := _SHARD.fullmatch(path.name)) and path.is_dir()]
