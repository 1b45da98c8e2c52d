"""`splat investigate`: the whole way through one feature, as one report."""

import sys
from pathlib import Path
from typing import Any

import click

from splat_assets.terminal import console
from splat_assets.wording import visible
from splat_serving.commands.asking import command_line, given_settings, source_options, spec_options
from splat_serving.investigations.investigate import Investigate, report_as_markdown, write_report
from splat_serving.investigations.investigate import investigate as report_of
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import checked_spec


@click.command()
@spec_options(Investigate)
@click.option("-o", "--output-dir", type=click.Path(readable=False, path_type=Path, file_okay=False), default=None,
              help="Write the report there: Markdown, and one HTML file with figures. Printed if left out.")  # fmt: skip
@source_options
def investigate(run: str | None, token_file: Path | None, output_dir: Path | None, **given: Any) -> None:
    """The whole way through FEATURE: triage, overview, sweeps observed and causal, weapons, effect, checks, and a proposed label.

    Every part can be asked again by itself: the report holds its question. `splat investigate 45 -o reports`.
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
