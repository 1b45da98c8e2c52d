"""From the pipeline's plain assets and checks to Dagster's: what the UI shows and what blocks what; no computation."""

import base64
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from splat_assets.assets import sources_of
from splat_assets.assets.asset import (
    Asset,
    Check,
    bring_up_to_date,
    failures,
    picture_of,
    require_checked,
    run_check,
    status_of,
)
from splat_assets.assets.columns import CONTENT_OF, FACTS_OF, meaning_of_column
from splat_assets.errors import SplatError
from splat_assets.orchestration.resources import RUNS, DataRootResource
from splat_assets.runs import Run
from splat_assets.store.bucket.working_copy import sharing
from splat_assets.store.receipts import Receipt
from splat_assets.store.sharing import synced_run
from splat_assets.store.tables import explaining_damage
from splat_assets.text.progress import LogProgress, step, watched_progress

# Assets own their storage: nothing passes between them. Dagster takes this for a type, though its annotations do not.
_NOTHING: Any = dg.Nothing


OWNERS = ["team:splat"]
DASHBOARD_URL, SERVER_URL = "SPLAT_DASHBOARD_URL", "SPLAT_SERVER_URL"
"""Where the dashboard and the activation server are, for links; `splat up` sets the first."""


def dagster_asset(asset: Asset) -> dg.AssetsDefinition:
    """A Dagster asset, partitioned by run, that updates the plain one and reports its receipt.

    It fails with a message where a dependency has not passed its checks: nothing is published from that, whatever was
    selected.
    """

    @dg.asset(
        name=asset.name,
        deps=list(asset.deps),
        partitions_def=RUNS,
        group_name=asset.group,
        kinds=set(asset.kinds),
        owners=OWNERS,
        tags={"splat/readers": "everyone" if asset.name == "published_store" else "pipeline"},
        description=asset.description,
        code_version=asset.code_version,
        dagster_type=_NOTHING,
    )
    def make(context: dg.AssetExecutionContext, data: DataRootResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with failing_in_words(), synced_run(data.root(), context.partition_key) as remade:
            run = data.run(context.partition_key)
            for source in sources_of(asset):
                require_checked(source, run)
            was_current = status_of(asset, run).is_up_to_date
            with step(f"making {asset.name}"):
                receipt = bring_up_to_date(asset, run, watched_progress() or LogProgress(context.log.info))
            if not was_current:
                remade += [run.layout.root / output.path for output in receipt.outputs]
        return dg.MaterializeResult(
            metadata=metadata_of(receipt, run, was_current), data_version=dg.DataVersion(receipt.fingerprint)
        )

    return make


def dagster_check(asset: Asset, check: Check) -> dg.AssetChecksDefinition:
    """A Dagster check of an asset; an ERROR blocks what depends on the asset."""
    with warnings.catch_warnings():
        # Partitioned checks are still marked as a preview; without them the UI mixes the checks of all runs.
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(
            asset=asset.name,
            name=check.name,
            description=check.promise,
            blocking=check.blocking,
            partitions_def=RUNS,
        )
        def test(context: dg.AssetCheckExecutionContext, data: DataRootResource) -> dg.AssetCheckResult:
            with failing_in_words(), step(f"checking {asset.name}: {check.name}"), sharing(data.root().path):
                run = data.run(context.partition_key)
                outcome = run_check(asset, check, run)
            severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
            described = None if outcome.passed else "; ".join(failures(asset, run, check.name))
            return dg.AssetCheckResult(
                passed=outcome.passed, severity=severity, metadata=_check_metadata(outcome.facts), description=described
            )

        return test


def _check_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a check; offenders (`wrong_…`, separated by commas) as rows."""
    metadata = dict(facts)
    for name in [
        name for name, value in facts.items() if name.startswith("wrong_") and isinstance(value, str) and value
    ]:
        what = name.removeprefix("wrong_")
        rows = [dg.TableRecord({what: one}) for one in str(facts[name]).split(", ")]
        column = dg.TableColumn(what, description=f"One of those {what} that fail the check.")
        metadata[name] = dg.MetadataValue.table(rows, schema=dg.TableSchema([column]))
    return metadata


def metadata_of(receipt: Receipt, run: Run, was_current: bool) -> dict[str, Any]:
    """What the Dagster UI shows of an asset: its figures, table, plot and path."""
    facts = dict(receipt.facts)
    table = facts.pop("table", None)
    metadata: dict[str, Any] = {
        **facts,
        **({"path": dg.MetadataValue.path(str(run.layout.root / receipt.path))} if receipt.outputs else {}),
        "size_bytes": receipt.size_bytes,
        "seconds": receipt.seconds,
        "was_up_to_date": was_current,
        "fingerprint": receipt.fingerprint,
    }
    metadata |= _links(receipt.step, run)
    metadata |= _tables(receipt, run)
    if table:
        metadata["table"] = table_of(FACTS_OF.get(receipt.step, receipt.step), table)
    picture = picture_of(receipt.step, run)
    if picture.is_file():
        encoded = base64.b64encode(picture.read_bytes()).decode("ascii")
        metadata["picture"] = dg.MetadataValue.md(f"![{receipt.step}](data:image/png;base64,{encoded})")
    return metadata


@contextmanager
def failing_in_words() -> Iterator[None]:
    """Fail the step with the message of a SplatError; a retry would not help."""
    try:
        yield
    except SplatError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _links(step: str, run: Run) -> dict[str, Any]:
    """Links from a published version to its pages."""
    if step != "published_store":
        return {}
    pages = {"dashboard": (DASHBOARD_URL, "/"), "server": (SERVER_URL, f"/runs/{run.name}/version")}
    known = {name: (os.environ.get(variable), path) for name, (variable, path) in pages.items()}
    return {name: dg.MetadataValue.url(url.rstrip("/") + path) for name, (url, path) in known.items() if url}


def _tables(receipt: Receipt, run: Run) -> dict[str, Any]:
    """Columns and rows of the Parquet files of an asset; those of a file that is not the asset itself have its name."""
    metadata: dict[str, Any] = {}
    for output in receipt.outputs:
        path = run.layout.root / output.path
        name = path.stem
        if path.suffix != ".parquet" or not path.is_file():
            continue
        own = name == CONTENT_OF.get(receipt.step, receipt.step)
        columns, rows = ("dagster/column_schema", "dagster/row_count") if own else (f"{name}_columns", f"{name}_rows")
        if columns not in metadata:  # the guide's formats repeat some of the store's tables
            with explaining_damage(path):
                metadata[columns] = _columns(path)
                metadata[rows] = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return metadata


def _columns(path: Path) -> dg.TableSchema:
    """The columns of a Parquet file."""
    types = pl.scan_parquet(path, glob=False).collect_schema()
    return schema_of(path.stem, {name: str(kind) for name, kind in types.items()})


def schema_of(table: str, types: Mapping[str, str]) -> dg.TableSchema:
    """The columns of a table, with what each means. types: by column."""
    return dg.TableSchema(
        [dg.TableColumn(name, type=kind, description=meaning_of_column(table, name)) for name, kind in types.items()]
    )


_KINDS = {bool: "bool", int: "int", float: "float"}


def table_of(name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> dg.TableMetadataValue:
    """Rows as the UI shows them, each column with its meaning. columns: for a table that may be empty."""
    types = dict.fromkeys(columns, "string")
    for row in rows:
        types |= {key: _KINDS.get(type(value), "string") for key, value in row.items() if value is not None}
    records = [dg.TableRecord({key: value for key, value in row.items() if value is not None}) for row in rows]
    return dg.MetadataValue.table(records, schema=schema_of(name, types))
