"""`splat contrast`: the features that tell two sets of builds apart."""

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
from splat_serving.investigations.contrast import Contrast
from splat_serving.investigations.contrast import contrast as told_apart
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@click.argument("left")
@click.argument("right")
@spec_options(Contrast, arguments=("left", "right"))
@source_options
@output_options
def contrast(
    run: str | None, token_file: Path | None, form: str, output_dir: Path | None, plot: Path | None, **given: Any
) -> None:
    """Features that tell builds of the rule LEFT from builds of the rule RIGHT, best first.

    Rules are those of `splat find`; builds on which both hold are in neither set. The order is that of AUROC over all features:
    the probability that a feature's activation is higher on a build of LEFT than on one of RIGHT.

    `splat contrast "class=roller" "class=charger"`
    """
    spec = checked_spec(Contrast, given_settings(given))
    with open_subject(run, token_file) as subject:
        give(told_apart(subject, spec, command_line()), form, output_dir, plot)
