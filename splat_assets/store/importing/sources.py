"""What an import reads from: each layout opened as rows, with its sample tables and everything that was wrong with it.

What the tables become is in `import_samples`, what the rows become in `importing`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.errors import InputError
from splat_assets.store.activations import Activations, RowReader, sample_id_dtype
from splat_assets.store.documents import read_json
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import ACTIVATIONS, EMBEDDINGS, METADATA, SEAL
from splat_assets.store.guide.dense_arrays import DenseArray
from splat_assets.store.guide.neuron_acts import DESCRIPTION as NEURON_ACTS_DESCRIPTION
from splat_assets.store.guide.neuron_acts import NeuronActsReader, feature_folder_name
from splat_assets.store.guide.transposed import DESCRIPTION, TransposedReader
from splat_assets.store.importing.feature_rows import feature_rows
from splat_assets.store.importing.joblib_files import joblib_files, read_joblib
from splat_assets.store.importing.report import Finding
from splat_assets.store.importing.samples import metadata_tables, read_metadata
from splat_assets.store.opening import Layout, layouts_at
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

_BELOW_FLOAT32 = "values are above 0 but below the range of float32"
_IMPORTABLE = (Layout.BATCHES, Layout.TRANSPOSED, Layout.NEURON_ACTS, Layout.NEURON_ACTS_UNDESCRIBED)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The options of an import besides the folder.

    metadata: sample tables (a file, a folder of `batch_*.parquet`, or a batch tree); a batch tree brings its own. n_features,
    n_samples: of files per feature that do not say. missing_chunks_are_zero: take chunk files of a batch tree that are not on
    disk as zeros, as zarr does. allow_pickle: load joblib files, which run whatever code is in them. shard_rows: samples per
    shard.
    """

    metadata: Path | None = None
    vocabulary: Vocabulary | None = None
    contexts: Contexts | None = None
    n_features: int | None = None
    n_samples: int | None = None
    missing_chunks_are_zero: bool = False
    allow_pickle: bool = False
    shard_rows: int = 16_384


@dataclass(frozen=True, slots=True)
class Source:
    """A folder to import.

    tables: by name, in sample order; none when nothing is known of the samples. files: what is read. arrays: the dense ones
    among them, which know more when all rows were read.
    """

    layout: str
    rows: RowReader
    tables: tuple[tuple[str, pl.DataFrame], ...]
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]
    arrays: tuple[DenseArray, ...] = ()

    def findings_of_values(self) -> list[Finding]:
        """What was wrong with single values, once all rows were read."""
        return [
            Finding(array.path.name, f"{array.n_below_float32} {_BELOW_FLOAT32}", "dropped")
            for array in self.arrays
            if array.n_below_float32
        ]


def open_source(folder: Path, options: ImportOptions, scratch: Path, progress: Progress) -> Source:
    """The folder as rows. Raises LayoutError when its layout cannot be imported, InputError for unasked pickles."""
    if not folder.is_dir():
        raise LayoutError(f"the folder {folder} does not exist")
    layouts = list(layouts_at(folder))
    chosen = next((layout for layout in _IMPORTABLE if layout in layouts), None)
    if chosen is None and joblib_files(folder):
        return _joblib_source(folder, options, scratch)
    if chosen is None:
        raise LayoutError(f"{folder} cannot be imported: it is {_what_is_there(folder, layouts)}")
    if chosen is Layout.BATCHES:
        source = _batch_source(folder, options)
    elif chosen is Layout.TRANSPOSED:
        source = _transposed_source(folder, options, scratch, progress)
    else:
        source = _neuron_acts_source(folder, options, scratch, progress)
    beside = [
        Finding(str(folder), f"a {other.title} is there too", "not read") for other in layouts if other is not chosen
    ]
    return replace(source, layout=chosen.title, findings=(*source.findings, *beside))


def _what_is_there(folder: Path, layouts: list[Layout]) -> str:
    if layouts:
        return f"{layouts[0].title} already"
    names = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(names[:6]) + (", .." if len(names) > 6 else "") if names else "nothing"
    return f"not a batch tree, transposed array or neuron_acts; it holds {listed}"


def _batch_source(folder: Path, options: ImportOptions) -> Source:
    reader = BatchReader(folder, sealed=False)
    findings = [*_seal_findings(reader), *_dtype_findings(reader.batches)]
    for batch in reader.batches:
        findings += _absent_chunk_findings(batch, options.missing_chunks_are_zero)
    if (folder / EMBEDDINGS).is_dir() and any((folder / EMBEDDINGS).iterdir()):
        findings.append(
            Finding(EMBEDDINGS, "a store holds activations, no embeddings", "not imported; they stay there")
        )
    if (folder / "precomputed").is_dir():
        done = "not read: statistics and IDF are computed again, influences need the model (`splat influences`)"
        findings.append(Finding("precomputed", "there are tables", done))
    files = [folder / ACTIVATIONS, folder / SEAL]
    if options.metadata is not None or not (folder / METADATA).is_dir():
        tables, used = _passed_tables(options.metadata)
    else:
        used = [reader.metadata_path(i) for i in range(len(reader.batches))]
        _refuse_tables_without_batch(folder / METADATA, used)
        tables = tuple((path.name, read_metadata(path)) for path in used)
        for (name, table), batch in zip(tables, reader.batches, strict=True):
            if table.height != batch.shape[0]:
                raise LayoutError(
                    f"{folder / METADATA / name} has {counted(table.height, 'rows')}, {batch.path.name} has "
                    f"{batch.shape[0]}: "
                    "rows and metadata are matched by position; use the table of this batch"
                )
    return Source("", reader, tables, tuple(findings), (*files, *used), tuple(reader.batches))


def _refuse_tables_without_batch(metadata: Path, used: list[Path]) -> None:
    alone = sorted(set(metadata.glob("batch_*.parquet")) - set(used))
    if alone:
        raise LayoutError(
            f"{alone[0]} lacks its batch of activations ({len(alone)} such tables): copy the missing batches, or "
            f"move it elsewhere"
        )


def _transposed_source(folder: Path, options: ImportOptions, scratch: Path, progress: Progress) -> Source:
    reader = TransposedReader(folder)
    findings = _dtype_findings([reader.array])
    n_absent = 0 if reader.array.every_chunk_written else sum(1 for _ in reader.array.absent_files())
    if n_absent:
        wrong = (
            f"{counted(n_absent, 'chunk files', 'are')} not on disk, which zarr reads as zeros: lost ones "
            f"cannot be distinguished from silent ones"
        )
        findings.append(Finding(str(reader.path), wrong, "taken as zeros"))
    described = _json(reader.path.parent / DESCRIPTION)
    for key, actual in (("n_features", reader.n_features), ("n_samples", reader.n_samples)):
        if described.get(key, actual) != actual:
            wrong = f"{key} is {described[key]}, the array has {actual}"
            findings.append(Finding(str(reader.path.parent / DESCRIPTION), wrong, "the array's number is used"))
    tables, used = _passed_tables(options.metadata)
    rows = feature_rows(reader, scratch, progress)
    return Source("", rows, tables, tuple(findings), (reader.path, *used), (reader.array,))


def _neuron_acts_source(folder: Path, options: ImportOptions, scratch: Path, progress: Progress) -> Source:
    tables, used = _passed_tables(options.metadata)
    n_samples = options.n_samples
    if n_samples is None and tables and not (folder / NEURON_ACTS_DESCRIPTION).is_file():
        n_samples = sum(table.height for _, table in tables)
    reader = NeuronActsReader(folder, options.n_features, n_samples)
    mended = _MendedNeuronActs(reader)
    rows = feature_rows(mended, scratch, progress)
    unsure = [Finding(str(folder), sentence, "pass it if you know it") for sentence in reader.assumptions]
    return Source("", rows, tables, (*unsure, *mended.findings()), (folder, *used))


def _joblib_source(folder: Path, options: ImportOptions, scratch: Path) -> Source:
    files = joblib_files(folder)
    if not options.allow_pickle:
        raise InputError(
            f"{folder} holds joblib files ({files[0].name}), which are pickles: loading one runs the code in it; "
            f"pass --allow-pickle if you trust their source"
        )
    rows, tables = read_joblib(files, scratch)
    trusted = Finding(str(folder), "joblib files are pickles", "loaded, because of --allow-pickle")
    if options.metadata is not None:
        tables, used = _passed_tables(options.metadata)
        return Source("joblib dictionaries", rows, tables, (trusted,), (*files, *used))
    return Source("joblib dictionaries", rows, tables, (trusted,), tuple(files))


def _passed_tables(path: Path | None) -> tuple[tuple[tuple[str, pl.DataFrame], ...], list[Path]]:
    if path is None:
        return (), []
    paths = metadata_tables(path)
    return tuple((one.name, read_metadata(one)) for one in paths), paths


def _seal_findings(reader: BatchReader) -> list[Finding]:
    if not reader.seal:
        wrong = "it is not there, so nothing says how many batches and samples there should be"
        return [Finding(SEAL, wrong, f"all {counted(len(reader.batches), 'batches')} that are there were taken")]
    if "n_features" not in reader.seal:
        return [Finding(SEAL, "it does not say n_features", f"taken from the arrays: {reader.n_features}")]
    if reader.seal["n_features"] != reader.n_features:
        wrong = f"n_features is {reader.seal['n_features']}, the arrays have {reader.n_features}"
        return [Finding(SEAL, wrong, "the arrays' number is used")]
    return []


def _dtype_findings(arrays: list[DenseArray]) -> list[Finding]:
    odd = [array for array in arrays if array.dtype != np.float32]
    return [Finding(array.path.name, f"values are {array.dtype}", "rounded to float32") for array in odd]


def _absent_chunk_findings(array: DenseArray, accepted: bool) -> list[Finding]:
    absent = iter(()) if array.every_chunk_written else array.absent_files()
    first = next(absent, None)
    if first is None:
        return []
    if not accepted:
        raise CorruptStoreError(
            f"{array.path} lacks the file {first}: zarr would read its rows as zeros. Copy the folder again, or pass "
            f"--missing-chunks-are-zero if these rows have no activations"
        )
    n_absent = 1 + sum(1 for _ in absent)
    return [
        Finding(
            array.path.name,
            f"{counted(n_absent, 'chunk files', 'are')} not on disk",
            "read as zeros, because of --missing-chunks-are-zero",
        )
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CorruptStoreError(f"{path} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}


class _MendedNeuronActs:
    """Files per feature as anybody may have written them: zeros dropped, ids put in order, floats made float32; counted."""

    def __init__(self, reader: NeuronActsReader) -> None:
        self._reader = reader
        self._mended: dict[tuple[str, str], list[int]] = {}

    @property
    def n_features(self) -> int:
        return self._reader.n_features

    @property
    def n_samples(self) -> int:
        return self._reader.n_samples

    def read(self, feature_id: int) -> Activations:
        if not self._reader.has_files(feature_id):
            return self._reader.read(feature_id)
        ids, values = self._reader.read_files(feature_id)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
            single = values.astype(np.float32)
        self._refuse(feature_id, ids, single)
        if (single != values).any():
            self._note(f"values are {values.dtype}", "rounded to float32", feature_id)
        if ((single == 0) & (values > 0)).any():
            self._note(_BELOW_FLOAT32, "dropped", feature_id)
        if (values == 0).any():
            self._note("values of 0 are among the activations", "dropped", feature_id)
        if (single == 0).any():
            ids, single = ids[single > 0], single[single > 0]
        if (ids[1:] < ids[:-1]).any():
            self._note("sample ids are not in order", "put in order", feature_id)
            order = np.argsort(ids, kind="stable")
            ids, single = ids[order], single[order]
        return Activations(ids.astype(sample_id_dtype(self.n_samples)), single)

    def findings(self) -> list[Finding]:
        """What was mended, with the number of features it was in."""
        return [
            Finding(f"{counted(len(features), 'features')}, {feature_folder_name(features[0])} first", wrong, done)
            for (wrong, done), features in self._mended.items()
        ]

    def _note(self, wrong: str, done: str, feature_id: int) -> None:
        self._mended.setdefault((wrong, done), []).append(feature_id)

    def _refuse(self, feature_id: int, ids: npt.NDArray[np.integer[Any]], values: npt.NDArray[np.float32]) -> None:
        bad = ~(np.isfinite(values) & (values >= 0)) | (ids < 0) | (ids >= self.n_samples)
        where = self._reader.folder / feature_folder_name(feature_id)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise InvalidActivationsError(
                f"{where}: entry {i} is {float(values[i])} on sample {int(ids[i])}; values must be finite and not negative, "
                f"and samples within 0 to {self.n_samples - 1}"
            )
        unique, counts = np.unique(ids, return_counts=True)
        if unique.size != ids.size:
            raise InvalidActivationsError(f"{where}: sample {int(unique[counts > 1][0])} has more than one activation")
