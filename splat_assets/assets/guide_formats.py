"""The guide's dense exchange formats, written from the sparse rows: batch Zarr, transposed Zarr, neuron_acts."""

import numpy as np

from splat_assets.assets.asset import Asset, Check, Fact, Made, Outcome, outputs_are_intact
from splat_assets.assets.opened import raw_of, sparse_of, vocabulary_of
from splat_assets.compute.orientations import features_unlike_the_rows
from splat_assets.progress import Progress
from splat_assets.runs import Run
from splat_assets.store.activations import ActivationReader
from splat_assets.store.guide_batch_reader import BatchReader
from splat_assets.store.guide_batches import ACTIVATIONS, EMBEDDINGS, METADATA, SEAL, write_batches
from splat_assets.store.guide_checks import mismatched_features
from splat_assets.store.guide_neuron_acts import NeuronActsReader, write_neuron_acts
from splat_assets.store.guide_transposed import TransposedReader, write_transposed

_N_SAMPLED = 32


def _shape_facts(reader: ActivationReader, size_bytes: int) -> dict[str, Fact]:
    return {
        "shape": f"{reader.n_samples:,} x {reader.n_features:,}",
        "dense_bytes": 4 * reader.n_samples * reader.n_features,
    }


def _make_batches(run: Run, progress: Progress) -> Made:
    raw, target = raw_of(run), run.layout.efficient
    embeddings = {name: raw.embeddings(name) for name in raw.embedding_names}
    written = write_batches(
        sparse_of(run), raw.samples(), embeddings, vocabulary_of(run), target, run.config.store.batch_rows, progress
    )
    outputs = [target / name for name in (ACTIVATIONS, METADATA, EMBEDDINGS, SEAL)]
    return Made(outputs, {**_shape_facts(raw, written.size_bytes), "n_batches": written.n_batches})  # type: ignore[arg-type]


def _batches_equal_the_store(run: Run) -> Outcome:
    sparse, batches = sparse_of(run), BatchReader(run.layout.efficient)
    wrong = features_unlike_the_rows(sparse, batches, _N_SAMPLED, seed=1)
    same_shape = (batches.n_samples, batches.n_features) == (sparse.n_samples, sparse.n_features)
    return Outcome(same_shape and not wrong, _offenders(wrong))


def _batch_metadata_runs_on(run: Run) -> Outcome:
    import polars as pl

    batches = BatchReader(run.layout.efficient)
    index = pl.concat(
        [
            pl.read_parquet(path, columns=["global_index"])
            for path in sorted((run.layout.efficient / METADATA).glob("*.parquet"))
        ]
    )["global_index"].to_numpy()
    return Outcome(np.array_equal(index, np.arange(batches.n_samples)), {"n_samples": int(index.size)})


def _make_transposed(run: Run, progress: Progress) -> Made:
    sparse = sparse_of(run)
    written = write_transposed(sparse, run.layout.transposed, progress)
    facts = {**_shape_facts(sparse, written.size_bytes), "shape": f"{written.n_features:,} x {written.n_samples:,}"}
    return Made([run.layout.transposed], facts)


def _transposed_equals_the_store(run: Run) -> Outcome:
    wrong = mismatched_features(sparse_of(run), TransposedReader(run.layout.transposed), _N_SAMPLED, seed=2)
    return Outcome(not wrong, _offenders(wrong))


def _make_neuron_acts(run: Run, progress: Progress) -> Made:
    sparse = sparse_of(run)
    written = write_neuron_acts(sparse, run.layout.neuron_acts, progress)
    return Made([run.layout.neuron_acts], {"shape": f"{written.n_features:,} features", "nnz": written.nnz})


def _neuron_acts_equal_the_store(run: Run) -> Outcome:
    wrong = mismatched_features(sparse_of(run), NeuronActsReader(run.layout.neuron_acts), _N_SAMPLED, seed=3)
    return Outcome(not wrong, _offenders(wrong))


def _offenders(wrong: list[int]) -> dict[str, Fact]:
    return {"n_sampled": _N_SAMPLED, "wrong_features": ", ".join(map(str, wrong[:20]))}


BATCH_ZARR = Asset(
    name="batch_zarr",
    description="The guide's activations_efficient: dense [samples, features] batches with metadata and embeddings.",
    group="guide_formats",
    kinds=("zarr", "parquet"),
    deps=("raw_activations", "sparse_activations"),
    own_inputs=lambda run: {"batch_rows": str(run.config.store.batch_rows)},
    make=_make_batches,
    checks=(
        outputs_are_intact("batch_zarr"),
        Check(
            "batches_equal_the_store", "Same shape; sampled features equal the sparse store.", _batches_equal_the_store
        ),
        Check("batch_global_index_runs_on", "global_index runs 0 to n - 1 over all batches.", _batch_metadata_runs_on),
    ),
)

TRANSPOSED_ZARR = Asset(
    name="transposed_zarr",
    description="The guide's transposed_activations.zarr: dense [features, samples], one feature a chunk.",
    group="guide_formats",
    kinds=("zarr",),
    deps=("sparse_activations",),
    own_inputs=lambda run: {},
    make=_make_transposed,
    checks=(
        outputs_are_intact("transposed_zarr"),
        Check("transposed_equals_the_store", "Sampled features equal the sparse store.", _transposed_equals_the_store),
    ),
)

NEURON_ACTS = Asset(
    name="neuron_acts",
    description="The guide's neuron_acts: acts.npy and idxs.npy per feature.",
    group="guide_formats",
    kinds=("numpy",),
    deps=("sparse_activations",),
    own_inputs=lambda run: {},
    make=_make_neuron_acts,
    checks=(
        outputs_are_intact("neuron_acts"),
        Check("neuron_acts_equal_the_store", "Sampled features equal the sparse store.", _neuron_acts_equal_the_store),
    ),
)
