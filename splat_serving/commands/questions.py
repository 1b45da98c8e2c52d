"""The commands that ask one question and print its result: `splat overview`, `find`, `trace`, `compare`, `contrast`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from splat_assets.text.numerals import whole
from splat_serving.commands.asking import (
    command_line,
    emit,
    given_settings,
    output_options,
    source_options,
    spec_options,
)
from splat_serving.investigations.compare import Compare
from splat_serving.investigations.compare import compare as compare_features
from splat_serving.investigations.contrast import Contrast
from splat_serving.investigations.contrast import contrast as contrast_rules
from splat_serving.investigations.find import Find
from splat_serving.investigations.find import find as find_builds
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.overview import EXTENDED, Overview
from splat_serving.investigations.overview import overview as overview_of
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.spec import Spec, checked_spec
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.trace import Trace
from splat_serving.investigations.trace import trace as trace_build

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_ALSO = {"enrichment": "enrichment", "regions": "bands", "binary": "binary", "kit": "kit-sweep"}


def question_command(
    name: str,
    kind: type[Spec],
    answer: Callable[[Subject, Any, str], Result],
    text: str,
    arguments: Sequence[str] = (),
    options: Sequence[Decorator] = (),
    settings: Callable[[dict[str, Any]], Mapping[str, Any]] = given_settings,
) -> click.Command:
    """The command `splat NAME`: a spec from its options, the answer printed or written.

    kind: its fields become options. answer: of a subject, the spec and the command line. text: the help page. arguments: the
    fields that are arguments. options: arguments and further options, in the order of the help page. settings: makes the spec's
    fields of the options.
    """

    def ask(
        run: str | None, token_file: Path | None, form: str, output_dir: Path | None, plot: Path | None, **values: Any
    ) -> None:
        spec = checked_spec(kind, dict(settings(values)))
        with open_subject(run, token_file) as subject:
            emit(answer(subject, spec, command_line()), form, output_dir, plot)

    command: Callable[..., Any] = source_options(output_options(ask))
    for option in reversed(options):
        command = option(command)
    return click.command(name, help=text)(spec_options(kind, arguments=arguments)(command))


def _also(values: dict[str, Any]) -> Mapping[str, Any]:
    """The settings of an overview, with the experiments that flags name."""
    everything = values.pop("everything")
    named = [name for flag, name in _ALSO.items() if values.pop(flag)]
    settings = given_settings(values)
    also = EXTENDED if everything else (*settings.pop("also", ()), *named)
    return {**settings, "also": tuple(dict.fromkeys(also))}


overview = question_command(
    "overview",
    Overview,
    overview_of,
    """One page on a feature: statistics, histogram, tokens and weapons with lift, response to AP, influences, neighbours.

    `splat overview 45`, `splat overview 45 --all --output-dir results`, `splat overview --feature-id 45 --model demo`.
    """,
    options=[
        click.option("--all", "everything", is_flag=True, help=f"Also run {', '.join(EXTENDED)}."),
        *(click.option(f"--{flag}", is_flag=True, help=f"Also run {name}.") for flag, name in _ALSO.items()),
    ],
    settings=_also,
)

find = question_command(
    "find",
    Find,
    find_builds,
    """Builds on which RULE holds, and the features that fire there rather than elsewhere.

    A rule speaks of abilities (`ssu>=21`, `ninja_squid`, short names or long ones) and of the weapon (`class=roller`, `sub=...`,
    `special=...`, `weapon=...`), with `and`, `or`, `not` and parentheses:

    `splat find "ssu>=21 and ninja_squid and not class in (roller, brush)"`
    """,
    arguments=("rule",),
    options=[click.argument("rule")],
)

trace = question_command(
    "trace",
    Trace,
    trace_build,
    """Which features fire on BUILD, and what each of them adds to the logit of each predicted token.

    BUILD is a weapon and abilities with their AP: `splat trace "Splattershot: ssu 21, ism 6, ninja_squid"`.
    """,
    arguments=("build",),
    options=[click.argument("build", required=False)],
)

compare = question_command(
    "compare",
    Compare,
    compare_features,
    "Features A and B side by side: when they fire together, tokens and weapons of one rather than the other, and outputs.",
    arguments=("left", "right"),
    options=[
        click.argument("left", type=whole(), metavar="A"),
        click.argument("right", type=whole(), metavar="B"),
    ],
)

contrast = question_command(
    "contrast",
    Contrast,
    contrast_rules,
    """Features that tell builds of the rule LEFT from builds of the rule RIGHT, best first.

    Rules are those of `splat find`; builds on which both hold are in neither set. The order is that of AUROC over all features:
    the probability that a feature's activation is higher on a build of LEFT than on one of RIGHT.

    `splat contrast "class=roller" "class=charger"`
    """,
    arguments=("left", "right"),
    options=[click.argument("left"), click.argument("right")],
)
