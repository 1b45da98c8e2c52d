"""Upstream's joblib dictionaries, read only when the caller trusts them: they are pickles, and loading one runs its code.

Neither joblib nor pandas is a dependency; a needed one that is absent is an error that names it. Each file is loaded
whole, once.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.errors import InputError
from splat_assets.store.activations import BlockRows, SparseRows
from splat_assets.store.documents import entries
from splat_assets.store.errors import CorruptStoreError, LayoutError

_VALUES = "all_sae_hidden_activations"
_RECORDS = "analysis_df_records"
_COLUMNS = {
    "ability_input_tokens": "ability_tokens",
    "weapon_id_token": "weapon_id_token",
    "is_null_token": "is_null_token",
    "weapon_name": "weapon_name",
}


def joblib_files(folder: Path) -> list[Path]:
    """The `*.joblib` files in folder, by name."""
    return [path for path in entries(folder) if path.suffix == ".joblib"]


def read_joblib(files: Sequence[Path], scratch: Path) -> tuple[BlockRows, tuple[tuple[str, pl.DataFrame], ...]]:
    """Rows (sparse, in scratch) and sample tables of the files, in order. Only call this for files that are trusted.

    Args:
        files: pickles of dictionaries with `all_sae_hidden_activations`, shape (n, n_features), and `analysis_df_records`.
        scratch: an empty folder, which must stay as long as the rows are read.

    Raises:
        InputError: joblib or pandas is needed and not installed.
        LayoutError: a file holds something else, or files differ in their number of features.
        InvalidActivationsError: a value is negative, NaN or infinite.
        CorruptStoreError: a file cannot be loaded.
    """
    tables, folders, widths, n_samples = [], [], set(), 0
    for i, path in enumerate(files):
        content = _load(path)
        if not isinstance(content, dict) or not {_VALUES, _RECORDS} <= content.keys():
            raise LayoutError(f"{path} is not a dictionary with {_VALUES} and {_RECORDS}; leave it out of the folder")
        values, table = _values(content[_VALUES], path), _table(content[_RECORDS], path)
        if values.ndim != 2 or table.height != len(values):
            raise LayoutError(f"{path} has {table.height} records for activations of shape {values.shape}")
        folders.append(_spilled(SparseRows.from_dense(values, str(path)), scratch / f"joblib-{i:04d}"))
        tables.append((path.name, table))
        widths.add(values.shape[1])
        n_samples += len(values)
    if len(widths) > 1:
        raise LayoutError(
            f"the joblib files have {', '.join(map(str, sorted(widths)))} features: they come from different SAEs"
        )
    return BlockRows(n_samples, widths.pop(), lambda: map(_unspilled, folders)), tuple(tables)


def _load(path: Path) -> Any:
    try:
        return importlib.import_module("joblib").load(path)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path} can only be read with {error.name}, which is not installed: `pip install joblib pandas`, or convert it "
            "where it was made"
        ) from error
    except Exception as error:  # a pickle may raise anything
        raise CorruptStoreError(f"{path} cannot be loaded: {error}; copy it again") from error


def _values(raw: Any, path: Path) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
            return np.asarray(raw, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise LayoutError(f"{path} holds activations that are not numbers: {error}") from error


def _table(records: Any, path: Path) -> pl.DataFrame:
    """The columns of a pandas table, or of a list of dicts, that describe samples."""
    try:
        names = records[0].keys() if isinstance(records, list) and records else getattr(records, "columns", ())
        columns = {}
        for name, ours in _COLUMNS.items():
            if name in names:
                values = [record.get(name) for record in records] if isinstance(records, list) else list(records[name])
                columns[ours] = [_plain(value) for value in values]
        return pl.DataFrame(columns)
    except (TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        raise LayoutError(f"{path}: its records cannot be read as a table: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [int(token) for token in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def _spilled(rows: SparseRows, folder: Path) -> Path:
    folder.mkdir()
    for name, array in (("indptr", rows.indptr), ("feature_ids", rows.feature_ids), ("values", rows.values)):
        np.save(folder / f"{name}.npy", array)
    return folder


def _unspilled(folder: Path) -> SparseRows:
    return SparseRows(*(np.load(folder / f"{name}.npy") for name in ("indptr", "feature_ids", "values")))
