"""`splat label`: read and write labels of features, work through a queue, carry labels to a retrained SAE."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import polars as pl

from splat_assets.domain.rule_text import Names, parse_rule_text
from splat_assets.errors import InputError
from splat_assets.store.documents import read_bytes
from splat_assets.store.files import replacing_file
from splat_assets.text.numerals import is_whole, number, whole
from splat_assets.text.wording import counted, visible
from splat_serving.commands.asking import (
    TOKEN_FILE,
    command_line,
    emit,
    given_settings,
    output_options,
    reporting_write_errors,
    source_options,
)
from splat_serving.commands.writing import subject_to_write, written_for
from splat_serving.investigations import label_pages
from splat_serving.investigations.carry_labels import LEAST_R, carry_labels, match_labels
from splat_serving.investigations.experiment import recorded
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.result import Answer
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.subject import Subject
from splat_serving.labels import upstream
from splat_serving.labels.event import Category, Status
from splat_serving.labels.importing import Change, add_planned, planned_import, refuse_other_sae

_FORM = click.option(
    "--format", "form", type=click.Choice(["table", "markdown", "json"]), default="table", show_default=True,
    help="Output format.",
)  # fmt: skip
_FEATURE = click.option("-f", "--feature-id", type=whole(), default=None, help="Same as FEATURE.")
_AUTHOR = click.option("--author", "--source", default=None, help="Author; default: your login name.")


class _Labels(click.Group):
    """A group in which `--feature-id 45 --action show` names the sub-command, too, as in the guide."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the value of --action first."""
        for at, word in enumerate(args):
            name, equals, value = word.partition("=")
            if name == "--action" and (equals or at + 1 < len(args)):
                rest = args[:at] + args[at + (1 if equals else 2) :]
                return super().parse_args(ctx, [value if equals else args[at + 1], *rest])
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their definition."""
        return list(self.commands)


@click.group(cls=_Labels)
def label() -> None:
    """Label features: set, review, import, export. A label has status, confidence, rule, evidence and history.

    Labels belong to an SAE (by fingerprint) and are stored in DATA_ROOT/labels, separate from runs and from suggestions. They
    are append-only; `history` shows every change. Also works with a server that was started with --allow-labels.
    """


def _named(feature: int | None, feature_id: int | None) -> int:
    named: int = given_settings({"feature": feature, "feature_id": feature_id})["feature_id"]
    return named


def _feature_and_text(words: tuple[str, ...], feature_id: int | None) -> tuple[int, str | None]:
    """FEATURE and TEXT; with --feature-id the first word is the text already."""
    if feature_id is not None and len(words) == 1 and not words[0].isdecimal():
        return feature_id, words[0]
    if len(words) > 2:
        raise InputError(
            f"expected two arguments, got {len(words)}: write the feature's number, then the text in quotes"
        )
    if not words:
        return _named(None, feature_id), None
    if not (words[0].isascii() and words[0].isdecimal() and len(words[0]) < 10):
        raise InputError(f"{words[0][:40]!r} is not a feature: write its number, then the text in quotes")
    return _named(int(words[0]), feature_id), words[1] if len(words) == 2 else None


def _shown(subject: Subject, kind: str, question: dict[str, Any], page: Callable[[], Answer], form: str) -> None:
    emit(recorded(subject, kind, question, page, command_line()), form)


def _add_page(group: click.Group, name: str, kind: str, page: Callable[..., Answer], text: str, *options: Any) -> None:
    """Add a command that prints a page. page: takes the subject and the settings by name. kind: of the result."""

    def ask(run: str | None, token_file: Path | None, form: str, **values: Any) -> None:
        question = given_settings(values)
        with open_subject(run, token_file) as subject:
            _shown(subject, kind, question, lambda: page(subject, **question), form)

    command: Callable[..., None] = source_options(_FORM(ask))
    for option in reversed(options):
        command = option(command)
    group.command(name, help=text)(command)


_ONE_FEATURE = (click.argument("feature", type=whole(), required=False), _FEATURE)
_add_page(
    label, "show", "label", label_pages.label_page, "Show the label of FEATURE, with the current score of its rule.",
    *_ONE_FEATURE,
)  # fmt: skip
_add_page(
    label, "similar", "label-similar", label_pages.similar_page, "List features similar to FEATURE, with their labels.",
    *_ONE_FEATURE,
    click.option("-k", "--top-k", type=whole(min=1), default=5, show_default=True, help="Number of features of each kind."),
)  # fmt: skip
_add_page(
    label, "status", "label-status", label_pages.status_page,
    "Show the progress: labels by status, category and author, and the share of activations they cover.",
)  # fmt: skip
_add_page(
    label, "history", "label-history", label_pages.history_page, "Show the label history of FEATURE.", *_ONE_FEATURE
)


@label.command("set")
@click.argument("words", nargs=-1, metavar="[FEATURE] [TEXT]")
@_FEATURE
@click.option("-n", "--name", default=None, help="Same as TEXT: what the feature represents.")
@click.option(
    "-c",
    "--category",
    type=click.Choice(get_args(Category)),
    default=None,
    help="Category; default for a new label: none.",
)
@click.option("--status", type=click.Choice(get_args(Status)), default=None, help="Default for new labels: draft.")
@click.option("--confidence", type=number(), default=None, help="0 to 1.")
@click.option("--notes", default=None, help="Evidence in words, for and against.")
@click.option(
    "--rule", default=None, help="Rule on builds, as ssu>=21 and ninja_squid; its score is shown with the label."
)
@click.option("--evidence", type=click.Path(readable=False, path_type=Path, dir_okay=False), multiple=True,
              help="Result file as evidence; may be repeated.")  # fmt: skip
@click.option("--based-on", type=whole(), default=None, help="Revision that you saw; an error if there is a newer one.")
@_AUTHOR
@source_options
def set_(
    words: tuple[str, ...],
    feature_id: int | None,
    name: str | None,
    rule: str | None,
    evidence: tuple[Path, ...],
    based_on: int | None,
    author: str | None,
    run: str | None,
    token_file: Path | None,
    **fields: Any,
) -> None:
    """Label FEATURE, or change parts of its label."""
    named, text = _feature_and_text(words, feature_id)
    if text is not None and name is not None and text != name:
        raise InputError("both TEXT and --name set the text: leave one of them out")
    changes = {
        key: value for key, value in {**fields, "text": text if name is None else name}.items() if value is not None
    }
    if evidence:
        changes["evidence"] = [{"path": str(path), "sha256": _sha256(path)} for path in evidence]
    with subject_to_write(run, token_file) as subject:
        if rule is not None:
            changes["rule"] = parse_rule_text(rule, Names(subject.vocabulary, subject.contexts)).as_json()
        if not changes:
            raise InputError("nothing to set: write a text, or an option (--category, --notes, --status, …)")
        written = subject.labels.set(named, changes, author, based_on)
        place = written_for(subject)
    assert written.label is not None
    summary = f"{visible(written.label.text)} ({written.label.status})"
    click.echo(f"feature {named}, revision {written.revision}: {summary}; {place}")


@label.command("next")
@source_options
@_FORM
def next_(run: str | None, token_file: Path | None, form: str) -> None:
    """Show the overview of the next feature in the queue."""
    from splat_serving.investigations.overview import Overview, overview

    with open_subject(run, token_file) as subject:
        waiting = subject.labels.queue()
        if not waiting:
            click.echo("the queue is empty: `splat label queue build` fills it")
            return
        emit(overview(subject, Overview(feature_id=waiting[0].feature_id), command_line()), form)


@label.command()
@click.argument("feature", type=whole(), required=False)
@_FEATURE
@click.option("--reason", default="", help="Reason.")
@_AUTHOR
@source_options
def skip(
    feature: int | None,
    feature_id: int | None,
    reason: str,
    author: str | None,
    run: str | None,
    token_file: Path | None,
) -> None:
    """Remove FEATURE (default: the next one) from the queue."""
    with subject_to_write(run, token_file) as subject:
        waiting = subject.labels.queue()
        if feature is None and feature_id is None:
            if not waiting:
                raise InputError("the queue is empty: nothing to skip")
            feature = waiting[0].feature_id
        named = _named(feature, feature_id)
        subject.labels.skip(named, reason, author)
        click.echo(f"feature {named} is skipped; {written_for(subject)}")


@label.command()
@click.option("-o", "--output", type=click.Path(readable=False, path_type=Path, dir_okay=False), required=True,
              help="Output file: labels.csv, or .json with --as.")  # fmt: skip
@click.option("--as", "kind", type=click.Choice(["labels", "consolidated", "dashboard", "queue"]), default="labels",
              show_default=True, help="Format of a JSON file: labels is complete, the others are upstream's.")  # fmt: skip
@source_options
def export(output: Path, kind: str, run: str | None, token_file: Path | None) -> None:
    """Export all current labels to a file."""
    with open_subject(run, token_file) as subject:
        book = subject.labels
        name = subject.about.name or subject.source
        if output.suffix == ".csv":
            text = upstream.as_csv(book.current(), str(subject.about.provenance.get("sae") or ""))
        elif output.suffix == ".json":
            text = {
                "labels": lambda: upstream.as_json(book, str(subject.about.provenance.get("sae"))),
                "consolidated": lambda: upstream.as_consolidated(book.current(), name),
                "dashboard": lambda: upstream.as_dashboard(book.current()),
                "queue": lambda: upstream.as_queue(book, name),
            }[kind]()
        else:
            raise InputError(f"--output {output}: the suffix must be .csv or .json")
        n, place = len(book.current()), written_for(subject)
    with reporting_write_errors(output), replacing_file(output) as aside:
        aside.write_bytes(text.encode())
    click.echo(f"{counted(n, 'labels')} of {place}: {output}")


@label.command("import")
@click.argument("file", type=click.Path(readable=False, path_type=Path, dir_okay=False))
@click.option("--author", "--source", default=None, help="Author of rows without one; default: your login name.")
@click.option("--dry-run", is_flag=True, help="List the changes by feature and field without writing.")
@source_options
def import_(file: Path, author: str | None, dry_run: bool, run: str | None, token_file: Path | None) -> None:
    """Import labels (or a queue) from FILE: our JSON, the upstream system's JSON, or CSV.

    FILE is validated before anything is written. Labels keep their authors and times; labels that FILE lacks are unchanged.
    Labels of another SAE are rejected. Rows older than the current labels are conflicts: they are listed and not written, and
    the exit code is 1.
    """
    with subject_to_write(run, token_file) as subject:
        held = upstream.read_labels(file, subject.n_features)
        refuse_other_sae(held, str(subject.about.provenance.get("sae") or ""))
        book = subject.labels
        plan = planned_import(book, held, author, subject.about.name or subject.source)
        late = [] if dry_run else add_planned(book, plan)
        place = written_for(subject)
    for change in [*plan.changes, *late] if dry_run else [*plan.conflicts, *late]:
        click.echo(_in_words(change))
    n_labels = plan.n_added("label") - len(late)
    n_queued = plan.n_added("queue")
    done = "would be" if dry_run else "were"
    click.echo(
        f"{counted(n_labels, 'labels')} and {counted(n_queued, 'queue entries')} {done} added; "
        f"{counted(plan.n_same, 'labels', 'were')} already present; {place}"
    )
    if held.n_unnamed:
        click.echo(f"{counted(held.n_unnamed, 'labels')} without a name skipped")
    conflicts = len(plan.conflicts) + len(late)
    if conflicts:
        click.echo(f"{counted(conflicts, 'rows')} older than the current labels: not written", err=True)
        sys.exit(1)


def _in_words(change: Change) -> str:
    """`feature 7: text 'swims' -> 'dives'`."""
    fields = ", ".join(
        name if before == after else f"{name} {_shortly(before)} -> {_shortly(after)}" if before is not None else
        f"{name} {_shortly(after)}"
        for name, (before, after) in change.changes.items()
    )  # fmt: skip
    conflict = f"conflict, not written: {visible(change.why)}; the file has: " if change.why else ""
    return f"feature {change.feature}, {change.what}: {conflict}{fields}"


def _shortly(value: Any) -> str:
    text = repr(value)
    return visible(text if len(text) <= 80 else f"{text[:80]}…")


@label.group()
def queue() -> None:
    """Manage the queue of features to label."""


_add_page(
    queue, "show", "label-queue", label_pages.queue_page, "Show the queue, highest priority first.",
    click.option("-k", "--top-k", type=whole(min=1), default=20, show_default=True, help="Largest number of entries."),
)  # fmt: skip


@queue.command("add")
@click.argument("features")
@click.option(
    "-p", "--priority", type=number(), default=0.5, show_default=True, help="Priority; the highest comes first."
)
@click.option("-r", "--reason", default="", help="Reason.")
@_AUTHOR
@source_options
def queue_add(
    features: str, priority: float, reason: str, author: str | None, run: str | None, token_file: Path | None
) -> None:
    """Add FEATURES, comma-separated ids, to the queue."""
    parts = [part.strip() for part in features.split(",")]
    if not all(is_whole(part) and len(part) < 12 for part in parts):
        raise InputError(f"{features[:200]!r} is not a list of feature ids: separate them with commas, as 1,2,3")
    ids = list(dict.fromkeys(int(part) for part in parts))
    with subject_to_write(run, token_file) as subject:
        for one in ids:
            subject.labels.checked(one)
        for one in ids:
            subject.labels.enqueue(one, priority, reason, author)
        click.echo(f"{counted(len(ids), 'features')} added to the queue; {written_for(subject)}")


@queue.command("build")
@click.option("--method", type=click.Choice(["activation-count", "effect", "random"]), default="activation-count",
              show_default=True, help="Priority: activations, effect on outputs, or random.")  # fmt: skip
@click.option("-k", "--top-k", type=whole(min=1), default=50, show_default=True, help="Number of features.")
@click.option("--seed", type=whole(min=0), default=0, show_default=True, help="Seed of --method random.")
@click.option("--include-labelled", is_flag=True, help="Include features that have a label.")
@_AUTHOR
@source_options
def queue_build(
    method: str,
    top_k: int,
    seed: int,
    include_labelled: bool,
    author: str | None,
    run: str | None,
    token_file: Path | None,
) -> None:
    """Add unlabelled features to the queue."""
    with subject_to_write(run, token_file) as subject:
        book = subject.labels
        known = set() if include_labelled else set(book.current())
        left_out = known | set(book.skipped()) | {event.feature_id for event in book.queue()}
        scores = [(feature, score) for feature, score in _scores(subject, method, seed) if feature not in left_out][
            :top_k
        ]
        for feature, score in scores:
            book.enqueue(feature, score, method, author)
        click.echo(f"{counted(len(scores), 'features')} added to the queue; {written_for(subject)}")


def _scores(subject: Subject, method: str, seed: int) -> list[tuple[int, float]]:
    """Features that fire, best first, with a score from 0 to 1."""
    alive = subject.database.features().filter(pl.col("n_active") > 0)
    if method == "random":
        order = np.random.default_rng(seed).permutation(alive["feature_id"].to_numpy())
        return [(int(feature), 0.5) for feature in order]
    if method == "effect":
        norms = [(feature, _effect(subject, feature)) for feature in alive["feature_id"].to_list()]
    else:
        norms = [(feature, float(n)) for feature, n in alive.select("feature_id", "n_active").iter_rows()]
    top = max((score for _, score in norms), default=1.0) or 1.0
    return sorted(((feature, score / top) for feature, score in norms), key=lambda one: (-one[1], one[0]))


def _effect(subject: Subject, feature: int) -> float:
    """Mean activation times the norm of the effect on the logits per unit of activation."""
    summary = subject.database.feature(feature)
    if summary.influences is None:
        raise InputError("--method effect needs influences, which were not computed for this version")
    entries = [one for key in ("raised", "lowered") for one in summary.influences[key]]
    values = [one["value"] for one in entries if one.get("in_data") is not False]
    return float(np.linalg.norm(values)) * (summary.statistics["mean_all"] or 0.0)


@label.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--least-r", type=number(0, 1), default=LEAST_R, show_default=True, help="Lowest correlation.")
@click.option("--dry-run", is_flag=True, help="List the matches without writing.")
@_AUTHOR
@TOKEN_FILE
@_FORM
def carry(
    old: str, new: str, least_r: float, dry_run: bool, author: str | None, token_file: Path | None, form: str
) -> None:
    """Carry the labels of run OLD to the matching features of run NEW, and list the labels without a match.

    OLD and NEW are runs on the same data with different SAEs. A label goes to the new feature with the highest correlation over
    all samples, if that is at least --least-r and no other labelled feature has a higher one.
    """
    secrets = [token_file if source.startswith(("http://", "https://")) else None for source in (old, new)]
    with open_subject(old, secrets[0]) as before, open_subject(new, secrets[1]) as after:
        matches = match_labels(
            before,
            after,
            least_r,
            lambda done, whole: click.echo(f"… {done:,} of {counted(whole, 'features')} compared", err=True),
        )
        written = None if dry_run else carry_labels(before, after, matches, author)
        question = {"old": old, "new": new, "least_r": least_r}
        _shown(after, "label-carry", question, lambda: label_pages.carry_page(before, after, matches, written), form)


@label.command()
@click.argument("feature", type=whole(), required=False)
@_FEATURE
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
    from splat_serving.investigations.suggest import Suggest, SuggestAll, suggest_all
    from splat_serving.investigations.suggest import suggest as suggested

    named = {one for one in (feature, feature_id) if one is not None}
    if len(named) + everything != 1:
        raise InputError("specify one feature, as FEATURE or --feature-id, or --all")
    with open_subject(run, token_file) as subject:
        if everything:
            result = suggest_all(subject, checked_spec(SuggestAll, {"only_good": not weak}), command_line())
        else:
            result = suggested(subject, checked_spec(Suggest, {"feature_id": named.pop()}), command_line())
        emit(result, form, output_dir, plot)


def _sha256(path: Path) -> str:
    """The sha256 of a result file that is evidence of a label."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read evidence {path}: {getattr(error, 'strerror', None) or error}") from error
