"""Faults of the guide's dense formats: batch Zarr, transposed Zarr, neuron_acts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.runs import Run
from tests.assets.faults.planting import (
    NAN,
    Faults,
    Plant,
    change_array,
    change_npy,
    flip_a_byte,
    flip_many_bytes,
    largest_file,
    swap_rows,
)

Array = npt.NDArray[Any]


def active(found: float) -> Callable[[Array], object]:
    """Every activation has this value."""
    return lambda values: values.__setitem__(values > 0, found)


def reverse(values: Array) -> None:
    values[:] = values[::-1].copy()


def shift_samples(values: Array) -> None:
    values[:] = np.roll(values, 1, axis=1)


def in_tree(name: str, change: Callable[[Path], object]) -> Plant:
    return lambda run: change(run.layout.efficient / name)


def in_array(change: Callable[[Array], object], name: str = "activations/batch_0000.zarr") -> Plant:
    return in_tree(name, lambda path: change_array(path, change))


def metadata(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Plant:
    return in_tree("metadata/batch_0001.parquet", lambda path: change(pl.read_parquet(path)).write_parquet(path))


BATCH_ZARR: Faults = {
    "batches_equal_the_store": {
        "flipped bytes": in_tree("activations/batch_0000.zarr", lambda path: flip_many_bytes(largest_file(path))),
        "a missing shard": in_tree("activations/batch_0000.zarr", lambda path: largest_file(path).unlink()),
        "a missing batch": in_tree("activations/batch_0000.zarr", shutil.rmtree),
        "a missing last batch": in_tree("activations/batch_0001.zarr", shutil.rmtree),
        "no seal": in_tree("conversion_metadata.json", Path.unlink),
        "NaNs": in_array(active(NAN)),
        "other values": in_array(active(1.0)),
        "swapped rows": in_array(reverse),
    },
    "batch_metadata_is_that_of_the_samples": {
        "swapped rows": metadata(swap_rows(3, 90, "global_index")),
        "a global_index that starts over": metadata(lambda found: found.with_columns(pl.col("global_index") - 500)),
        "a lost table": in_tree("metadata/batch_0001.parquet", Path.unlink),
        "a lost column": metadata(lambda found: found.drop("weapon_name")),
    },
    "batch_embeddings_are_exact": {
        "swapped rows": in_array(reverse, "embeddings/sae_input.zarr"),
        "a NaN": in_array(lambda values: values.__setitem__((5, 5), NAN), "embeddings/sae_recon.zarr"),
        "a lost embedding": in_tree("embeddings/model_logits.zarr", shutil.rmtree),
    },
}


def in_transposed(change: Callable[[Path], object]) -> Plant:
    return lambda run: change(run.layout.transposed / "transposed_activations.zarr")


def features(change: Callable[[Array], object]) -> Plant:
    return in_transposed(lambda path: change_array(path, change))


TRANSPOSED_ZARR: Faults = {
    "transposed_equals_the_store": {
        "flipped bytes": in_transposed(lambda path: flip_many_bytes(largest_file(path))),
        "a missing shard": in_transposed(lambda path: largest_file(path).unlink()),
        "NaNs": features(active(NAN)),
        "swapped features": features(reverse),
        "shifted samples": features(shift_samples),
        "no array": in_transposed(shutil.rmtree),
    },
}


def neurons(change: Callable[[Path], object]) -> Plant:
    """Change the folder of every feature that fires more than once."""

    def plant(run: Run) -> None:
        for path in sorted(run.layout.neuron_acts.glob("neuron_*/acts.npy")):
            if np.load(path).size > 1:
                change(path.parent)

    return plant


def in_file(name: str, change: Callable[[Array], object]) -> Plant:
    return neurons(lambda folder: change_npy(folder / name, change))


def swap_neighbouring_features(run: Run) -> None:
    folders = sorted(path.parent for path in run.layout.neuron_acts.glob("neuron_*/acts.npy"))
    for a, b in zip(folders[0::2], folders[1::2], strict=True):
        aside = a.with_name("aside")
        a.rename(aside)
        b.rename(a)
        aside.rename(b)


NEURON_ACTS: Faults = {
    "neuron_acts_equal_the_store": {
        "flipped bytes": neurons(lambda folder: flip_a_byte(folder / "acts.npy", 1.0)),
        "a missing feature": lambda run: shutil.rmtree(run.layout.neuron_acts / "neuron_0005"),
        "missing files": neurons(lambda folder: (folder / "idxs.npy").unlink()),
        "files cut short": neurons(lambda folder: (folder / "acts.npy").write_bytes(b"")),
        "NaNs": in_file("acts.npy", lambda values: values.__setitem__(0, NAN)),
        "swapped samples": in_file("idxs.npy", reverse),
        "swapped values": in_file("acts.npy", reverse),
        "swapped features": swap_neighbouring_features,
    },
}
