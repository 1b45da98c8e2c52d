"""The dataset as the pipeline uses it: validated, with its split."""

import polars as pl

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome, recipe_hash
from splat_assets.assets.opened import builds_of, contexts_of, vocabulary_of
from splat_assets.data.builds import Builds
from splat_assets.data.splits import split_builds
from splat_assets.data.tokenised import read_tokenised
from splat_assets.runs import Run
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted


def _own_inputs(run: Run) -> dict[str, str]:
    inputs = run.config.inputs
    return {"data": inputs.data.sha256, "split": recipe_hash(run.config.split), **inputs.vocabularies()}


def _read(run: Run) -> Builds:
    split = run.config.split
    source = run.config.inputs.data.checked("dataset")
    builds = read_tokenised(source, vocabulary_of(run), contexts_of(run))
    return split_builds(builds, split.seed, split.validation, split.test)


def _make(run: Run, progress: Progress) -> AssetResult:
    builds = _read(run)
    builds.save(run.layout.builds)
    counts = {name: int(builds.rows_of(name).size) for name in ("train", "validation", "test")}
    facts: Facts = {"shape": counted(builds.n_builds, "builds"), "n_builds": builds.n_builds, **counts}
    mean_tokens = builds.tokens.size / max(1, builds.n_builds)
    return AssetResult([run.layout.builds], {**facts, "tokens_per_build": round(mean_tokens, 2)})


def _every_token_is_known(run: Run) -> Outcome:
    builds, n_tokens, n_contexts = builds_of(run), len(vocabulary_of(run)), len(contexts_of(run))
    outside = int(((builds.tokens < 0) | (builds.tokens >= n_tokens)).sum())
    strangers = int(((builds.weapons < 0) | (builds.weapons >= n_contexts)).sum())
    return Outcome(not outside and not strangers, {"tokens_outside": outside, "weapons_outside": strangers})


def _no_build_is_empty(run: Run) -> Outcome:
    builds = builds_of(run)
    n_empty = int((builds.lengths == 0).sum())
    return Outcome(n_empty == 0 and builds.n_builds > 0, {"n_builds": builds.n_builds, "n_empty": n_empty})


def _no_build_is_in_two_splits(run: Run) -> Outcome:
    builds = builds_of(run)
    frame = pl.DataFrame({"build": builds.build_of_token, "token": builds.tokens}).sort("build", "token")
    sets = frame.group_by("build", maintain_order=True).agg(pl.col("token").cast(pl.String).str.join(" "))
    groups = sets.select(pl.col("token"), weapon=pl.Series(builds.weapons), split=pl.Series(builds.split))
    per_group = groups.group_by("token", "weapon").agg(pl.col("split").n_unique())
    n_straddling = int((per_group["split"] > 1).sum())
    return Outcome(n_straddling == 0, {"n_distinct_builds": per_group.height, "n_in_two_splits": n_straddling})


def _builds_equal_the_source(run: Run) -> Outcome:
    stored, fresh = builds_of(run), _read(run)
    facts: Facts = {"n_builds": stored.n_builds, "n_in_source": fresh.n_builds}
    if stored.n_builds == fresh.n_builds and stored.fingerprint != fresh.fingerprint:
        differing = stored.to_frame().hash_rows() != fresh.to_frame().hash_rows()
        facts["wrong_rows"] = ", ".join(str(i) for i in differing.arg_true()[:20])
    return Outcome(stored.fingerprint == fresh.fingerprint, facts)


DATASET = Asset(
    name="dataset",
    description="The tokenised builds, validated row by row, with a seeded split that keeps equal builds together.",
    group="inputs",
    kinds=("polars", "parquet"),
    deps=(),
    own_inputs=_own_inputs,
    make=_make,
    checks=(
        Check("every_token_is_known", "Every token id is in the vocabulary, every weapon too.", _every_token_is_known),
        Check("no_build_is_empty", "There are builds, and each has at least one token.", _no_build_is_empty),
        Check("builds_equal_the_source", "Every build is its row of the file, in its split.", _builds_equal_the_source),
        Check("no_build_is_in_two_splits", "Equal builds of one weapon are in one split.", _no_build_is_in_two_splits),
    ),
)
