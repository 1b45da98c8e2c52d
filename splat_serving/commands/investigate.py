"""`splat investigate`: a report on one feature; `splat export`: it, or a comparison of two features, as one file."""

import sys
from pathlib import Path
from typing import Any

import click

from splat_assets.store.files import replacing_file
from splat_assets.text.numerals import whole
from splat_assets.text.terminal import console
from splat_assets.text.wording import visible
from splat_serving.commands.asking import (
    command_line,
    given_settings,
    reporting_write_errors,
    source_options,
    spec_options,
)
from splat_serving.investigations.compare import Compare
from splat_serving.investigations.compare import compare as compared
from splat_serving.investigations.investigate import Investigate, report_as_markdown, write_report
from splat_serving.investigations.investigate import investigate as report_of
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.plotting import as_html
from splat_serving.investigations.results.rendering import as_markdown
from splat_serving.investigations.spec import checked_spec

_FORM = click.option("--html/--markdown", "html", default=True, show_default=True, help="File format.")
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(readable=False, path_type=Path, dir_okay=False), default=None,
    help="Output file; default: named after the features, in the current folder.",
)  # fmt: skip


@click.command()
@spec_options(Investigate)
@click.option("-o", "--output-dir", type=click.Path(readable=False, path_type=Path, file_okay=False), default=None,
              help="Write the report there: Markdown, and one HTML file with figures. Printed if left out.")  # fmt: skip
@source_options
def investigate(run: str | None, token_file: Path | None, output_dir: Path | None, **given: Any) -> None:
    """A report on FEATURE: triage, overview, observed and causal sweeps, weapons, effect, checks, and a proposed label.

    Each section can be run alone, with the specification in the report. `splat investigate 45 -o reports`.
    """
    spec = checked_spec(Investigate, given_settings(given))
    with open_subject(run, token_file) as subject:
        report = report_of(subject, spec, command_line(), lambda text: click.echo(f"… {text}", err=True))
    if output_dir is None:
        sys.stdout.write(report_as_markdown(report))
        return
    out = console()
    out.print(f"Feature {report.feature_id}", style="bold")
    for sentence in report.findings:
        out.print(f"- {visible(sentence)}")
    for warning in report.warnings:
        out.print(f"warning: {visible(warning)}")
    for path in write_report(report, output_dir):
        click.echo(f"written: {path}")


@click.group()
def export() -> None:
    """Export self-contained files that open from disk, without a server or network.

    Each holds version, fingerprints and settings, so that its numbers can be reproduced.
    """


@export.command()
@click.argument("feature", type=whole())
@_FORM
@_OUTPUT
@source_options
def feature(feature: int, html: bool, output: Path | None, run: str | None, token_file: Path | None) -> None:
    """Export the report on FEATURE of `splat investigate` as one file: `splat export feature 45 --html`."""
    spec = checked_spec(Investigate, {"feature_id": feature})
    with open_subject(run, token_file) as subject:
        report = report_of(subject, spec, command_line(), lambda text: click.echo(f"… {text}", err=True))
    title = f"Feature {feature}: report"
    text = as_html(report.results, title) if html else report_as_markdown(report)
    _write(text, output or Path(f"feature-{feature:05d}"), html)


@export.command()
@click.argument("left", type=whole())
@click.argument("right", type=whole())
@_FORM
@_OUTPUT
@source_options
def comparison(
    left: int, right: int, html: bool, output: Path | None, run: str | None, token_file: Path | None
) -> None:
    """Export the comparison of LEFT and RIGHT of `splat compare` as one file."""
    spec = checked_spec(Compare, {"left": left, "right": right})
    with open_subject(run, token_file) as subject:
        result = compared(subject, spec, command_line())
    _write(as_html([result]) if html else as_markdown(result), output or Path(f"compare-{left:05d}-{right:05d}"), html)


def _write(text: str, path: Path, html: bool) -> None:
    path = path if path.suffix else path.with_suffix(".html" if html else ".md")
    with reporting_write_errors(path), replacing_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
    click.echo(f"written: {path}")
