"""`splat mcp`: tools for AI assistants over standard input and output."""

import os
from functools import partial
from pathlib import Path

import click

from splat_assets.commands.ending import at_stop
from splat_assets.text.numerals import whole
from splat_serving.commands.asking import source_options
from splat_serving.commands.writing import subject_to_write
from splat_serving.investigations.assistant import MOST_CHARACTERS
from splat_serving.investigations.opening import open_subject


@click.command("mcp")
@source_options
@click.option("--allow-labels", is_flag=True, help="Allow the assistant to write labels.")
@click.option(
    "--max-characters",
    type=whole(min=1_000),
    default=MOST_CHARACTERS,
    show_default=True,
    help="Largest size of one answer, including its structured form.",
)
def mcp_(run: str | None, token_file: Path | None, allow_labels: bool, max_characters: int) -> None:
    """Serve tools for AI assistants (Model Context Protocol) over stdio: overviews, experiments, traces, labels.

    Read-only unless --allow-labels is set. The assistant starts the command itself; its configuration:

    {"mcpServers": {"splat": {"command": "splat", "args": ["mcp", "--run", "demo"]}}}
    """
    import anyio

    from splat_serving.investigations.assistant.server import make_server, serve_stdio

    open_now = partial(open_subject, run, token_file)
    with at_stop(_leave_at_once):
        if allow_labels:
            subject_to_write(run, token_file).close()
        open_now().close()  # report errors before the assistant waits for an answer
        anyio.run(serve_stdio, make_server(open_now, allow_labels, max_characters))


def _leave_at_once() -> None:
    """Exit without waiting for the thread that reads standard input: it cannot be interrupted."""
    os._exit(0)
