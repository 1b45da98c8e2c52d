"""Faults of the activations: raw shards, sparse matrices, the published version."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from splat_assets.assets.opened import raw_of, sae_of, sparse_of
from splat_assets.runs import Run
from splat_assets.store.activations import SparseRows
from splat_assets.store.published.publishing import open_store, publish
from splat_assets.store.receipts import Receipt, read_receipt
from splat_assets.store.sparse.merge import write_sparse_store
from tests.assets.faults.planting import (
    NAN,
    Faults,
    Plant,
    as_if_written,
    change_feature,
    change_json,
    change_npy,
    change_table,
    describe_shard_anew,
    flip_a_byte,
    reversed_rows,
    rewrite_shard,
    save_changed_sae,
    set_cell,
    swap_rows,
)


def shard(run: Run, index: int) -> Path:
    return run.layout.raw_activations / f"shard-{index:05d}"


def value(found: float) -> Plant:
    """A value in a shard, and the shard's own receipt fits."""

    def plant(run: Run) -> None:
        change_npy(shard(run, 1) / "values.npy", lambda values: values.__setitem__(10, found))
        describe_shard_anew(shard(run, 1))

    return plant


def swap_tokens(table: pl.DataFrame) -> pl.DataFrame:
    first = table["tokens"][0].to_list()
    other = next(i for i, tokens in enumerate(table["tokens"].to_list()) if tokens != first)
    return swap_rows(0, other, *(name for name in table.columns if name != "tokens"))(table)


def shift_global_index(run: Run) -> None:
    path = shard(run, 1) / "samples.parquet"
    table = pl.read_parquet(path)
    table.with_columns(pl.col("global_index") - table["global_index"][0]).write_parquet(path)
    describe_shard_anew(shard(run, 1))


def another_sae_after_encoding(run: Run) -> None:
    save_changed_sae(run, b_enc=sae_of(run).b_enc + 0.5)
    as_if_written(run, "sae_checkpoint")


RAW_ACTIVATIONS: Faults = {
    "raw_activations_have_every_shard": {
        "a missing shard": lambda run: shutil.rmtree(shard(run, 1)),
        "a missing last shard": lambda run: shutil.rmtree(shard(run, 3)),
        "a missing file": lambda run: (shard(run, 1) / "indptr.npy").unlink(),
        "a shard of another SAE": lambda run: rewrite_shard(run, 1, inputs={**raw_of(run).inputs, "sae": "0" * 64}),
    },
    "raw_activations_have_one_row_per_item": {"rows lost at the end": lambda run: shutil.rmtree(shard(run, 3))},
    "raw_values_are_finite_and_positive": {"a NaN": value(NAN), "a zero": value(0.0), "a negative": value(-1.0)},
    "global_index_is_contiguous": {"a global_index that starts over": shift_global_index},
    "samples_are_those_of_the_dataset": {
        "samples with each other's tokens": lambda run: rewrite_shard(run, 1, samples=swap_tokens),
        "a build in another split": lambda run: rewrite_shard(run, 1, samples=set_cell(7, "split", "none")),
    },
    "shards_hold_what_was_written": {"a flipped byte": lambda run: flip_a_byte(shard(run, 2) / "values.npy")},
    "sampled_rows_equal_a_fresh_pass": {
        "swapped rows": lambda run: rewrite_shard(run, 1, rows=reversed_rows),
        "another SAE": another_sae_after_encoding,
    },
}


class Rows:
    """The raw rows of a run, changed, under the name of the unchanged ones or another."""

    def __init__(self, run: Run, change: Callable[[SparseRows], SparseRows], fingerprint: str) -> None:
        raw = raw_of(run)
        self.n_samples, self.n_features = raw.n_samples, raw.n_features
        self.fingerprint = fingerprint or raw.fingerprint
        self._block = change(next(raw.rows(raw.n_samples)))

    def rows(self, block_rows: int, start: int = 0) -> Iterator[SparseRows]:
        for lo in range(start, self.n_samples, block_rows):
            yield self._block.slice(lo, min(lo + block_rows, self.n_samples))


def store_of(change: Callable[[SparseRows], SparseRows], fingerprint: str = "") -> Plant:
    return lambda run: write_sparse_store(Rows(run, change, fingerprint), run.layout.activations_zarr)


def without_the_last_value(rows: SparseRows) -> SparseRows:
    indptr = rows.indptr.copy()
    indptr[-1] -= 1
    return SparseRows(indptr, rows.feature_ids[:-1], rows.values[:-1])


def by_feature(found: float) -> Plant:
    """A value of a feature that fires often, in X alone, and its crc32c fits."""
    return lambda run: change_feature(run, int(sparse_of(run).feature_n_active.argmax()), found)


def zarr_file(name: str, change: Callable[[Path], object]) -> Plant:
    return lambda run: change(run.layout.activations_zarr / name)


SPARSE_ACTIVATIONS: Faults = {
    "orientations_hold_the_same": {
        "a flipped byte": zarr_file("X/data/c/0", flip_a_byte),
        "a flipped byte by sample": zarr_file("layers/by_sample/data/c/0", flip_a_byte),
        "a missing shard": zarr_file("X/indices/c/0", Path.unlink),
        "a missing shard by sample": zarr_file("layers/by_sample/data/c/0", Path.unlink),
        "a NaN": by_feature(NAN),
        "a value in one half only": by_feature(0.125),
    },
    "sparse_rows_equal_raw": {
        "a flipped sample": zarr_file("layers/by_sample/indices/c/0", flip_a_byte),
        "swapped rows": store_of(reversed_rows),
        "a lost value": store_of(without_the_last_value),
    },
    "sparse_comes_from_the_raw_activations": {"another source": store_of(lambda rows: rows, "0" * 64)},
}


def version_file(name: str, change: Callable[[Path], object]) -> Plant:
    return lambda run: change(open_store(run.layout.root).folder / name)


def switch_to(version: str) -> Plant:
    return lambda run: (run.layout.store / "CURRENT").write_text(f"{version}\n", encoding="ascii")


def publish_other(run: Run, parts: dict[str, Path], **provenance: object) -> None:
    """Publish the run's staged parts, but for some, or with another provenance; the receipt speaks of that version."""
    store, held = open_store(run.layout.root), run.layout.receipts / "published_store.json"
    names = {file.path.split("/")[0] for file in store.manifest.files}
    staged = {name: run.layout.staged / name for name in names}
    version = publish(run.layout.store, staged | parts, {**store.manifest.provenance, **provenance})
    receipt = read_receipt(run.layout.receipts, "published_store")
    assert receipt is not None
    text = held.read_text(encoding="utf-8").replace(store.version, version)
    held.write_text(text.replace(receipt.fingerprint, moved(receipt, store.version, version).fingerprint))


def moved(receipt: Receipt, before: str, after: str) -> Receipt:
    outputs = tuple(replace(output, path=output.path.replace(before, after)) for output in receipt.outputs)
    return replace(receipt, outputs=outputs)


def published(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Plant:
    """A version with a changed table."""

    def plant(run: Run) -> None:
        other = run.layout.root / f"other-{name}"
        shutil.copyfile(run.layout.staged / name, other)
        change_table(other, change)
        publish_other(run, {name: other})

    return plant


PUBLISHED_STORE: Faults = {
    "version_is_sound": {
        "a flipped byte": version_file("idf.parquet", flip_a_byte),
        "a flipped activation": version_file("activations.zarr/X/data/c/0", flip_a_byte),
        "a missing shard": version_file("activations.zarr/X/data/c/0", Path.unlink),
        "a missing table": version_file("examples.parquet", Path.unlink),
        "a file too many": version_file("notes.txt", lambda path: path.write_text("hello")),
        "no manifest": version_file("manifest.json", Path.unlink),
        "an edited manifest": version_file("manifest.json", lambda path: change_json(path, nnz=1)),
    },
    "current_is_this_version": {
        "CURRENT at nothing": switch_to("0" * 16),
        "no CURRENT": lambda run: (run.layout.store / "CURRENT").unlink(),
    },
    "fingerprints_agree": {
        "a version of another SAE": lambda run: publish_other(run, {}, sae="0" * 64),
        "a version of another dataset": lambda run: publish_other(run, {}, data="0" * 64),
    },
    "version_holds_what_was_checked": {
        "a NaN in a table": published("idf.parquet", set_cell(4, "idf", NAN)),
        "swapped rows": published("examples.parquet", swap_rows(1, 2)),
    },
}
