"""`splat compare`: two features side by side."""

from pathlib import Path
from typing import Any

import click

from splat_assets.numerals import whole
from splat_serving.commands.asking import (
    command_line,
    give,
    given_settings,
    output_options,
    source_options,
    spec_options,
)
from splat_serving.investigations.compare import Compare
from splat_serving.investigations.compare import compare as side_by_side
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@click.argument("left", type=whole(), metavar="A")
@click.argument("right", type=whole(), metavar="B")
@spec_options(Compare, arguments=("left", "right"))
@source_options
@output_options
def compare(
    run: str | None, token_file: Path | None, form: str, output_dir: Path | None, plot: Path | None, **given: Any
) -> None:
    """Features A and B side by side: when they fire together, tokens and weapons of one rather than the other, and outputs."""
    spec = checked_spec(Compare, given_settings(given))
    with open_subject(run, token_file) as subject:
        give(side_by_side(subject, spec, command_line()), form, output_dir, plot)
