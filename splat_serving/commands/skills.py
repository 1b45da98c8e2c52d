"""`splat skills`: the instructions for AI assistants that come with the package."""

from collections import Counter
from pathlib import Path

import click

from splat_assets.text.wording import counted
from splat_serving.investigations.assistant.installing import install


@click.group()
def skills() -> None:
    """Instructions for AI assistants: how to look at features with `splat`, one file for each kind of work."""


@skills.command("install")
@click.option(
    "--to",
    "project",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default="this folder",
    help="The project that the assistant works in.",
)
@click.option("--force", is_flag=True, help="Replace files that were changed since they were written, too.")
def install_(project: Path, force: bool) -> None:
    """Write the skills into PROJECT/.claude/skills, and the command /investigate into PROJECT/.claude/commands.

    Called again it brings files up to date. A file that somebody changed stays as it is, unless --force is given.
    """
    done = install(project, force)
    for one in done:
        click.echo(f"{one.what:<10}{one.path}")
    n_kept = Counter(one.what for one in done)["kept"]
    if n_kept:
        click.echo(f"{counted(n_kept, 'files')} changed here stayed as before; --force replaces what is kept", err=True)
