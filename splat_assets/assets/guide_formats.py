"""The guide's dense exchange formats, written from the sparse rows: batch Zarr, transposed Zarr, neuron_acts."""

from splat_assets.assets.asset import Asset, AssetResult, Check, Fact, Outcome, offenders
from splat_assets.assets.opened import contexts_of, raw_of, sparse_of, vocabulary_of
from splat_assets.runs import Run
from splat_assets.store.guide.batches import (
    ACTIVATIONS,
    CONTEXTS,
    EMBEDDINGS,
    METADATA,
    SEAL,
    VOCABULARY,
    write_batches,
)
from splat_assets.store.guide.checks import (
    mismatched_batch_metadata,
    mismatched_batch_rows,
    mismatched_embeddings,
    mismatched_features,
)
from splat_assets.store.guide.neuron_acts import NeuronActsReader, write_neuron_acts
from splat_assets.store.guide.transposed import TransposedReader, write_transposed
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

_N_FEATURES = 32
_N_ROWS = 256


def _make_batches(run: Run, progress: Progress) -> AssetResult:
    raw, target = raw_of(run), run.layout.efficient
    embeddings = {name: raw.embeddings(name) for name in raw.embedding_names}
    batch_rows = run.config.store.batch_rows
    written = write_batches(
        sparse_of(run),
        raw.samples(),
        embeddings,
        vocabulary_of(run),
        target,
        batch_rows,
        progress,
        raw.fingerprint,
        contexts_of(run),
    )
    outputs = [target / name for name in (ACTIVATIONS, METADATA, EMBEDDINGS, VOCABULARY, CONTEXTS, SEAL)]
    return AssetResult(outputs, {**_shape(raw.n_samples, raw.n_features), "n_batches": written.n_batches})


def _make_transposed(run: Run, progress: Progress) -> AssetResult:
    written = write_transposed(sparse_of(run), run.layout.transposed, progress)
    return AssetResult([run.layout.transposed], _shape(written.n_features, written.n_samples))


def _make_neuron_acts(run: Run, progress: Progress) -> AssetResult:
    written = write_neuron_acts(sparse_of(run), run.layout.neuron_acts, progress)
    return AssetResult([run.layout.neuron_acts], {"shape": counted(written.n_features, "features"), "nnz": written.nnz})


def _batches_equal_the_store(run: Run) -> Outcome:
    wrong = mismatched_batch_rows(sparse_of(run), run.layout.efficient, _N_ROWS, seed=1)
    return offenders(wrong, "samples", n_sampled=_N_ROWS)


def _batch_metadata_is_that_of_the_samples(run: Run) -> Outcome:
    raw = raw_of(run)
    wrong = mismatched_batch_metadata(raw.samples(), vocabulary_of(run), run.layout.efficient)
    return offenders(wrong, "samples", n_samples=raw.n_samples)


def _embeddings_are_those_of_the_shards(run: Run) -> Outcome:
    raw = raw_of(run)
    wrong = mismatched_embeddings({name: raw.embeddings(name) for name in raw.embedding_names}, run.layout.efficient)
    return Outcome(not wrong, {"names": ", ".join(raw.embedding_names), "wrong": ", ".join(wrong)})


def _equals_the_store(run: Run, written: TransposedReader | NeuronActsReader, seed: int) -> Outcome:
    wrong = mismatched_features(sparse_of(run), written, _N_FEATURES, seed=seed)
    return offenders(wrong, "features", n_sampled=_N_FEATURES)


def _shape(n_rows: int, n_columns: int) -> dict[str, Fact]:
    return {"shape": f"{n_rows:,} x {n_columns:,}", "bytes_if_dense": 4 * n_rows * n_columns}


BATCH_ZARR = Asset(
    name="batch_zarr",
    description="The guide's activations_efficient: dense [samples, features] batches with metadata and embeddings.",
    group="guide_formats",
    kinds=("zarr", "parquet"),
    deps=("raw_activations", "sparse_activations"),
    code_version="3",
    own_inputs=lambda run: {
        "batch_rows": str(run.config.store.batch_rows),
        "weapon_vocab": run.config.inputs.weapon_vocab.sha256,
    },
    make=_make_batches,
    checks=(
        Check("batches_equal_the_store", "Same shape; sampled rows equal the sparse store.", _batches_equal_the_store),
        Check(
            "batch_metadata_is_that_of_the_samples",
            "Every row of metadata is right; global_index runs 0 to n - 1.",
            _batch_metadata_is_that_of_the_samples,
        ),
        Check("batch_embeddings_are_exact", "Every embedding is its shard's.", _embeddings_are_those_of_the_shards),
    ),
)

TRANSPOSED_ZARR = Asset(
    name="transposed_zarr",
    description="The guide's transposed_activations.zarr: dense [features, samples], one feature a chunk.",
    group="guide_formats",
    kinds=("zarr",),
    deps=("sparse_activations",),
    make=_make_transposed,
    checks=(
        Check(
            "transposed_equals_the_store",
            "Sampled features equal the sparse store.",
            lambda run: _equals_the_store(run, TransposedReader(run.layout.transposed), seed=2),
        ),
    ),
)

NEURON_ACTS = Asset(
    name="neuron_acts",
    description="The guide's neuron_acts: acts.npy and idxs.npy per feature.",
    group="guide_formats",
    kinds=("numpy",),
    deps=("sparse_activations",),
    make=_make_neuron_acts,
    checks=(
        Check(
            "neuron_acts_equal_the_store",
            "Sampled features equal the sparse store.",
            lambda run: _equals_the_store(run, NeuronActsReader(run.layout.neuron_acts), seed=3),
        ),
    ),
)
