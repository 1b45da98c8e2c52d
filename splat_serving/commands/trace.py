"""`splat trace`: which features fire on a build, and what each contributes to each prediction."""

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
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.trace import Trace
from splat_serving.investigations.trace import trace as traced


@click.command()
@click.argument("build", required=False)
@spec_options(Trace, arguments=("build",))
@source_options
@output_options
def trace(
    run: str | None, token_file: Path | None, form: str, output_dir: Path | None, plot: Path | None, **given: Any
) -> None:
    """Which features fire on BUILD, and what each of them adds to the logit of each predicted token.

    BUILD is a weapon and abilities with their AP: `splat trace "Splattershot: ssu 21, ism 6, ninja_squid"`.
    """
    spec = checked_spec(Trace, given_settings(given))
    with open_subject(run, token_file) as subject:
        give(traced(subject, spec, command_line()), form, output_dir, plot)
