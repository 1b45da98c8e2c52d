"""Raw activations: the SAE run over every build, sparse, shard by shard."""

import numpy as np

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome, Row, offenders, recipe_hash
from splat_assets.assets.opened import (
    base_activations_of,
    builds_of,
    contexts_of,
    hook_of,
    items_of,
    model_files_of,
    raw_of,
    sae_of,
    shards_of_run,
    vocabulary_of,
)
from splat_assets.compute.encode import encode, rows_differing_from_recompute
from splat_assets.compute.items import sample_table
from splat_assets.compute.shards import ShardRunner
from splat_assets.runs import Run
from splat_assets.text.progress import Progress

_BLOCK_ROWS = 16_384


def _own_inputs(run: Run) -> dict[str, str]:
    return {"activations": recipe_hash(run.config.activations), "hook": recipe_hash(run.config.hook)}


def _make(run: Run, progress: Progress) -> AssetResult:
    recipe, per_token = run.config.activations, hook_of(run).per_token
    items = items_of(run)
    base = base_activations_of(run, items, progress)
    shards, runner = shards_of_run(run, items), ShardRunner.from_environment()
    done = encode(
        run.layout.raw_activations,
        items,
        vocabulary_of(run),
        contexts_of(run),
        shards,
        base,
        run.layout.sae,
        per_token=per_token,
        embeddings=recipe.embeddings,
        runner=runner,
        progress=progress,
    )
    raw = raw_of(run)
    facts: Facts = {
        "shape": f"{raw.n_samples:,} x {raw.n_features:,}",
        "nnz": raw.nnz,
        "l0": round(raw.nnz / max(1, raw.n_samples), 2),
        "density": raw.nnz / max(1, raw.n_samples * raw.n_features),
        "n_shards": raw.n_shards,
        "n_shards_resumed": done.n_skipped,
        "backend": runner.backend,
        "device": runner.device,
        "rows_per_s": round(raw.n_samples / done.seconds, 1),
    }
    table: list[Row] = [
        {"shard": folder.name, "first_row": receipt.first_row, "n_rows": receipt.n_rows, "nnz": receipt.nnz}
        for folder, receipt in zip(raw.shards, raw.receipts, strict=True)
    ]
    return AssetResult([run.layout.raw_activations], facts, table[:200])


def _has_every_shard(run: Run) -> Outcome:
    raw, shards = raw_of(run), shards_of_run(run, items_of(run))
    firsts = [receipt.first_row for receipt in raw.receipts]
    return Outcome(
        firsts == [shard.first_sample for shard in shards], {"n_shards": raw.n_shards, "n_expected": len(shards)}
    )


def _has_one_row_per_item(run: Run) -> Outcome:
    raw, items = raw_of(run), items_of(run)
    expected = int(items.first_samples(hook_of(run).per_token)[-1])
    facts: Facts = {"n_samples": raw.n_samples, "n_expected": expected, "n_builds": builds_of(run).n_builds}
    return Outcome(raw.n_samples == expected, facts)


def _values_are_finite_and_positive(run: Run) -> Outcome:
    raw = raw_of(run)
    nnz = first = 0
    for block in raw.rows(_BLOCK_ROWS):
        block.validate(raw.n_features, f"raw activations from sample {first} on")
        nnz, first = nnz + block.nnz, first + block.n_rows
    return Outcome(nnz == raw.nnz, {"nnz": nnz})


def _global_index_is_contiguous(run: Run) -> Outcome:
    index = raw_of(run).samples()["global_index"].to_numpy()
    return Outcome(bool((index == np.arange(index.size)).all()), {"n_samples": int(index.size)})


def _samples_are_those_of_the_dataset(run: Run) -> Outcome:
    items, contexts, per_token = items_of(run), contexts_of(run), hook_of(run).per_token
    wrong: list[int] = []
    samples = raw_of(run).samples()
    for shard in shards_of_run(run, items):
        fresh = sample_table(items, contexts, shard.first_item, shard.last_item, per_token)
        stored = samples.slice(shard.first_sample, shard.n_samples)
        if stored.height != fresh.height:
            return Outcome(False, {"n_samples": samples.height, "ends_in_shard": shard.index})
        if not stored.equals(fresh):
            differing = (stored.hash_rows() != fresh.hash_rows()).arg_true() + shard.first_sample
            wrong += differing.to_list()
    return offenders(wrong, "samples", n_samples=samples.height)


def _shards_hold_what_was_written(run: Run) -> Outcome:
    problems = raw_of(run).problems()
    return Outcome(not problems, {"n_problems": len(problems), "problems": "; ".join(problems[:5])})


def _equal_a_fresh_pass(run: Run) -> Outcome:
    wrong = rows_differing_from_recompute(raw_of(run), items_of(run), model_files_of(run), hook_of(run), sae_of(run))
    return offenders(wrong, "samples", n_sampled=64)


RAW_ACTIVATIONS = Asset(
    name="raw_activations",
    description="Every build once, one <NULL> row per weapon, and masked variants if requested: sparse rows per shard.",
    group="activations",
    kinds=("pytorch", "numpy"),
    deps=("dataset", "base_model", "sae_checkpoint"),
    code_version="2",
    own_inputs=_own_inputs,
    make=_make,
    checks=(
        Check("raw_activations_have_every_shard", "No shard is missing or superfluous.", _has_every_shard),
        Check("raw_activations_have_one_row_per_item", "As many rows as builds and nulls.", _has_one_row_per_item),
        Check("raw_values_are_finite_and_positive", "No NaN, nothing below 0.", _values_are_finite_and_positive),
        Check("global_index_is_contiguous", "global_index runs 0 to n - 1.", _global_index_is_contiguous),
        Check(
            "samples_are_those_of_the_dataset",
            "Tokens, weapon, split, kind and source row of every sample.",
            _samples_are_those_of_the_dataset,
        ),
        Check("shards_hold_what_was_written", "Every shard file has its sha256.", _shards_hold_what_was_written),
        Check("sampled_rows_equal_a_fresh_pass", "Base model and SAE, run again, give the same.", _equal_a_fresh_pass),
    ),
)
