"""Downloads of the pages: the same numbers for a script or a spreadsheet."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
import polars as pl
from fastapi import FastAPI, Request
from fastapi.responses import Response

from splat_assets.errors import InputError, SplatError
from splat_assets.store.errors import FeatureNotFoundError, LayoutError, SampleNotFoundError
from splat_assets.store.spreadsheet import harmless_frame, harmless_json
from splat_dash.address import FORMS
from splat_dash.pages import compare, examples, feature_map, whatif
from splat_dash.pages.labels import as_lines
from splat_dash.query import ListQuery, MapQuery
from splat_dash.shown import current_source
from splat_serving.database.errors import NotComputedError, UnknownNameError
from splat_serving.investigations.overview import COMPUTED_SECTIONS, STORED_SECTIONS, examples_table
from splat_serving.investigations.results.rendering import markdown_table
from splat_serving.investigations.results.result import ResultTable
from splat_serving.labels.book import label_as_json

_MOST_EXAMPLES = 10_000
_NOT_THERE = (FeatureNotFoundError, SampleNotFoundError, UnknownNameError, NotComputedError, LayoutError)
_EXAMPLE_COLUMNS = ("group", "rank", "sample_id", "activation", "weapon_id", "weapon", "abilities")


def mount(server: FastAPI) -> None:
    """Add the paths below /api."""

    @server.exception_handler(SplatError)
    async def refuse(_: Request, error: SplatError) -> Response:
        status = 404 if isinstance(error, _NOT_THERE) else 422 if isinstance(error, InputError) else 503
        return Response(f"{error}\n", status, media_type="text/plain")

    @server.get("/api/features.csv")
    def features(request: Request) -> Response:
        """The complete list of features that a page shows for the same parameters."""
        query = ListQuery.parse(_parameters(request))
        return _csv(request, current_source().rows(query), "features")

    @server.get("/api/map.csv")
    def on_map(request: Request) -> Response:
        """The features selected on a map for the same parameters; without a selection, all that have a position."""
        query = MapQuery.parse(_parameters(request))
        frame = current_source().on_map(query)
        frame = (frame.filter("chosen") if query.chooses else frame.drop_nulls("x")).drop("chosen")
        return _csv(request, frame, f"map-{query.by}")

    @server.get("/api/features/{feature_id}.json")
    def record(request: Request, feature_id: int) -> Response:
        """Everything that the page of a feature shows from the store's tables, with its label."""
        summary = current_source().feature(feature_id)
        whole = {**_origin(request), **{name: getattr(summary, name) for name in summary.__slots__}}
        whole["label"] = label_as_json(current_source().labels().get(feature_id))
        return Response(orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    @server.get("/api/features/{feature_id}/examples.csv")
    def of_examples(request: Request, feature_id: int) -> Response:
        """The examples of a feature, all groups."""
        rows = [
            (group, rank, row["global_index"], row["activation"], row.get("weapon_id"), row.get("weapon_name"),
             " ".join(row.get("abilities") or ()))
            for group, members in (current_source().feature(feature_id).examples or {}).items()
            for rank, row in enumerate(members, 1)
        ]  # fmt: skip
        frame = pl.DataFrame(rows, list(_EXAMPLE_COLUMNS), orient="row", infer_schema_length=None)
        return _csv(request, frame, f"f{feature_id:05d}-examples")

    @server.get("/api/features/{feature_id}/{part}/{table}.{form}")
    def of_feature(request: Request, feature_id: int, part: str, table: str, form: str) -> Response:
        """A table of a feature's page. Of the examples, those of a `group`, or with an activation from `min` to `max`."""
        sections = (*COMPUTED_SECTIONS, *STORED_SECTIONS)
        if part not in sections:
            raise InputError(f"unknown section {part[:40]!r}; choose from {', '.join(sections)}")
        tables = _examples(feature_id, request) if part == "examples" else current_source().tables(feature_id, part)
        label = label_as_json(current_source().labels().get(feature_id))
        return _table(request, tables, table, form, f"f{feature_id:05d}", feature_id=feature_id, label=label)

    @server.get("/api/compare/{table}.{form}")
    def of_comparison(request: Request, table: str, form: str) -> Response:
        """A table of the comparison of `f=1,2`."""
        left, right = compare.pair(_parameters(request).get("f"))
        return _table(request, current_source().comparison(left, right).tables, table, form, f"compare-{left}-{right}")

    @server.get("/api/find/{table}.{form}")
    def of_rule(request: Request, table: str, form: str) -> Response:
        """A table of the features for `rule`, or of the contrast of `rule` with `against`."""
        rule, against = (_parameters(request).get(name, "") for name in ("rule", "against"))
        result = current_source().contrast(rule, against) if against else current_source().features_for_rule(rule)
        return _table(request, result.tables, table, form, "find")

    @server.get("/api/tokens/{token}/{table}.{form}")
    def of_token(request: Request, token: str, table: str, form: str) -> Response:
        """The features that raise a token, or those that lower it."""
        return _table(request, current_source().features_by_effect_on(token), table, form, f"token-{token}")

    @server.get("/api/experiments/{name}/{table}.{form}")
    def of_experiment(request: Request, name: str, table: str, form: str) -> Response:
        """A table of an experiment's result; its settings are the parameters."""
        settings = tuple(sorted({**_parameters(request), "experiment": name}.items()))
        return _table(request, current_source().answer(settings).tables, table, form, name)

    @server.get("/api/whatif/{table}.{form}")
    def of_what_if(request: Request, table: str, form: str) -> Response:
        """A table of the what-if page, whose parameters it takes."""
        view = whatif.view_of(current_source(), _parameters(request))
        return _table(request, whatif.answer_for(current_source(), view).tables, table, form, "whatif")

    @server.get("/api/map/{table}.{form}")
    def of_map(request: Request, table: str, form: str) -> Response:
        """The clusters of the map `by`."""
        query = MapQuery.parse(_parameters(request))
        clusters = feature_map.cluster_table(current_source().on_map(query), query)
        return _table(request, [clusters], table, form, f"map-{query.by}")

    @server.get("/api/runs.json")
    def runs(request: Request) -> Response:
        """Versions of all runs of the data root, and the recent activity."""
        content = {
            **_origin(request),
            "published": [one.as_json() for one in current_source().subject.published() or []],
            "activity": [asdict(one) for one in current_source().subject.activity()],
        }
        return Response(orjson.dumps(content), media_type="application/json")

    @server.get("/api/labels.jsonl")
    def labels() -> Response:
        """Every label event, oldest first."""
        return Response(as_lines(current_source()), media_type="application/jsonl")


def _parameters(request: Request) -> dict[str, str]:
    """The parameters of an address; InputError for a repeated one, which is ambiguous."""
    parameters = request.query_params
    twice = next((name for name in parameters if len(parameters.getlist(name)) > 1), None)
    if twice is not None:
        raise InputError(f"{twice[:60]}: appears {len(parameters.getlist(twice))} times in the address; write it once")
    return dict(parameters)


def _examples(feature_id: int, request: Request) -> list[ResultTable]:
    """The examples that a page shows for the same parameters."""
    parameters = _parameters(request)
    interval = examples.interval(parameters)
    if interval:
        return [*examples_table({"interval": current_source().between(feature_id, *interval)[1]}, _MOST_EXAMPLES)]
    groups = current_source().feature(feature_id).examples or {}
    group = parameters.get("group")
    chosen = {name: rows for name, rows in groups.items() if name == group} if group else groups
    return [*examples_table(chosen, _MOST_EXAMPLES)]


def _table(request: Request, tables: Sequence[ResultTable], name: str, form: str, prefix: str, **more: Any) -> Response:
    """One of the tables in a format, with its provenance and, if the format allows it, the definitions of its columns."""
    chosen = next((one for one in tables if one.name == name), None)
    if chosen is None:
        raise InputError(f"unknown table {name[:40]!r}; choose from {', '.join(one.name for one in tables) or 'none'}")
    if form not in FORMS:
        raise InputError(f"unknown format {form[:20]!r}; choose from {', '.join(FORMS)}")
    file = f"{prefix}-{chosen.name}"
    if form == "csv":
        return _csv(request, chosen.frame, file, **more)
    origin = {**_origin(request), **more}
    if form == "json":
        content = orjson.dumps({**origin, "table": chosen.model_dump(mode="json")})
        return _named(content, "application/json", f"{file}.json")
    note = f"*{chosen.note}*\n\n" if chosen.note else ""
    where = f"\nRun {origin['run']}, version {origin['version']}: <{origin['link']}>\n"
    return _named(f"## {chosen.title}\n\n{note}{markdown_table(chosen)}\n{where}", "text/markdown", f"{file}.md")


def _named(content: str | bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _origin(request: Request) -> dict[str, Any]:
    about = current_source().about
    return {"run": about.name, "version": about.version, "provenance": about.provenance, "link": str(request.url)}


def _csv(request: Request, frame: pl.DataFrame, name: str, **more: Any) -> Response:
    """Comma-separated, after a `#` line with the provenance."""
    origin = {**_origin(request), **more}
    made_from = {key: value for key, value in origin["provenance"].items() if isinstance(value, str)}
    head = f"# {harmless_json(orjson.dumps({**origin, 'provenance': made_from}).decode())}\n"
    return _named(head + harmless_frame(frame).write_csv(), "text/csv", f"{name}.csv")
