"""`splat label suggest`: the rule over builds that describes a feature best, or those of all features."""

from pathlib import Path

import click

from splat_assets.errors import InputError
from splat_assets.numerals import whole
from splat_serving.commands.asking import command_line, give, output_options, source_options
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.suggest import Suggest, SuggestAll, suggest_all
from splat_serving.investigations.suggest import suggest as suggested


@click.command()
@click.argument("feature", type=whole(), required=False)
@click.option("-f", "--feature-id", type=whole(), default=None, help="As FEATURE.")
@click.option("--all", "everything", is_flag=True, help="The rules of all features that are good enough to be labels.")
@click.option("--weak", is_flag=True, help="With --all, also those that are not.")
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
    """The rule over builds that describes FEATURE best: chosen on half of the builds, scored on the other, held against chance.

    A suggestion is nobody's opinion and is never mixed with people's labels: `splat label set` writes one down.
    """
    named = {one for one in (feature, feature_id) if one is not None}
    if len(named) + everything != 1:
        raise InputError("name one feature, as FEATURE or --feature-id, or ask for --all")
    with open_subject(run, token_file) as subject:
        if everything:
            found = suggest_all(subject, checked_spec(SuggestAll, {"only_good": not weak}), command_line())
        else:
            found = suggested(subject, checked_spec(Suggest, {"feature_id": named.pop()}), command_line())
        give(found, form, output_dir, plot)
