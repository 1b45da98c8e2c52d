"""`splat label suggest`: the best rule for a feature, or for all features."""

from pathlib import Path

import click

from splat_assets.errors import InputError
from splat_assets.numerals import whole
from splat_serving.commands.asking import command_line, emit, output_options, source_options
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.suggest import Suggest, SuggestAll, suggest_all
from splat_serving.investigations.suggest import suggest as suggested


@click.command()
@click.argument("feature", type=whole(), required=False)
@click.option("-f", "--feature-id", type=whole(), default=None, help="Same as FEATURE.")
@click.option(
    "--all", "everything", is_flag=True, help="List the rules of all features that are good enough to be labels."
)
@click.option("--weak", is_flag=True, help="With --all: include weaker rules.")
@source_options
@output_options
def suggest(
    feature: int | None,
    feature_id: int | None,
    everything: bool,
    weak: bool,
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
) -> None:
    """Suggest the rule on builds that describes FEATURE best.

    It is selected on half of the builds, scored on the other half and compared with chance. A suggestion is not reviewed by a
    person and is kept apart from labels: `splat label set` saves one as a label.
    """
    named = {one for one in (feature, feature_id) if one is not None}
    if len(named) + everything != 1:
        raise InputError("specify one feature, as FEATURE or --feature-id, or --all")
    with open_subject(run, token_file) as subject:
        if everything:
            result = suggest_all(subject, checked_spec(SuggestAll, {"only_good": not weak}), command_line())
        else:
            result = suggested(subject, checked_spec(Suggest, {"feature_id": named.pop()}), command_line())
        emit(result, form, output_dir, plot)
