"""`/docs`: every path, its parameters and responses on one plain page, generated from the OpenAPI document."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

router = APIRouter()
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid #8885; }
section { margin: 2rem 0; }
:root { color-scheme: light dark; }
"""
Schema = Mapping[str, Any]


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The page."""
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
    return Response(page(request.app.openapi()), headers=headers, media_type="text/html; charset=utf-8")


def page(document: Schema) -> str:
    """An HTML page without scripts for an OpenAPI document."""
    info = document["info"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1>{_paragraphs(info.get('description', ''))}",
            '<p>Machine-readable version: <a href="openapi.json"><code>/openapi.json</code></a>.</p>',
            _contents(operations),
            *(_section(method, path, operation, document) for method, path, operation in operations),
            "</body></html>\n",
        ]
    )


def _contents(operations: list[tuple[str, str, Schema]]) -> str:
    rows = "".join(
        f'<tr><td><a href="#{escape(operation["operationId"])}"><code>{method} {escape(path)}</code></a></td>'
        f"<td>{escape(operation['summary'])}</td></tr>"
        for method, path, operation in operations
    )
    return f"<nav><table>{rows}</table></nav>"


def _section(method: str, path: str, operation: Schema, document: Schema) -> str:
    return "".join(
        [
            f'<section id="{escape(operation["operationId"])}"><h2><code>{method} {escape(path)}</code></h2>',
            f"<p><strong>{escape(operation['summary'])}.</strong></p>{_paragraphs(operation.get('description', ''))}",
            _table("Parameter", (_parameter(one) for one in operation.get("parameters", []))),
            _body(operation, document),
            _table("Status", (_answer(status, one) for status, one in operation["responses"].items())),
            "</section>",
        ]
    )


def _parameter(parameter: Schema) -> tuple[str, str]:
    schema = parameter["schema"]
    example = next(iter(parameter.get("examples") or schema.get("examples") or []), None)
    facts = [f"in the {parameter['in']}", _kind(schema)]
    facts += [f"default {_text(schema['default'])}"] if schema.get("default") is not None else []
    facts += [f"such as {_text(example)}"] if example is not None else []
    return parameter["name"], f"{parameter.get('description', '')} ({', '.join(facts)})".strip()


def _body(operation: Schema, document: Schema) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return ""
    schema = _resolved(next(iter(content.values()))["schema"], document)
    rows = []
    for name, field in schema.get("properties", {}).items():
        required = ", required" if name in schema.get("required", []) else ""
        rows.append((name, f"{field.get('description', '')} ({_kind(field)}{required})".strip()))
    examples = "".join(f"<pre>{escape(_text(one))}</pre>" for one in schema.get("examples", []))
    return _table("Member of the JSON body", iter(rows)) + examples


def _answer(status: str, response: Schema) -> tuple[str, str]:
    forms = ", ".join(response.get("content", {}))
    return status, f"{response['description']}{f' ({forms})' if forms else ''}"


def _kind(schema: Schema) -> str:
    """The type of a value, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " or ".join(_text(one) for one in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f"{kind}, {least} to {most}"
    return f"{kind}, {least} or more" if least is not None else kind


def _resolved(schema: Schema, document: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    resolved: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved


def _table(of_what: str, rows: Iterator[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<table><tr><th scope="col">{of_what}</th><th scope="col">Meaning</th></tr>{body}</table>' if body else ""


def _paragraphs(text: str) -> str:
    """Paragraphs, and text between backticks as code."""
    parts = (re.sub("`([^`]+)`", r"<code>\1</code>", escape(part)) for part in text.split("\n\n") if part.strip())
    return "".join(f"<p>{part}</p>" for part in parts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
