"""`splat compare`: two features side by side."""

from pathlib import Path

import click

from splat_serving.commands.asking import command_line, give, output_options, source_options
from splat_serving.investigations.compare import Compare
from splat_serving.investigations.compare import compare as side_by_side
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@click.argument("left", type=int, metavar="A")
@click.argument("right", type=int, metavar="B")
@click.option("--top-k", type=int, default=15, show_default=True, help="So many rows of each table.")
@source_options
@output_options
def compare(
    left: int,
    right: int,
    top_k: int,
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
) -> None:
    """Features A and B side by side: when they fire together, tokens and weapons of one rather than the other, and outputs."""
    spec = checked_spec(Compare, {"left": left, "right": right, "top_k": top_k})
    with open_subject(run, token_file) as subject:
        give(side_by_side(subject, spec, command_line()), form, output_dir, plot)
