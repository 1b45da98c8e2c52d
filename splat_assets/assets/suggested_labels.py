"""Suggested labels, not reviewed by a person: the best rule over builds for every feature, tested against chance."""

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.assets.asset import Asset, AssetResult, Check, Outcome
from splat_assets.assets.opened import contexts_of, raw_of, sparse_of, vocabulary_of
from splat_assets.compute.suggested_labels import build_table_of, mismatched_suggestions, write_suggested_labels
from splat_assets.progress import Progress
from splat_assets.runs import Run
from splat_assets.wording import counted

_N_SAMPLED = 16


def _builds(run: Run) -> BuildTable:
    return build_table_of(raw_of(run).samples(), vocabulary_of(run), contexts_of(run))


def _make(run: Run, progress: Progress) -> AssetResult:
    target = run.layout.staged / "suggested_labels.parquet"
    seed = run.config.activations.seed
    written = write_suggested_labels(sparse_of(run), _builds(run), target, seed, progress=progress)
    shape = f"{written.n_suggested:,} of {counted(sparse_of(run).n_features, 'features')}"
    return AssetResult(
        [target], {"shape": shape, "n_with_rule": written.n_with_rule, "n_suggested": written.n_suggested}
    )


def _suggestions_are_found_again(run: Run) -> Outcome:
    path = run.layout.staged / "suggested_labels.parquet"
    wrong = mismatched_suggestions(sparse_of(run), _builds(run), path, _N_SAMPLED, seed=9)
    return Outcome(not wrong, {"n_sampled": _N_SAMPLED, "wrong_features": ", ".join(map(str, wrong))})


SUGGESTED_LABELS = Asset(
    name="suggested_labels",
    description="The best rule over builds for each feature, chosen on one half, scored on the other, and tested "
    "against chance.",
    group="statistics",
    kinds=("parquet",),
    deps=("raw_activations", "sparse_activations"),
    own_inputs=lambda run: {
        "seed": str(run.config.activations.seed),
        "vocab": run.config.inputs.vocab.sha256,
        "weapon_vocab": run.config.inputs.weapon_vocab.sha256,
    },
    make=_make,
    checks=(
        Check(
            "suggestions_are_found_again",
            "Sampled features, searched again, have the same rule and scores.",
            _suggestions_are_found_again,
        ),
    ),
    code_version="2",
)
