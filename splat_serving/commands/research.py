"""`splat research`: hypotheses, evidence and decisions on a feature, in a file that people can read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click

from splat_assets.errors import InputError
from splat_assets.numerals import number, whole
from splat_assets.wording import counted, visible
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
    "--run", "--model", "run", metavar="RUN", default=None, help="A run of the data root; as elsewhere if left out."
)
_AUTHOR = click.option("--author", default=None, help="Who; your login name if left out.")


@click.group()
def research() -> None:
    """What was found out about a feature: hypotheses, evidence for and against them, decisions, notes.

    One file per feature, DATA_ROOT/labels/SAE/research/feature_00045.toml, to be read and edited by people, too.
    """


@dataclass(frozen=True, slots=True)
class _Page:
    """The research on a feature, and whose it is."""

    research: Research
    run: str
    sae: str
    path: Path

    def say_written(self, what: str) -> None:
        """Say what was written, and where."""
        where = f"run {self.run}, SAE {self.sae[:12]}"
        click.echo(f"written: {what} on feature {self.research.feature_id}; {where}: {self.path}")


@contextmanager
def _opened(run: str | None, feature: int, write: bool = True) -> Iterator[_Page]:
    """The research on a feature; what was changed is written at the end."""
    with subject_to_write(run) if write else open_subject(run) as subject:
        subject.database.feature(feature)
        labels = subject.label_log
        if not isinstance(labels, LabelLog):
            raise NotComputedError(
                f"{subject.source} is on another machine: research files are kept in a data root here"
            )
        notebook = Notebook(labels.folder, labels.sae)
        name = subject.about.name or str(subject.source)
    found = notebook.read(feature)
    yield _Page(found, name, labels.sae, notebook.path(feature))
    if write:
        notebook.write(found)


@research.command()
@click.argument("feature", type=whole())
@_RUN
def show(feature: int, run: str | None) -> None:
    """Everything that was found out about FEATURE."""
    with _opened(run, feature, write=False) as page:
        click.echo("\n".join(map(visible, as_text(page.research).split("\n"))))


@research.command()
@click.argument("feature", type=whole())
@click.argument("statement", required=False)
@click.option("--change", metavar="h001", default=None, help="Change this hypothesis instead of adding one.")
@click.option("--status", type=click.Choice(get_args(HypothesisStatus)), default=None, help="With --change.")
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
        raise InputError("give a statement to add a hypothesis, or --change h001 to change one")
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
    "--strength", type=click.Choice(get_args(Strength)), default="moderate", show_default=True, help="Of the evidence."
)
@click.option("--supports", multiple=True, metavar="h001", help="A hypothesis that it speaks for; may be repeated.")
@click.option("--refutes", multiple=True, metavar="h001", help="A hypothesis that it speaks against; may be repeated.")
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
    """Add RESULT, a file that `--output-dir` wrote, as evidence on FEATURE, with what it says in a SUMMARY."""
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
    """Write down a decision on FEATURE."""
    with _opened(run, feature) as page:
        made = add_text(page.research.decisions, text, current_username() if author is None else author)
    page.say_written(f"decision of {counted(len(made.text), 'characters')} by {visible(made.author)}")


@research.command()
@click.argument("feature", type=whole())
@click.argument("text")
@_AUTHOR
@_RUN
def note(feature: int, text: str, author: str | None, run: str | None) -> None:
    """Write down a note on FEATURE."""
    with _opened(run, feature) as page:
        made = add_text(page.research.notes, text, current_username() if author is None else author)
    page.say_written(f"note of {counted(len(made.text), 'characters')} by {visible(made.author)}")
