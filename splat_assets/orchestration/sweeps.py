"""The comparison of a sweep as a Dagster asset: what the UI shows; `splat_assets.sweeps` does the work."""

import base64
import warnings

import dagster as dg

from splat_assets.orchestration.as_dagster import OWNERS, failing_in_words, table_of
from splat_assets.orchestration.resources import SWEEPS, DataRootResource
from splat_assets.store.bucket.working_copy import sharing
from splat_assets.sweeps import compare_sweep, open_sweep

_DESCRIPTION = """Runs that differ only in their SAE's recipe, side by side: FVU against L0, fidelity, dead and dense
features, and how similar the directions of other seeds are. Best first: those that no other run beats in both FVU and
L0, then by fidelity."""


@dg.asset(
    partitions_def=SWEEPS,
    group_name="sweeps",
    kinds={"parquet", "png"},
    owners=OWNERS,
    tags={"splat/made-from": "sae_checkpoint"},
    description=_DESCRIPTION,
    code_version="1",
)
def sweep_comparison(context: dg.AssetExecutionContext, data: DataRootResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """`comparison.parquet` and `pareto.png` of a sweep; partitioned by sweep."""
    root = data.root()
    with failing_in_words(), sharing(root.path):
        sweep = open_sweep(root, context.partition_key)
        frame = compare_sweep(sweep)
    best = frame.row(0, named=True)
    picture = base64.b64encode((sweep.folder / "pareto.png").read_bytes()).decode("ascii")
    return dg.MaterializeResult(
        metadata={
            "n_runs": frame.height,
            "n_missing": len(sweep.runs) - frame.height,
            "best": best["run"],
            "best_fidelity": best["fidelity"],
            "path": dg.MetadataValue.path(str(sweep.folder / "comparison.parquet")),
            "comparison": table_of("comparison", frame.to_dicts(), frame.columns),
            "pareto": dg.MetadataValue.md(f"![FVU against L0](data:image/png;base64,{picture})"),
        }
    )


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(asset=sweep_comparison, partitions_def=SWEEPS)
    def every_run_is_compared(context: dg.AssetCheckExecutionContext, data: DataRootResource) -> dg.AssetCheckResult:
        """Every run of the sweep has an SAE, so that none is left out of the comparison."""
        with failing_in_words():
            sweep = open_sweep(data.root(), context.partition_key)
        missing = [name for name in sweep.runs if not sweep.root.run(name).scorecard.is_file()]
        rows = table_of("missing", [{"run": name} for name in missing], ("run",))
        return dg.AssetCheckResult(passed=not missing, severity=dg.AssetCheckSeverity.WARN, metadata={"missing": rows})
