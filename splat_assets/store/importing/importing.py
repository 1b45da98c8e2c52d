"""Turns an existing folder of activations into raw activations, without running a model.

Defects are repaired or refused, and reported beside the rows; everything that can be checked is checked.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from splat_assets.errors import InputError
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.errors import LayoutError
from splat_assets.store.files import files_below, locked, remove_leftovers, replacing_folder, sha256_of_json
from splat_assets.store.guide.batches import CONTEXTS, VOCABULARY
from splat_assets.store.importing.report import Finding, ImportReport
from splat_assets.store.importing.samples import imported_samples, unknown_samples
from splat_assets.store.importing.sources import ImportOptions, Source, open_source
from splat_assets.store.raw import begin_raw_activations, shard_name, write_shard
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

RAW = "raw_activations"
REPORT = "import_report.json"
_LOCK = ".lock"
_SCRATCH = ".import-scratch"


def import_folder(
    source: Path, target: Path, options: ImportOptions | None = None, progress: Progress | None = None
) -> ImportReport:
    """Write `<target>/raw_activations` from the folder, with `import_report.json` in it; it appears whole or not at all.

    Args:
        source: a batch tree, a transposed array, files per feature, or joblib files.
        target: folder to import into; only an earlier import there is replaced.

    Returns:
        What was imported, and every defect that was mended.

    Raises:
        InputError: target holds something else, or joblib files are not trusted (`ImportOptions.allow_pickle`).
        LayoutError: batches are missing or of different width, or the metadata has another number of rows.
        InvalidActivationsError: a value is negative or not finite, or an id repeats; names batch and row.
        CorruptStoreError: a file cannot be read.

    Examples:
        >>> written = write_transposed(reader, folder / "theirs")
        >>> report = import_folder(folder / "theirs", folder / "ours")
        >>> report.n_samples, report.n_features, report.nnz
        (3, 2, 3)
    """
    with imported_folder(source, target, options, progress) as report:
        return report


@contextmanager
def imported_folder(
    source: Path, target: Path, options: ImportOptions | None = None, progress: Progress | None = None
) -> Iterator[ImportReport]:
    """`import_folder`, and no other import into target before the context ends."""
    if target.resolve() == source.resolve():
        raise InputError(f"{source} cannot be imported into itself; choose another folder")
    options = _with_recorded_vocabularies(source, options or ImportOptions())
    with explaining_write_errors("the import", target), _alone_in(target):
        with _scratch_in(target) as scratch:
            report = _import_folder(source, target / RAW, scratch, options, progress or SilentProgress())
        yield report


def _import_folder(source: Path, raw: Path, scratch: Path, options: ImportOptions, progress: Progress) -> ImportReport:
    if raw.exists() and not (raw / REPORT).is_file():
        raise InputError(f"{raw} was not made by an import; choose another folder to import into")
    opened = open_source(source, options, scratch, progress)
    samples, findings = _samples_of(opened, source, options)
    fingerprint = _listing_hash(source, opened.files)
    with replacing_folder(raw) as aside:
        nnz, n_shards = _write_shards(opened, samples, fingerprint, options.shard_rows, aside, progress)
        report = ImportReport(
            source=str(source),
            layout=opened.layout,
            source_fingerprint=fingerprint,
            n_samples=opened.rows.n_samples,
            n_features=opened.rows.n_features,
            nnz=nnz,
            n_shards=n_shards,
            findings=(*opened.findings, *opened.findings_of_values(), *findings),
        )
        report.save(aside / REPORT)
        if options.vocabulary is not None:
            options.vocabulary.save(aside / VOCABULARY)
        if options.contexts is not None:
            options.contexts.save(aside / CONTEXTS)
    return report


@contextmanager
def _alone_in(target: Path) -> Iterator[None]:
    """No other process imports into target; a target that did not exist is gone again when nothing was put there."""
    existed = target.exists()
    with locked(target / _LOCK):
        try:
            yield
        finally:
            if not existed and [path.name for path in target.iterdir()] == [_LOCK]:
                (target / _LOCK).unlink()
                target.rmdir()


@contextmanager
def _scratch_in(target: Path) -> Iterator[Path]:
    """An empty folder in target for as long as the context lasts; what a killed import left there is deleted."""
    scratch = target / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    remove_leftovers(target, RAW)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _with_recorded_vocabularies(source: Path, options: ImportOptions) -> ImportOptions:
    """The options with the vocabularies that a batch tree of this program carries, unless others are passed."""
    recorded = source / VOCABULARY
    if options.vocabulary is None and recorded.is_file():
        options = replace(options, vocabulary=Vocabulary.load(recorded))
    recorded = source / CONTEXTS
    if options.contexts is None and recorded.is_file():
        options = replace(options, contexts=Contexts.load(recorded))
    return options


def _samples_of(opened: Source, source: Path, options: ImportOptions) -> tuple[pl.DataFrame, list[Finding]]:
    n_samples = opened.rows.n_samples
    if n_samples == 0:
        raise LayoutError(f"{source} does not hold samples: nothing can be imported")
    if not opened.tables:
        wrong = "sample metadata is missing"
        done = "tokens, weapons and kinds are marked unknown; pass --metadata to add them"
        return unknown_samples(n_samples), [Finding(str(source), wrong, done)]
    names, tables = zip(*opened.tables, strict=True)
    table, findings = imported_samples(tables, names, options.vocabulary, options.contexts)
    if table.height != n_samples:
        raise LayoutError(
            f"the metadata of {source} has {counted(table.height, 'rows')} for "
            f"{counted(n_samples, 'samples')}: they are matched by position; use the metadata of these activations"
        )
    return table, findings


def _write_shards(
    opened: Source, samples: pl.DataFrame, fingerprint: str, shard_rows: int, folder: Path, progress: Progress
) -> tuple[int, int]:
    """Write all shards; returns the number of activations and of shards."""
    nnz = number = first = 0
    begin_raw_activations(folder, opened.rows.n_samples, -(-opened.rows.n_samples // shard_rows))
    with progress.task("importing", opened.rows.n_samples, "rows") as task:
        for block in opened.rows.rows(shard_rows):
            own = samples.slice(first, block.n_rows).with_columns(sample_id=pl.int_range(pl.len(), dtype=pl.Int64))
            write_shard(
                folder / shard_name(number), block, own, {}, opened.rows.n_features, {"imported_listing": fingerprint}
            )
            nnz, number, first = nnz + block.nnz, number + 1, first + block.n_rows
            task.advance(block.n_rows)
    return nnz, number


def _listing_hash(source: Path, roots: tuple[Path, ...]) -> str:
    """sha256 over the names and sizes of what was read: tells two folders apart without hashing their bytes."""
    files = {file for root in roots for file in (files_below(root) if root.is_dir() else [root]) if file.is_file()}
    listing = [
        [file.relative_to(source).as_posix() if file.is_relative_to(source) else file.name, file.stat().st_size]
        for file in sorted(files)
    ]
    return sha256_of_json(listing)
