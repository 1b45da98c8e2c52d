"""Shared parts of the investigation commands: source, output format, options from a spec."""

import hashlib
import json
import shlex
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from splat_assets.errors import InputError
from splat_assets.text.numerals import number_type, whole
from splat_assets.text.terminal import console
from splat_serving.investigations.results.rendering import as_json, as_markdown, checked_ending, print_result
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.spec import Spec

FORMATS = ("table", "markdown", "json")
TOKEN_FILE = click.option(
    "--token-file",
    type=click.Path(readable=False, path_type=Path),
    default=None,
    help="File with the token of a server that requires one.",
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run (also --model) and --token-file: the source."""
    return click.option(
        "--run",
        "--model",
        "run",
        metavar="RUN|PATH|URL|ALIAS",
        default=None,
        help="A run of the data root, a store or folder of guide formats, a server (http://127.0.0.1:8765, or …/runs/NAME), or "
        "an alias of one (`splat alias`). "
        "Default: SPLAT_RUN, else the run published last, else the only alias.",
    )(TOKEN_FILE(command))


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--format, --output-dir and --plot: the output."""
    command = click.option(
        "--plot",
        type=click.Path(readable=False, path_type=Path, dir_okay=False),
        default=None,
        callback=lambda _context, _option, path: path and checked_ending(path),
        help="Also save the figures to FILE: .png, .svg, or .html (one page with tables and figures).",
    )(command)
    command = click.option(
        "--output-dir",
        type=click.Path(readable=False, path_type=Path, file_okay=False),
        default=None,
        help="Also write the result to this folder, as JSON and Markdown, named after settings and version.",
    )(command)
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Output format."
    )(command)


def emit(result: Result, form: str, output_dir: Path | None = None, plot: Path | None = None) -> None:
    """Print a result, and write it to the requested files."""
    written = []
    if output_dir is not None:
        with reporting_write_errors(output_dir):
            written += write_result(result, output_dir)
    if plot is not None:
        from splat_serving.investigations.results.plotting import draw

        with reporting_write_errors(plot):
            written += draw(result, plot)
    if form == "json":
        sys.stdout.write(as_json(result))
    elif form == "markdown":
        sys.stdout.write(as_markdown(result))
    else:
        print_result(console(markup=True), result)
    for path in written:
        click.echo(f"written: {path}", err=True)


@contextmanager
def reporting_write_errors(path: Path) -> Iterator[None]:
    """Turn OSError of a write into an InputError with one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_result(result: Result, folder: Path) -> list[Path]:
    """Write a result as JSON and Markdown below folder, named after settings and version."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = result_name(result)
    paths = [folder / f"{stem}.json", folder / f"{stem}.md"]
    for path, text in zip(paths, (as_json(result), as_markdown(result)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def result_name(result: Result) -> str:
    """`family-sweep-f845-1a2b3c4d`: kind, feature, and eight digits of a hash of settings and version."""
    question = json.dumps([result.spec, result.provenance.store_version], sort_keys=True)
    feature = result.spec.get("feature_id")
    digits = hashlib.sha256(question.encode()).hexdigest()[:8]
    return "-".join(part for part in (result.kind, "" if feature is None else f"f{feature}", digits) if part)


def command_line() -> str:
    """The running command, as typed."""
    return shlex.join(["splat", *sys.argv[1:]])


def spec_options(
    kind: type[Spec], other_names: dict[str, tuple[str, ...]] | None = None, arguments: Sequence[str] = ()
) -> Callable[..., Any]:
    """A decorator that gives a command one option per field of a spec; the feature is FEATURE or --feature-id.

    arguments: fields that the command takes as arguments, not as options.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(kind.model_fields.items()):
            if name in ("experiment", *arguments):
                continue
            if name == "feature_id":
                command = click.option("-f", "--feature-id", type=whole(), default=None, help="Same as FEATURE.")(
                    command
                )
                command = click.argument("feature", type=whole(), required=False, metavar="[FEATURE]")(command)
            else:
                command = _option(name, field, (other_names or {}).get(name, ()))(command)
        return command

    return decorate


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The values of the options of `spec_options`, by field, without those left out.

    `feature_id` is from FEATURE or --feature-id; InputError for neither or two different ones.
    """
    rest = {
        name: value for name, value in options.items() if name not in ("feature", "feature_id") and value is not None
    }
    named = {options[name] for name in ("feature", "feature_id") if options.get(name) is not None}
    if "feature" not in options and "feature_id" not in options:
        return rest
    if len(named) != 1:
        raise InputError("specify one feature, as FEATURE or --feature-id")
    return {**rest, "feature_id": named.pop()}


def _option(name: str, field: FieldInfo, others: tuple[str, ...]) -> Callable[..., Any]:
    flag = "--" + name.replace("_", "-")
    kind, is_list = _plain(field.annotation)
    parameters: dict[str, Any] = {"help": field.description, "default": None}
    default = field.default
    if field.is_required():
        parameters["help"] = f"{parameters['help'] or ''}  [required]"
    elif default is not None and default != () and kind is not bool:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        parameters["help"] = f"{parameters['help'] or ''}  [default: {shown}]"
    if kind is bool:
        names = f"{flag}/--no-{name.replace('_', '-')}"
        parameters["help"] = f"{parameters['help'] or ''}  [default: {'yes' if default else 'no'}]"
        return click.option(names, name, **parameters)
    if is_list:
        return click.option(flag, *others, name, type=_Listed(kind), **parameters)
    if get_origin(kind) is Literal:
        return click.option(flag, *others, name, type=click.Choice([str(one) for one in get_args(kind)]), **parameters)
    return click.option(flag, *others, name, type=number_type(kind) or kind, **parameters)


class _Listed(click.ParamType[Any]):
    """Comma-separated values."""

    name = "list"

    def __init__(self, kind: Any) -> None:
        self.kind = number_type(kind) or click.STRING

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"{self.kind.name.upper()},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(self.kind.convert(part.strip(), param, ctx) for part in value.split(",") if part.strip())


def _plain(annotation: Any) -> tuple[Any, bool]:
    """The type of one value of a field, and whether it takes several."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _plain(next(one for one in get_args(annotation) if one is not type(None)))
    if origin is tuple:
        return _plain(get_args(annotation)[0])[0], True
    if origin is not None and origin is not Literal and hasattr(annotation, "__metadata__"):
        return _plain(get_args(annotation)[0])
    return annotation, False
