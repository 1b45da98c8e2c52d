"""`splat overview`: one page on one feature."""

from pathlib import Path
from typing import Any

import click

from splat_serving.commands.asking import (
    command_line,
    give,
    given_settings,
    output_options,
    source_options,
    spec_options,
)
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.overview import EXTENDED, Overview
from splat_serving.investigations.overview import overview as page_of
from splat_serving.investigations.spec import checked_spec

_ALSO = {"enrichment": "enrichment", "regions": "bands", "binary": "binary", "kit": "kit-sweep"}


@click.command()
@spec_options(Overview)
@click.option("--all", "everything", is_flag=True, help=f"Also ask {', '.join(EXTENDED)}.")
@click.option("--enrichment", is_flag=True, help="Also ask enrichment.")
@click.option("--regions", is_flag=True, help="Also ask bands.")
@click.option("--binary", is_flag=True, help="Also ask binary.")
@click.option("--kit", is_flag=True, help="Also ask kit-sweep.")
@source_options
@output_options
def overview(
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
    everything: bool,
    **given: Any,
) -> None:
    """One page on a feature: statistics with zeros, histogram, tokens and weapons with lift, AP doses, influences, neighbours.

    `splat overview 45`, `splat overview 45 --all --output-dir results`, `splat overview --feature-id 45 --model demo`.
    """
    named = [name for flag, name in _ALSO.items() if given.pop(flag)]
    settings = given_settings(given)
    also = EXTENDED if everything else (*settings.pop("also", ()), *named)
    spec = checked_spec(Overview, {**settings, "also": tuple(dict.fromkeys(also))})
    with open_subject(run, token_file) as subject:
        give(page_of(subject, spec, command_line()), form, output_dir, plot)
