"""`splat find`: the builds on which a rule holds, and the features that go with it."""

from pathlib import Path

import click

from splat_serving.commands.asking import command_line, give, output_options, source_options
from splat_serving.investigations.find import Find
from splat_serving.investigations.find import find as found_by
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@click.argument("rule")
@click.option("--limit", type=int, default=10, show_default=True, help="So many builds are shown, drawn at random.")
@click.option("--top-k", type=int, default=15, show_default=True, help="So many features are shown.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the builds that are drawn.")
@source_options
@output_options
def find(
    rule: str,
    limit: int,
    top_k: int,
    seed: int,
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
) -> None:
    """Builds on which RULE holds, and the features that fire there rather than elsewhere.

    A rule speaks of abilities (`ssu>=21`, `ninja_squid`, short names or long ones) and of the weapon (`class=roller`, `sub=...`,
    `special=...`, `weapon=...`), with `and`, `or`, `not` and parentheses:

    `splat find "ssu>=21 and ninja_squid and not class in (roller, brush)"`
    """
    spec = checked_spec(Find, {"rule": rule, "limit": limit, "top_k": top_k, "seed": seed})
    with open_subject(run, token_file) as subject:
        give(found_by(subject, spec, command_line()), form, output_dir, plot)
