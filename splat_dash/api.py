"""What the pages show as files: the same numbers for a script or a spreadsheet."""

from typing import Any

import orjson
import polars as pl
from fastapi import FastAPI, Request
from fastapi.responses import Response

from splat_assets.errors import InputError, SplatError
from splat_assets.store.errors import FeatureNotFoundError
from splat_dash.pages.labels import as_lines
from splat_dash.query import ListQuery, MapQuery
from splat_dash.shown import asked
from splat_serving.labels.book import label_as_json

_TEXT = pl.String()
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EXAMPLE_COLUMNS = ("group", "rank", "sample_id", "activation", "weapon_id", "weapon", "abilities")


def mount(server: FastAPI) -> None:
    """Add the paths below /api."""

    @server.exception_handler(SplatError)
    async def refuse(_: Request, error: SplatError) -> Response:
        status = 404 if isinstance(error, FeatureNotFoundError) else 422 if isinstance(error, InputError) else 503
        return Response(f"{error}\n", status, media_type="text/plain")

    @server.get("/api/features.csv")
    def features(request: Request) -> Response:
        """The list of features that a page shows for the same parameters, whole."""
        query = ListQuery.parse({name: value for name, value in request.query_params.multi_items()})
        return _csv(_harmless(asked().rows(query)), _origin(request), "features")

    @server.get("/api/map.csv")
    def on_map(request: Request) -> Response:
        """The features that a map shows as chosen for the same parameters, all that have a place where none are chosen."""
        query = MapQuery.parse({name: value for name, value in request.query_params.multi_items()})
        frame = asked().on_map(query)
        frame = (frame.filter("chosen") if query.chooses else frame.drop_nulls("x")).drop("chosen")
        return _csv(_harmless(frame), _origin(request), f"map-{query.by}")

    @server.get("/api/features/{feature_id}.json")
    def feature(request: Request, feature_id: int) -> Response:
        """Everything that the page of a feature shows from the store's tables, its label among it."""
        found = asked().feature(feature_id)
        whole = {**_origin(request), **{name: getattr(found, name) for name in found.__slots__}}
        whole["label"] = label_as_json(asked().labels().get(feature_id))
        return Response(orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    @server.get("/api/features/{feature_id}/examples.csv")
    def examples(request: Request, feature_id: int) -> Response:
        """The examples of a feature, all groups."""
        rows = [
            (group, rank, row["global_index"], row["activation"], row.get("weapon_id"), harmless(row.get("weapon_name")),
             " ".join(row.get("abilities") or ()))
            for group, found in (asked().feature(feature_id).examples or {}).items()
            for rank, row in enumerate(found, 1)
        ]  # fmt: skip
        frame = pl.DataFrame(rows, list(_EXAMPLE_COLUMNS), orient="row", infer_schema_length=None)
        return _csv(frame, _origin(request), f"f{feature_id:05d}-examples")

    @server.get("/api/labels.jsonl")
    def labels() -> Response:
        """Every label event, oldest first."""
        return Response(as_lines(asked()), media_type="application/jsonl")


def harmless(text: str | None) -> str | None:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text


def _harmless(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name, kind in frame.schema.items() if kind == _TEXT]
    return frame.with_columns(pl.col(texts).map_elements(harmless, _TEXT))


def _origin(request: Request) -> dict[str, Any]:
    about = asked().about
    return {"run": about.name, "version": about.version, "provenance": about.provenance, "link": str(request.url)}


def _csv(frame: pl.DataFrame, origin: dict[str, Any], name: str) -> Response:
    """Comma-separated, after a line with `#` that says where it comes from."""
    made_from = {key: value for key, value in origin["provenance"].items() if isinstance(value, str)}
    head = f"# {orjson.dumps({**origin, 'provenance': made_from}).decode()}\n"
    kept = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(head + frame.write_csv(), media_type="text/csv", headers=kept)
