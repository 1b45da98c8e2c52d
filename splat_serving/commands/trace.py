"""`splat trace`: which features fire on a build, and what each contributes to each prediction."""

from pathlib import Path

import click

from splat_serving.commands.asking import command_line, give, output_options, source_options
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.trace import Trace
from splat_serving.investigations.trace import trace as traced


@click.command()
@click.argument("build", required=False)
@click.option("--sample-id", type=int, default=None, help="A build of the store instead of BUILD.")
@click.option("--top-k", type=int, default=15, show_default=True, help="So many features, the strongest.")
@click.option("--predictions", type=int, default=8, show_default=True, help="So many tokens, the likeliest.")
@source_options
@output_options
def trace(
    build: str | None,
    sample_id: int | None,
    top_k: int,
    predictions: int,
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
) -> None:
    """Which features fire on BUILD, and what each of them adds to the logit of each predicted token.

    BUILD is a weapon and abilities with their AP: `splat trace "Splattershot: ssu 21, ism 6, ninja_squid"`.
    """
    asked = {"build": build, "sample_id": sample_id, "top_k": top_k, "predictions": predictions}
    spec = checked_spec(Trace, asked)
    with open_subject(run, token_file) as subject:
        give(traced(subject, spec, command_line()), form, output_dir, plot)
