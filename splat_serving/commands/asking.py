"""What every command that investigates shares: which run is asked, in which form the answer comes, options from a spec."""

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
from rich.console import Console

from splat_assets.errors import InputError
from splat_assets.numerals import number_type, whole
from splat_serving.investigations.results.rendering import as_json, as_markdown, checked_ending, print_result
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.spec import Spec

FORMATS = ("table", "markdown", "json")
_NOT_OPTIONS = ("experiment",)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run (also called --model) and --token-file: what is asked."""
    command = click.option(
        "--token-file",
        type=click.Path(readable=False, path_type=Path),
        help="The secret of a server that wants one.",
        default=None,
    )(command)
    return click.option(
        "--run",
        "--model",
        "run",
        metavar="RUN|PATH|URL|ALIAS",
        default=None,
        help="A run of the data root, a store or folder of guide formats, a server (http://127.0.0.1:8765, or …/runs/NAME), or "
        "an alias of one (`splat alias`). "
        "Left out: what SPLAT_RUN names, else the run that was published last, else the only alias.",
    )(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--format, --output-dir and --plot: where the answer goes."""
    command = click.option(
        "--plot",
        type=click.Path(readable=False, path_type=Path, dir_okay=False),
        default=None,
        callback=lambda _context, _option, given: given and checked_ending(given),
        help="Also draw the figures into FILE: .png, .svg, or .html (one page with tables and figures).",
    )(command)
    command = click.option(
        "--output-dir",
        type=click.Path(readable=False, path_type=Path, file_okay=False),
        default=None,
        help="Also write the result there, as JSON and Markdown, under a name made of question and version.",
    )(command)
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of what is printed."
    )(command)


def give(result: Result, form: str, output_dir: Path | None = None, plot: Path | None = None) -> None:
    """Print a result, and write it where that was asked for."""
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
        print_result(people(), result)
    for path in written:
        click.echo(f"written: {path}", err=True)


@contextmanager
def reporting_write_errors(path: Path) -> Iterator[None]:
    """InputError, in one sentence, where something cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def people() -> Console:
    """Where people read: as wide as needed when it is not a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=160)


def write_result(result: Result, folder: Path) -> list[Path]:
    """Write a result as JSON and Markdown below folder, named after the question and the version it was asked of."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = result_name(result)
    paths = [folder / f"{stem}.json", folder / f"{stem}.md"]
    for path, text in zip(paths, (as_json(result), as_markdown(result)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def result_name(result: Result) -> str:
    """`family-sweep-f845-1a2b3c4d`: kind, feature, and eight digits that question and version determine."""
    asked = json.dumps([result.spec, result.provenance.store_version], sort_keys=True)
    feature = result.spec.get("feature_id")
    digits = hashlib.sha256(asked.encode()).hexdigest()[:8]
    return "-".join(part for part in (result.kind, "" if feature is None else f"f{feature}", digits) if part)


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["splat", *sys.argv[1:]])


def spec_options(
    kind: type[Spec], other_names: dict[str, tuple[str, ...]] | None = None, arguments: Sequence[str] = ()
) -> Callable[..., Any]:
    """A decorator that gives a command one option per field of a spec; FEATURE is an argument as well as --feature-id.

    arguments: fields that are none of the options, as the command has them as arguments.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(kind.model_fields.items()):
            if name in (*_NOT_OPTIONS, *arguments):
                continue
            if name == "feature_id":
                command = click.option("-f", "--feature-id", type=whole(), default=None, help="As FEATURE.")(command)
                command = click.argument("feature", type=whole(), required=False, metavar="[FEATURE]")(command)
            else:
                command = _option(name, field, (other_names or {}).get(name, ()))(command)
        return command

    return decorate


def given_settings(given: dict[str, Any]) -> dict[str, Any]:
    """What was given of the options of `spec_options`, by field.

    `feature_id` is from FEATURE or --feature-id; InputError for neither or two different ones.
    """
    rest = {name: value for name, value in given.items() if name not in ("feature", "feature_id") and value is not None}
    named = {given[name] for name in ("feature", "feature_id") if given.get(name) is not None}
    if "feature" not in given and "feature_id" not in given:
        return rest
    if len(named) != 1:
        raise InputError("name one feature, as FEATURE or --feature-id")
    return {**rest, "feature_id": named.pop()}


def _option(name: str, field: FieldInfo, others: tuple[str, ...]) -> Callable[..., Any]:
    flag = "--" + name.replace("_", "-")
    kind, is_list = _plain(field.annotation)
    said: dict[str, Any] = {"help": field.description, "default": None}
    default = field.default
    if field.is_required():
        said["help"] = f"{said['help'] or ''}  [required]"
    elif default is not None and default != () and kind is not bool:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        said["help"] = f"{said['help'] or ''}  [default: {shown}]"
    if kind is bool:
        names = f"{flag}/--no-{name.replace('_', '-')}"
        said["help"] = f"{said['help'] or ''}  [default: {'yes' if default else 'no'}]"
        return click.option(names, name, **said)
    if is_list:
        return click.option(flag, *others, name, type=_Listed(kind), **said)
    if get_origin(kind) is Literal:
        return click.option(flag, *others, name, type=click.Choice([str(one) for one in get_args(kind)]), **said)
    return click.option(flag, *others, name, type=number_type(kind) or kind, **said)


class _Listed(click.ParamType[Any]):
    """Values with commas between them."""

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
