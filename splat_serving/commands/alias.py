"""`splat alias`: short names for runs, folders and servers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_serving.commands.asking import people
from splat_serving.database.aliases import PARTS, keep_alias, read_aliases, remove_alias


def _options_of_parts(command: Callable[..., None]) -> Callable[..., None]:
    for name, line in reversed(PARTS.items()):
        option = "--" + name.replace("_", "-")
        command = click.option(option, name, type=click.Path(path_type=Path), default=None, help=line)(command)
    return command


@click.command()
@click.argument("name", required=False)
@click.argument("target", required=False, metavar="[PATH|RUN|URL]")
@_options_of_parts
@click.option("--remove", is_flag=True, help="Forget NAME. What it stands for stays.")
def alias(name: str | None, target: str | None, remove: bool, **parts: Path | None) -> None:
    """Call a folder, a run or a server NAME: `--model NAME` then means it in every command; without NAME, list all names.

    \b
      splat alias full /mnt/e/activations_efficient --transposed-dir /mnt/e/activations_transposed
      splat overview --feature-id 845 --model full
      splat serve full
      splat alias full --remove

    A folder's name may say where model and SAE are, for questions that run them, if they were moved since the activations were
    made: they must have the recorded sha256. Names are kept in ~/.config/splat/aliases.json (XDG_CONFIG_HOME moves it).
    """
    given: dict[str, Any] = {part: path for part, path in parts.items() if path is not None}
    if remove:
        if name is None or target is not None or given:
            raise InputError("--remove takes one name and nothing else: splat alias NAME --remove")
        click.echo(f"{name} no longer stands for {remove_alias(name).target}")
    elif target is not None and name is not None:
        kept = keep_alias(name, target, given, DataRoot.from_environment())
        click.echo(f"{kept.name} stands for {kept.target}")
    elif given:
        raise InputError("name the folder that the options belong to: splat alias NAME PATH …")
    else:
        _list(name)


def _list(name: str | None) -> None:
    aliases = read_aliases()
    if name is not None and name not in aliases:
        raise InputError(f"there is no alias {name[:100]!r}; `splat alias {name[:100]} PATH` makes one")
    if not aliases:
        click.echo("there are no aliases; `splat alias NAME PATH|RUN|URL` makes one")
        return
    table = Table("name", "stands for", "with")
    for each in aliases.values() if name is None else [aliases[name]]:
        parts = ", ".join(f"--{part.replace('_', '-')} {path}" for part, path in each.parts.items())
        table.add_row(Text(each.name), Text(each.target), Text(parts))
    people().print(table)
