"""`splat research`: hypotheses, evidence and decisions on a feature, in a readable file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click

from splat_assets.errors import InputError
from splat_assets.text.numerals import number, whole
from splat_assets.text.wording import counted, visible
from splat_serving.commands.writing import subject_to_write
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.opening import open_subject
from splat_serving.labels.book import current_username
from splat_serving.labels.log import LabelLog
from splat_serving.labels.research import (
    HypothesisStatus,
    Notebook,
    Research,
    Strength,
    add_evidence,
    add_hypothesis,
    add_text,
    as_text,
    change_hypothesis,
)

_RUN = click.option(
    "--run", "--model", "run", metavar="RUN", default=None, help="Run of the data root; default as in other commands."
)
_AUTHOR = click.option("--author", default=None, help="Author; default: your login name.")


@click.group()
def research() -> None:
    """Keep research notes on a feature: hypotheses, evidence for and against them, decisions, notes.

    One file per feature, DATA_ROOT/labels/SAE/research/feature_00045.toml, which can also be edited by hand.
    """


@dataclass(frozen=True, slots=True)
class _Page:
    """The research on a feature, with its run and SAE."""

    research: Research
    run: str
    sae: str
    path: Path

    def say_written(self, what: str) -> None:
        """Print what was written, and where."""
        where = f"run {self.run}, SAE {self.sae[:12]}"
        click.echo(f"written: {what} on feature {self.research.feature_id}; {where}: {self.path}")


@contextmanager
def _opened(run: str | None, feature: int, write: bool = True) -> Iterator[_Page]:
    """The research on a feature; changes are written at the end."""
    with subject_to_write(run) if write else open_subject(run) as subject:
        subject.database.feature(feature)
        labels = subject.label_log
        if not isinstance(labels, LabelLog):
            raise NotComputedError(
                f"{subject.source} is on another machine: research files are stored in a local data root"
            )
        notebook = Notebook(labels.folder, labels.sae)
        name = subject.about.name or str(subject.source)
    record = notebook.read(feature)
    yield _Page(record, name, labels.sae, notebook.path(feature))
    if write:
        notebook.write(record)


@research.command()
@click.argument("feature", type=whole())
@_RUN
def show(feature: int, run: str | None) -> None:
    """Show the research on FEATURE."""
    with _opened(run, feature, write=False) as page:
        click.echo("\n".join(map(visible, as_text(page.research).split("\n"))))


@research.command()
@click.argument("feature", type=whole())
@click.argument("statement", required=False)
@click.option("--change", metavar="h001", default=None, help="Change this hypothesis instead of adding one.")
@click.option(
    "--status", type=click.Choice(get_args(HypothesisStatus)), default=None, help="New status, with --change."
)
@click.option("--confidence", type=number(), default=None, help="0 to 1.")
@_RUN
def hypothesis(
    feature: int,
    statement: str | None,
    change: str | None,
    status: str | None,
    confidence: float | None,
    run: str | None,
) -> None:
    """Add a hypothesis on FEATURE, or change the status or confidence of one."""
    if (statement is None) == (change is None):
        raise InputError("write a statement to add a hypothesis, or --change h001 to change one")
    with _opened(run, feature) as page:
        made = add_hypothesis(page.research, statement, confidence) if statement is not None else change_hypothesis(
            page.research, change or "", status, confidence
        )  # fmt: skip
    click.echo(f"{made.id} [{made.status}] {visible(made.statement)}")
    page.say_written(f"hypothesis {made.id}")


@research.command()
@click.argument("feature", type=whole())
@click.argument("result", type=click.Path(readable=False, path_type=Path, dir_okay=False))
@click.argument("summary")
@click.option(
    "--strength",
    type=click.Choice(get_args(Strength)),
    default="moderate",
    show_default=True,
    help="Strength of the evidence.",
)
@click.option("--supports", multiple=True, metavar="h001", help="Hypothesis that it supports; may be repeated.")
@click.option("--refutes", multiple=True, metavar="h001", help="Hypothesis that it refutes; may be repeated.")
@_RUN
def evidence(
    feature: int,
    result: Path,
    summary: str,
    strength: str,
    supports: tuple[str, ...],
    refutes: tuple[str, ...],
    run: str | None,
) -> None:
    """Add RESULT, a file from `--output-dir`, as evidence on FEATURE, with a SUMMARY."""
    with _opened(run, feature) as page:
        made = add_evidence(page.research, result, summary, strength, supports, refutes)
    click.echo(f"{made.id} ({made.strength}) {visible(made.summary)}")
    page.say_written(f"evidence {made.id}")


@research.command()
@click.argument("feature", type=whole())
@click.argument("text")
@_AUTHOR
@_RUN
def decide(feature: int, text: str, author: str | None, run: str | None) -> None:
    """Add a decision on FEATURE."""
    with _opened(run, feature) as page:
        made = add_text(page.research.decisions, text, current_username() if author is None else author)
    page.say_written(f"decision of {counted(len(made.text), 'characters')} by {visible(made.author)}")


@research.command()
@click.argument("feature", type=whole())
@click.argument("text")
@_AUTHOR
@_RUN
def note(feature: int, text: str, author: str | None, run: str | None) -> None:
    """Add a note on FEATURE."""
    with _opened(run, feature) as page:
        made = add_text(page.research.notes, text, current_username() if author is None else author)
    page.say_written(f"note of {counted(len(made.text), 'characters')} by {visible(made.author)}")
