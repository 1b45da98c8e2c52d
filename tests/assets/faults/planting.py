"""Ways to spoil a finished run, and to make the spoilt bytes look as if the step itself had written them."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
import zarr

from splat_assets.assets import asset_named
from splat_assets.assets.asset import inputs_of
from splat_assets.assets.opened import raw_of, sae_of, sparse_of
from splat_assets.compute.fit import SCORECARD
from splat_assets.runs import InputFile, Run, open_run
from splat_assets.sae import Sae, save_sae
from splat_assets.store.activations import SparseRows
from splat_assets.store.checksums import crc32c_of
from splat_assets.store.files import sha256_of_file, write_json
from splat_assets.store.raw import ShardFile, read_shard_receipt, write_shard
from splat_assets.store.receipts import read_receipt, write_receipt
from splat_assets.store.sparse.layout import accepting_pcodec
from splat_assets.store.tables import read_table, table_facts, write_table

Plant = Callable[[Run], object]
"""Spoils a run."""
Faults = dict[str, dict[str, Plant]]
"""Check that must go red -> what is wrong, in words -> how to bring it about."""
NAN = float("nan")


def flip_many_bytes(path: Path) -> None:
    """Turn over 40 bytes, evenly spread over the file but for its end."""
    for i in range(40):
        flip_a_byte(path, i / 41)


def flip_a_byte(path: Path, at: float = 0.5) -> None:
    """Turn over every bit of the byte that lies at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 0xFF
    path.write_bytes(content)


def as_if_written(run: Run, asset_name: str, code_version: str | None = None) -> None:
    """Write the asset's receipt anew for what is there now, from the inputs that are there now."""
    asset, receipts = asset_named(asset_name), run.layout.receipts
    receipt = read_receipt(receipts, asset_name)
    assert receipt is not None
    outputs = [run.layout.root / output.path for output in receipt.outputs]
    inputs = inputs_of(asset, run)
    version = code_version or asset.code_version
    write_receipt(receipts, run.layout.root, asset_name, version, inputs, outputs, receipt.facts, receipt.seconds)


def describe_inputs_anew(run: Run) -> Run:
    """Put the sha256 of the input files as they are now into run.toml, as if the run had been made from them."""
    text = run.layout.config.read_text(encoding="utf-8")
    for name in ("model_checkpoint", "vocab", "weapon_vocab", "data", "model_params"):
        recorded = getattr(run.config.inputs, name)
        text = text.replace(recorded.sha256, InputFile.of(Path(recorded.path), name).sha256)
    run.layout.config.write_text(text, encoding="utf-8")
    return open_run(run.root, run.name)


def change_recipe(run: Run, before: str, after: str) -> None:
    text = run.layout.config.read_text(encoding="utf-8")
    assert text.count(before) == 1, text
    run.layout.config.write_text(text.replace(before, after), encoding="utf-8")


def change_table(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], **facts: Any) -> None:
    """Write a changed table in the place of a table, with its facts, and these among them."""
    write_table(path, change(read_table(path)), {**table_facts(path), **facts})


def set_cell(row: int, column: str, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(table: pl.DataFrame) -> pl.DataFrame:
        values = table[column].to_list()
        assert values[row] != value
        values[row] = value
        return table.with_columns(pl.Series(column, values, dtype=table.schema[column]))

    return change


def swap_rows(a: int, b: int, *but: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Two rows change places, except in the columns named."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        order = list(range(table.height))
        order[a], order[b] = b, a
        swapped = table[order].with_columns(table[name] for name in but)
        assert not swapped.equals(table)
        return swapped

    return change


def change_json(path: Path, **values: Any) -> None:
    held = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**held, **values})


# SAE


def save_changed_sae(run: Run, measured: bool = True, **changes: torch.Tensor) -> None:
    """Save the run's SAE with other tensors in both formats; measured: its scorecard says that it speaks of them."""
    changed: Sae = replace(sae_of(run), **changes)  # type: ignore[arg-type]
    save_sae(changed, run.layout.sae)
    if measured:
        change_json(run.layout.sae / SCORECARD, sae_sha256=changed.fingerprint)


# Raw activations


def rewrite_shard(
    run: Run,
    index: int,
    rows: Callable[[SparseRows], SparseRows] = lambda rows: rows,
    samples: Callable[[pl.DataFrame], pl.DataFrame] = lambda table: table,
    inputs: dict[str, str] | None = None,
) -> None:
    """Write a shard anew, changed, with a receipt that fits."""
    raw = raw_of(run)
    folder, receipt = raw.shards[index], raw.receipts[index]
    block = next(raw.rows(receipt.n_rows, start=receipt.first_row))
    table = samples(pl.read_parquet(folder / "samples.parquet"))
    embeddings = {name: list(raw.embeddings(name))[index] for name in raw.embedding_names}
    write_shard(folder, rows(block), table, embeddings, raw.n_features, inputs or receipt.inputs)


def reversed_rows(rows: SparseRows) -> SparseRows:
    parts = [rows.row(i) for i in reversed(range(rows.n_rows))]
    indptr = np.concatenate([[0], np.cumsum([part.values.size for part in parts])]).astype(np.int64)
    return SparseRows(indptr, np.concatenate([p.feature_ids for p in parts]), np.concatenate([p.values for p in parts]))


def change_npy(path: Path, change: Callable[[npt.NDArray[Any]], object]) -> None:
    array = np.load(path)
    change(array)
    np.save(path, array)


def describe_shard_anew(folder: Path) -> None:
    """Write the shard's receipt for the files as they are now."""
    receipt = read_shard_receipt(folder)
    files = {name: ShardFile((folder / name).stat().st_size, sha256_of_file(folder / name)) for name in receipt.files}
    write_json(folder / "receipt.json", asdict(replace(receipt, files=files)))


# Zarr


def change_array(path: Path, change: Callable[[npt.NDArray[Any]], object]) -> None:
    """Read a Zarr array whole, change it in memory, write it back."""
    with accepting_pcodec():
        array = zarr.open_array(path, mode="r+")
    values = np.asarray(array[...])
    change(values)
    array[...] = values


def change_feature(run: Run, feature_id: int, value: float) -> None:
    """Set the first value of a feature in X alone, and let its crc32c fit."""
    sparse = sparse_of(run)
    found = sparse.read(feature_id)
    at = int(sparse.by_feature.indptr[feature_id])
    values = found.values.copy()
    values[0] = value
    zarr_root = run.layout.activations_zarr
    change_array(zarr_root / "X" / "data", lambda data: data.__setitem__(at, value))
    crc = crc32c_of(found.sample_ids, values)
    change_array(zarr_root / "var" / "crc32c", lambda crcs: crcs.__setitem__(feature_id, crc))


def largest_file(folder: Path) -> Path:
    """The largest file below folder."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
