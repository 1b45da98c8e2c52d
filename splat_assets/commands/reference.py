"""The command reference `docs/cli.md`, made from `--help`; `make docs` writes it."""

from collections.abc import Iterator

import click

from splat_assets.cli import main

_WIDTH = 110


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [
        "# Commands",
        "",
        "Generated from `--help` by `make docs`. The guide is the upstream pipeline guide (see README).",
        "AP: ability points. Rung: an AP threshold of an ability.",
        "Data lives under the folder that `SPLAT_DATA` names, or `./data`.",
        "",
    ]
    context = click.Context(main, info_name="splat")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        for title, text in _pages(command, f"splat {name}", context):
            parts += [f"## {title}", "", "```", text.rstrip(), "```", ""]
    return "\n".join(parts)


def _pages(command: click.Command, title: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command, info_name=title.split()[-1], parent=parent, max_content_width=_WIDTH, terminal_width=_WIDTH
    )
    yield title, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _pages(child, f"{title} {name}", context)


if __name__ == "__main__":
    print(reference(), end="")
