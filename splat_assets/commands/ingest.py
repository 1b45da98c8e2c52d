"""`splat ingest`: tokenised builds from battle exports, with a report that accounts for every gear set."""

from pathlib import Path

import click
from rich.table import Column

from splat_assets.commands.inputs import FILE, progress_here, writable_folder
from splat_assets.data.statink import PLAYERS, IngestReport, ModelVocabularies, ingest_statink, read_model_vocabularies
from splat_assets.domain.weapons import weapons_by_vocabulary_key
from splat_assets.errors import InputError
from splat_assets.store.sums import as_recorded
from splat_assets.text.numerals import whole
from splat_assets.text.terminal import FittedTable, console
from splat_assets.text.wording import counted

_MOST_NAMES = 5


@click.group()
def ingest() -> None:
    """Turn battle exports into tokenised builds."""


@ingest.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(readable=False, path_type=Path),
    help="Folder to write; new, empty or of an earlier ingest.",
)
@click.option(
    "--min-ap",
    default=0,
    type=whole(),
    show_default=True,
    help="Leave out gear sets with less AP; 57 keeps full builds only.",
)
@click.option("--vocab-path", type=FILE, help="vocab.json of an existing model: use its token ids.")
@click.option("--weapon-vocab-path", type=FILE, help="weapon_vocab.json of that model: use its weapon ids.")
def statink(
    files: tuple[Path, ...], out: Path, min_ap: int, vocab_path: Path | None, weapon_vocab_path: Path | None
) -> None:
    """Read stat.ink battle FILES (.csv, .csv.gz, a .zip of one, a pipe) into OUT: tokenised builds, vocabularies, a report.

    Every gear set is accounted for in OUT/ingest_report.json. More than 57 AP is kept only where ability_doubler explains it.

    With both vocabularies of a model, builds get its ids, matched by name (`swim_speed_up_21`, `weapon_id_40`). Gear
    sets with a weapon or token that the model lacks are left out and counted; both files are copied to OUT.
    """
    vocabularies = _model_vocabularies(vocab_path, weapon_vocab_path)
    report = ingest_statink(
        files, writable_folder(out), min_ap=min_ap, vocabularies=vocabularies, progress=progress_here()
    )
    console().print(_table(report))
    click.echo(
        f"{counted(report.n_kept, 'builds')} ({report.n_distinct:,} distinct) on {counted(report.n_weapons, 'weapons')} in {out}"
    )
    for key, n in sorted(report.unknown_weapons.items()):
        click.echo(f"unknown weapon {key!r}: {counted(n, 'gear sets')}", err=True)
    if report.vocabularies:
        named = {_with_name(key): n for key, n in report.vocabularies.missing_weapons.items()}
        _say_missing("weapons that weapon_vocab.json", named)
        _say_missing("tokens that vocab.json", report.vocabularies.missing_tokens)
    for problem in report.problems:
        click.echo(problem, err=True)


def _model_vocabularies(vocab_path: Path | None, weapon_vocab_path: Path | None) -> ModelVocabularies | None:
    if vocab_path is not None and weapon_vocab_path is not None:
        with as_recorded(vocab_path, weapon_vocab_path):
            return read_model_vocabularies(vocab_path, weapon_vocab_path)
    if vocab_path is None and weapon_vocab_path is None:
        return None
    raise InputError("--vocab-path and --weapon-vocab-path belong together: pass both, or neither")


def _with_name(key: str) -> str:
    """`Splattershot (weapon_id_40)`."""
    return f"{weapons_by_vocabulary_key()[key].name} ({key})"


def _say_missing(what: str, missing: dict[str, int]) -> None:
    """Print the most frequent ones to standard error; the report lists all."""
    if missing:
        most = sorted(missing, key=lambda name: (-missing[name], name))[:_MOST_NAMES]
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        listed = ", ".join(f"{name} ({counted(missing[name], 'gear sets')})" for name in most)
        click.echo(f"{what} lacks: {listed}{more}", err=True)


def _table(report: IngestReport) -> FittedTable:
    n_sets = len(PLAYERS) * report.n_battles
    title = f"{counted(n_sets, 'gear sets')} of {counted(report.n_battles, 'battles')} in {counted(len(report.files), 'files')}"
    table = FittedTable("outcome", Column("gear sets", justify="right"), "because", title=title)
    for fate, n in report.fates.items():
        table.add_row(fate, f"{n:,}", fate.meaning)
    table.add_row("sum", f"{sum(report.fates.values()):,}", "")
    return table
