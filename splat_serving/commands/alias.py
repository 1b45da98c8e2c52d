"""`splat alias`: short names for runs, folders and servers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_assets.text.terminal import FittedTable, console
from splat_serving.database.aliases import ALIAS_OPTIONS, keep_alias, read_aliases, remove_alias


def _options_of_parts(command: Callable[..., None]) -> Callable[..., None]:
    for name, line in reversed(ALIAS_OPTIONS.items()):
        option = "--" + name.replace("_", "-")
        command = click.option(option, name, type=click.Path(path_type=Path), default=None, help=line)(command)
    return command


@click.command()
@click.argument("name", required=False)
@click.argument("target", required=False, metavar="[PATH|RUN|URL]")
@_options_of_parts
@click.option("--remove", is_flag=True, help="Delete the alias NAME. Its target is not touched.")
def alias(name: str | None, target: str | None, remove: bool, **parts: Path | None) -> None:
    """Define NAME as an alias of a folder, run or server, for `--model NAME` in every command. Without NAME: list all aliases.

    \b
      splat alias full /mnt/e/activations_efficient --transposed-dir /mnt/e/activations_transposed
      splat overview --feature-id 845 --model full
      splat serve full
      splat alias full --remove

    An alias of a folder can record the new paths of model and SAE if they were moved after the activations were computed;
    their sha256 must match. Aliases are saved in ~/.config/splat/aliases.json (or below XDG_CONFIG_HOME).
    """
    belonging: dict[str, Any] = {part: path for part, path in parts.items() if path is not None}
    if remove:
        if name is None or target is not None or belonging:
            raise InputError("--remove takes one name and nothing else: splat alias NAME --remove")
        click.echo(f"removed alias {name} of {remove_alias(name).target}")
    elif target is not None and name is not None:
        kept = keep_alias(name, target, belonging, DataRoot.from_environment())
        click.echo(f"saved alias {kept.name} of {kept.target}")
    elif belonging:
        raise InputError("these options need a folder: splat alias NAME PATH …")
    else:
        _list(name)


def _list(name: str | None) -> None:
    aliases = read_aliases()
    if name is not None and name not in aliases:
        raise InputError(f"unknown alias {name[:100]!r}; define it with `splat alias {name[:100]} PATH`")
    if not aliases:
        click.echo("no aliases; define one with `splat alias NAME PATH|RUN|URL`")
        return
    table = FittedTable("name", "target", "options")
    for each in aliases.values() if name is None else [aliases[name]]:
        parts = ", ".join(f"--{part.replace('_', '-')} {path}" for part, path in each.parts.items())
        table.add_row(Text(each.name), Text(each.target), Text(parts))
    console().print(table)
