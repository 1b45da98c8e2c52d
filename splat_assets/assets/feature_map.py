"""The feature map: every feature as a point in the plane, and their clusters."""

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome
from splat_assets.assets.opened import sae_of
from splat_assets.compute.feature_map import mismatched_feature_map, write_feature_map
from splat_assets.progress import Progress
from splat_assets.runs import Run
from splat_assets.wording import counted


def _make(run: Run, progress: Progress) -> AssetResult:
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


def _keeps_neighbours(run: Run) -> Outcome:
    staged = run.layout.staged
    wrong = mismatched_feature_map(
        staged / "neighbours.parquet", staged / "feature_map.parquet", run.config.activations.seed
    )
    return Outcome(not wrong, {"n_problems": len(wrong), "problems": "; ".join(wrong)})


FEATURE_MAP = Asset(
    name="feature_map",
    description="Features in two dimensions, by decoder direction and by co-activation, and their clusters.",
    group="statistics",
    kinds=("parquet",),
    deps=("neighbours", "sae_checkpoint"),
    own_inputs=lambda run: {"seed": str(run.config.activations.seed)},
    make=_make,
    checks=(
        Check(
            "map_keeps_neighbours",
            "Every feature with neighbours has coordinates, neighbours are near as stated, clusters are reproduced.",
            _keeps_neighbours,
        ),
    ),
)
