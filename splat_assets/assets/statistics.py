"""Computed once for every feature or token: histograms, IDF, influences, examples, neighbours, map, suggested labels.

Suggested labels are not reviewed by a person: the best rule over builds for every feature, tested against chance.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.assets.asset import Asset, AssetResult, Check, Fact, Facts, Outcome, offenders
from splat_assets.assets.opened import (
    base_model_of,
    contexts_of,
    hook_of,
    raw_of,
    sae_of,
    sparse_of,
    unseen_outputs_of,
    vocabulary_of,
)
from splat_assets.assets.pictures import density_histogram
from splat_assets.compute.examples import mismatched_examples, write_examples
from splat_assets.compute.feature_map import mismatched_feature_map, write_feature_map
from splat_assets.compute.histograms import mismatched_histograms, mismatched_statistics, write_histograms
from splat_assets.compute.idf import mismatched_idf, write_idf
from splat_assets.compute.influences import mismatched_influences, read_influences, wide_influences, write_influences
from splat_assets.compute.neighbours import mismatched_neighbours, write_neighbours
from splat_assets.compute.suggested_labels import build_table_of, mismatched_suggestions, write_suggested_labels
from splat_assets.runs import Run
from splat_assets.store.guide.precomputed import UNSEEN, write_guide_idf, write_guide_influences
from splat_assets.store.tables import table_facts
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

_N_SAMPLED = 64
_N_SLOW = 16
"""Features that a check samples where computing one again takes long."""
_GUIDE_TOP_K = 100
_NOT_COMPUTED: dict[str, Fact] = {"not_computed": "token_ff does not feed the output layer directly"}


def _sampled(wrong: list[int], n_sampled: int = _N_SAMPLED) -> Outcome:
    return offenders(wrong, "features", n_sampled=n_sampled)


def _make_histograms(run: Run, progress: Progress) -> AssetResult:
    sparse, staged = sparse_of(run), run.layout.staged
    tables = (staged / "histograms.parquet", staged / "features.parquet")
    written = write_histograms(sparse, *tables, checksums=sparse.feature_crc32c, progress=progress)
    facts: Facts = {
        "shape": counted(written.n_features, "features"),
        "n_dead": written.n_dead,
        "n_values": written.n_values,
        "values_per_s": round(written.n_values / max(written.seconds, 1e-9)),
    }
    return AssetResult(tables, facts, picture=density_histogram(sparse.feature_n_active, sparse.n_samples))


def _statistics_are_exact(run: Run) -> Outcome:
    sparse, path = sparse_of(run), run.layout.staged / "features.parquet"
    return _sampled(mismatched_statistics(sparse, path, _N_SAMPLED, seed=5, checksums=sparse.feature_crc32c))


def _make_idf(run: Run, progress: Progress) -> AssetResult:
    target = run.layout.staged / "idf.parquet"
    written = write_idf(raw_of(run).samples(), vocabulary_of(run), target)
    outputs = [target, *_guide_idf(run, run.layout.precomputed)]
    shape = counted(written.n_tokens, "tokens")
    return AssetResult(outputs, {"shape": shape, "n_documents": written.n_documents, "n_unseen": written.n_unseen})


def _n_batches(run: Run) -> int:
    return -(-raw_of(run).n_samples // run.config.store.batch_rows)


def _idf_is_exact(run: Run) -> Outcome:
    wrong = mismatched_idf(raw_of(run).samples(), vocabulary_of(run), run.layout.staged / "idf.parquet")
    return offenders(wrong, "tokens")


def _guide_idf(run: Run, folder: Path) -> list[Path]:
    return write_guide_idf(run.layout.staged / "idf.parquet", folder / "idf.parquet", n_batches=_n_batches(run))


def _guide_idf_is_the_same(run: Run) -> Outcome:
    with TemporaryDirectory() as scratch:
        return _unlike(_guide_idf(run, Path(scratch)), run.layout.precomputed)


def _unlike(fresh: list[Path], folder: Path) -> Outcome:
    """Whether the files below folder equal freshly made ones of the same names."""
    there = {path: folder / path.name for path in fresh}
    wrong = [old.name for new, old in there.items() if not old.is_file() or old.read_bytes() != new.read_bytes()]
    return offenders(wrong, "files", n_files=len(fresh))


def _make_influences(run: Run, progress: Progress) -> AssetResult:
    if hook_of(run).per_token:
        return AssetResult([], {"shape": "not computed", **_NOT_COMPUTED})
    target = run.layout.staged / "influences.parquet"
    model, sae = base_model_of(run), sae_of(run)
    written = write_influences(
        model.output_weight.detach().numpy(), sae.W_dec.numpy(), vocabulary_of(run), target, progress
    )
    wide = _guide_influences(target, run.layout.precomputed, unseen_outputs_of(run))
    return AssetResult([target, wide], {"shape": f"{written.n_features:,} x {written.n_tokens:,}"})


def _guide_influences(staged: Path, folder: Path, unseen: list[str] | None) -> Path:
    top_k = min(_GUIDE_TOP_K, len(read_influences(staged).token_ids))
    wide = wide_influences(staged, top_k, unseen=unseen or ())
    return write_guide_influences(wide, folder / "influences.parquet", unseen)


def _guide_influences_are_the_same(run: Run) -> Outcome:
    if hook_of(run).per_token:
        return Outcome(True, _NOT_COMPUTED)
    counted_before = UNSEEN in table_facts(run.layout.precomputed / "influences.parquet")  # not so in older runs
    with TemporaryDirectory() as scratch:
        unseen = unseen_outputs_of(run) if counted_before else None
        fresh = _guide_influences(run.layout.staged / "influences.parquet", Path(scratch), unseen)
        return _unlike([fresh], run.layout.precomputed)


def _influences_equal_the_product(run: Run) -> Outcome:
    if hook_of(run).per_token:
        return Outcome(True, _NOT_COMPUTED)
    weights = base_model_of(run).output_weight.detach().numpy()
    path = run.layout.staged / "influences.parquet"
    decoder, vocabulary = sae_of(run).W_dec.numpy(), vocabulary_of(run)
    return _sampled(mismatched_influences(weights, decoder, vocabulary, path, _N_SAMPLED, seed=6))


def _make_examples(run: Run, progress: Progress) -> AssetResult:
    target = run.layout.staged / "examples.parquet"
    written = write_examples(sparse_of(run), target, seed=run.config.activations.seed, progress=progress)
    return AssetResult(
        [target], {"shape": counted(written.n_examples, "rows"), "n_features_with_top": written.n_features_with_top}
    )


def _make_neighbours(run: Run, progress: Progress) -> AssetResult:
    target = run.layout.staged / "neighbours.parquet"
    sparse = sparse_of(run)
    n_neighbours = min(20, max(1, sparse.n_features - 1))
    written = write_neighbours(sparse, sae_of(run).W_dec.numpy(), target, n_neighbours, progress=progress)
    return AssetResult([target], {"shape": counted(written.n_rows, "rows"), "n_neighbours": n_neighbours})


def _neighbours_are_the_nearest(run: Run) -> Outcome:
    path = run.layout.staged / "neighbours.parquet"
    return _sampled(mismatched_neighbours(sparse_of(run), sae_of(run).W_dec.numpy(), path, _N_SLOW, seed=8), _N_SLOW)


def _make_map(run: Run, progress: Progress) -> AssetResult:
    staged = run.layout.staged
    target = staged / "feature_map.parquet"
    written = write_feature_map(
        staged / "neighbours.parquet", sae_of(run).W_dec.numpy(), target, run.config.activations.seed, progress
    )
    facts: Facts = {"shape": counted(sae_of(run).d_sae, "features")}
    for name, n_placed in written.n_placed.items():
        facts[f"n_placed_{name}"] = n_placed
        facts[f"n_clusters_{name}"] = written.n_clusters[name]
        kept = written.nearest_kept[name]
        facts[f"nearest_kept_{name}"] = "too few features" if kept is None else round(kept, 4)
    return AssetResult([target], facts)


def _map_keeps_neighbours(run: Run) -> Outcome:
    staged = run.layout.staged
    wrong = mismatched_feature_map(
        staged / "neighbours.parquet", staged / "feature_map.parquet", run.config.activations.seed
    )
    return Outcome(not wrong, {"n_problems": len(wrong), "problems": "; ".join(wrong)})


def _builds(run: Run) -> BuildTable:
    return build_table_of(raw_of(run).samples(), vocabulary_of(run), contexts_of(run))


def _make_labels(run: Run, progress: Progress) -> AssetResult:
    target = run.layout.staged / "suggested_labels.parquet"
    seed = run.config.activations.seed
    written = write_suggested_labels(sparse_of(run), _builds(run), target, seed, progress=progress)
    shape = f"{written.n_suggested:,} of {counted(sparse_of(run).n_features, 'features')}"
    return AssetResult(
        [target], {"shape": shape, "n_with_rule": written.n_with_rule, "n_suggested": written.n_suggested}
    )


def _suggestions_are_found_again(run: Run) -> Outcome:
    path = run.layout.staged / "suggested_labels.parquet"
    return _sampled(mismatched_suggestions(sparse_of(run), _builds(run), path, _N_SLOW, seed=9), _N_SLOW)


HISTOGRAMS = Asset(
    name="histograms",
    description="Histogram and statistics of every feature, over its active samples and over all.",
    group="statistics",
    kinds=("parquet",),
    deps=("sparse_activations",),
    make=_make_histograms,
    checks=(
        Check(
            "histograms_are_exact",
            "Counts add up; sampled histograms equal a fresh count.",
            lambda run: _sampled(
                mismatched_histograms(sparse_of(run), run.layout.staged / "histograms.parquet", _N_SAMPLED, seed=4)
            ),
        ),
        Check("statistics_are_exact", "Sampled statistics equal a fresh computation.", _statistics_are_exact),
    ),
)

IDF = Asset(
    name="idf",
    description="Inverse document frequency of every token over all samples.",
    group="statistics",
    kinds=("parquet",),
    deps=("raw_activations",),
    own_inputs=lambda run: {"vocab": run.config.inputs.vocab.sha256, "batch_rows": str(run.config.store.batch_rows)},
    make=_make_idf,
    checks=(
        Check("idf_is_exact", "Every token's row equals a fresh count over all samples.", _idf_is_exact),
        Check("guide_idf_is_the_same", "precomputed/ holds the same table.", _guide_idf_is_the_same),
    ),
)

INFLUENCES = Asset(
    name="influences",
    description="What each feature adds to each output token: W_out @ W_dec, signs kept.",
    group="statistics",
    kinds=("parquet",),
    deps=("base_model", "sae_checkpoint"),
    make=_make_influences,
    checks=(
        Check("influences_equal_the_product", "Sampled rows equal W_out @ W_dec.", _influences_equal_the_product),
        Check("guide_influences_are_the_same", "precomputed/ ranks the same values.", _guide_influences_are_the_same),
    ),
)

EXAMPLES = Asset(
    name="examples",
    description="Example samples of every feature: the strongest, some of each activation band, random ones.",
    group="statistics",
    kinds=("parquet",),
    deps=("sparse_activations",),
    own_inputs=lambda run: {"seed": str(run.config.activations.seed)},
    make=_make_examples,
    checks=(
        Check(
            "examples_are_those_of_the_store",
            "Sampled features give the same examples again.",
            lambda run: _sampled(
                mismatched_examples(sparse_of(run), run.layout.staged / "examples.parquet", _N_SAMPLED, seed=7)
            ),
        ),
    ),
)

NEIGHBOURS = Asset(
    name="neighbours",
    description="Nearest neighbours of every feature: by decoder direction, Jaccard index and correlation of "
    "activations.",
    group="statistics",
    kinds=("parquet",),
    deps=("sparse_activations", "sae_checkpoint"),
    make=_make_neighbours,
    checks=(
        Check(
            "neighbours_are_the_nearest",
            "Sampled features have no nearer neighbour than the listed ones.",
            _neighbours_are_the_nearest,
        ),
    ),
)

FEATURE_MAP = Asset(
    name="feature_map",
    description="Features in two dimensions, by decoder direction and by co-activation, and their clusters.",
    group="statistics",
    kinds=("parquet",),
    deps=("neighbours", "sae_checkpoint"),
    own_inputs=lambda run: {"seed": str(run.config.activations.seed)},
    make=_make_map,
    checks=(
        Check(
            "map_keeps_neighbours",
            "Every feature with neighbours has coordinates, neighbours are near as stated, clusters are reproduced.",
            _map_keeps_neighbours,
        ),
    ),
)

SUGGESTED_LABELS = Asset(
    name="suggested_labels",
    description="The best rule over builds for each feature, chosen on one half, scored on the other, and tested "
    "against chance.",
    group="statistics",
    kinds=("parquet",),
    deps=("raw_activations", "sparse_activations"),
    own_inputs=lambda run: {"seed": str(run.config.activations.seed), **run.config.inputs.vocabularies()},
    make=_make_labels,
    checks=(
        Check(
            "suggestions_are_found_again",
            "Sampled features, searched again, have the same rule and scores.",
            _suggestions_are_found_again,
        ),
    ),
    code_version="2",
)
