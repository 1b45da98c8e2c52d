"""`splat find`: the builds on which a rule holds, and the features that go with it."""

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
from splat_serving.investigations.find import Find
from splat_serving.investigations.find import find as found_by
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@click.argument("rule")
@spec_options(Find, arguments=("rule",))
@source_options
@output_options
def find(
    run: str | None, token_file: Path | None, form: str, output_dir: Path | None, plot: Path | None, **given: Any
) -> None:
    """Builds on which RULE holds, and the features that fire there rather than elsewhere.

    A rule speaks of abilities (`ssu>=21`, `ninja_squid`, short names or long ones) and of the weapon (`class=roller`, `sub=...`,
    `special=...`, `weapon=...`), with `and`, `or`, `not` and parentheses:

    `splat find "ssu>=21 and ninja_squid and not class in (roller, brush)"`
    """
    spec = checked_spec(Find, given_settings(given))
    with open_subject(run, token_file) as subject:
        give(found_by(subject, spec, command_line()), form, output_dir, plot)
