"""A reader for a folder of any layout: lists the layouts present and opens the fastest. And the samples of such a folder.

Fastest first, one feature of 500,000 activations among 842,820 samples: the sparse store 0.4 ms, files per feature 1.8 ms,
transposed array 22 ms (59 ms in upstream's chunks); a batch tree is read whole for every feature.
"""

import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import polars as pl

from splat_assets.store.activations import ActivationReader
from splat_assets.store.documents import entries
from splat_assets.store.errors import LayoutError, NotPublishedError, StoreError
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import ACTIVATIONS as BATCHES
from splat_assets.store.guide.batches import METADATA, VOCABULARY
from splat_assets.store.guide.neuron_acts import DESCRIPTION, NeuronActsReader
from splat_assets.store.guide.transposed import ARRAY, TransposedReader
from splat_assets.store.layout import RunLayout
from splat_assets.store.published.publishing import open_store
from splat_assets.store.raw import RawActivations, shard_name
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import explaining_damage
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

_log = logging.getLogger(__name__)


class Layout(IntEnum):
    """The layouts a folder can have, fastest first. Raw activations hold rows only: no feature can be read from them."""

    STORE = 0
    SPARSE = 1
    NEURON_ACTS = 2
    TRANSPOSED = 3
    NEURON_ACTS_UNDESCRIBED = 4
    BATCHES = 5
    RAW = 6

    @property
    def title(self) -> str:
        """Its name in messages."""
        return _TITLES[self]


_TITLES = {
    Layout.STORE: "published store",
    Layout.SPARSE: "sparse matrices (activations.zarr)",
    Layout.NEURON_ACTS: "files per feature (neuron_acts)",
    Layout.TRANSPOSED: "transposed array",
    Layout.NEURON_ACTS_UNDESCRIBED: f"files per feature without {DESCRIPTION}",
    Layout.BATCHES: "batch tree",
    Layout.RAW: "raw activations",
}


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """A folder and the layout it has."""

    layout: Layout
    path: Path


def layouts_in(folder: Path | str) -> list[FolderLayout]:
    """The layouts at folder and, where it is a run's, in the run's own folders; fastest first."""
    root = Path(folder)
    run = RunLayout(root)
    places = [root, run.store, run.staged, run.neuron_acts, run.transposed, run.efficient, run.raw_activations]
    layouts = [FolderLayout(layout, place) for place in places if place.is_dir() for layout in layouts_at(place)]
    return sorted(layouts, key=lambda one: one.layout)


def layouts_at(place: Path) -> Iterator[Layout]:
    """The layouts of this very folder, fastest first."""
    if (place / "CURRENT").is_file() or (place / "manifest.json").is_file():
        yield Layout.STORE
    elif (place / "activations.zarr" / "X").is_dir() or (place / "X" / "indptr").is_dir():
        yield Layout.SPARSE
    if (place / DESCRIPTION).is_file():
        yield Layout.NEURON_ACTS
    elif any(re.match("neuron_[0-9]", entry.name) for entry in entries(place)):
        yield Layout.NEURON_ACTS_UNDESCRIBED
    if (place / ARRAY).is_dir() or place.name == ARRAY:
        yield Layout.TRANSPOSED
    if any(re.fullmatch(r"batch_.*\.zarr", entry.name) for entry in entries(place / BATCHES)):
        yield Layout.BATCHES
    if (place / shard_name(0)).is_dir():
        yield Layout.RAW


def open_reader(*folders: Path | str) -> ActivationReader:
    """The fastest reader that the folders offer; the log says which and why.

    Args:
        folders: of one model's activations: a run, a store, or folders in the guide's formats.

    Raises:
        LayoutError: no folder holds activations by feature, or they hold activations of different shapes.
        CorruptStoreError: the fastest layout is damaged.

    Examples:
        >>> open_reader(sparse).read(1).values
        array([2.5, 0.5], dtype=float32)
    """
    return open_fastest(*folders)[1]


def open_fastest(*folders: Path | str) -> tuple[FolderLayout, ActivationReader]:
    """The fastest layout that the folders offer, and a reader of it; the log says which and why.

    Raises LayoutError when there is none, or when the folders hold activations of different shapes.
    """
    candidates = sorted((one for folder in folders for one in layouts_in(folder)), key=lambda one: one.layout)
    readable = [one for one in candidates if one.layout in _OPENERS]
    where = " and ".join(str(folder) for folder in folders)
    if not readable:
        only = f"only {candidates[0].layout.title}, which hold rows and no features" if candidates else "no activations"
        raise LayoutError(f"{where}: {only}; expected {', '.join(_TITLES[layout] for layout in _OPENERS)}")
    best, *others = readable
    reader = _OPENERS[best.layout](best.path)
    _refuse_other_shapes(best, reader, others)
    beside = "; also there: " + ", ".join(one.layout.title for one in others) if others else ""
    _log.info("reading features from the %s at %s, the fastest layout there%s", best.layout.title, best.path, beside)
    return best, reader


@contextmanager
def as_reader(
    folder: Path | str, scratch: Path | None = None, progress: Progress | None = None
) -> Iterator[ActivationReader]:
    """A reader by feature of any folder that holds activations, for as long as the context lasts.

    A batch tree and raw activations are turned into a temporary sparse store first (8 bytes an activation, twice), in a
    folder below scratch, or below the system's temporary folder.
    """
    # Here, because scipy's sparse matrices load with it: a tenth of a second that reading alone does not need.
    from splat_assets.store.sparse.merge import write_sparse_store

    candidates = layouts_in(folder)
    if not candidates or candidates[0].layout not in (Layout.BATCHES, Layout.RAW):
        yield open_reader(folder)
        return
    source = (
        BatchReader(candidates[0].path)
        if candidates[0].layout is Layout.BATCHES
        else RawActivations(candidates[0].path)
    )
    with tempfile.TemporaryDirectory(prefix="splat-", dir=scratch) as temporary:
        _log.info("%s is the fastest layout of %s: making a temporary sparse store", candidates[0].layout.title, folder)
        target = Path(temporary) / "activations.zarr"
        write_sparse_store(source, target, progress=progress)
        yield SparseReader(target)


def samples_and_vocabulary(folder: Path) -> tuple[pl.DataFrame, Vocabulary | None]:
    """All samples (`tokens`, a list of ids; `token_position` where it is known) and the vocabulary that the folder records.

    folder: raw activations, a batch tree, a run, a store or a version. Raises LayoutError for any other folder.
    """
    recorded = folder / VOCABULARY
    vocabulary = Vocabulary.load(recorded) if recorded.is_file() else None
    if (folder / shard_name(0)).is_dir():
        return RawActivations(folder).samples(), vocabulary
    tables = [table for table in entries(folder / METADATA) if table.suffix == ".parquet"]
    if tables:
        return pl.concat([_tokens_of(table) for table in tables]), vocabulary
    try:
        store = open_store(folder)
    except NotPublishedError as error:
        raise LayoutError(
            f"{folder} holds no samples: neither {shard_name(0)}, nor {METADATA}/batch_0000.parquet, nor a published store"
        ) from error
    return store.samples, store.vocabulary


def _tokens_of(metadata: Path) -> pl.DataFrame:
    """Token ids of a batch, and of which position of its build a sample is where the batch says so."""
    with explaining_damage(metadata):
        batch = pl.scan_parquet(metadata.absolute(), glob=False)
        columns = (
            ["ability_tokens", "token_position"] if "token_position" in batch.collect_schema() else ["ability_tokens"]
        )
        return batch.select(columns).rename({"ability_tokens": "tokens"}).collect()


def _open_sparse(folder: Path) -> ActivationReader:
    inside = folder / "activations.zarr"
    return SparseReader(inside if inside.is_dir() else folder)


_OPENERS: dict[Layout, Callable[[Path], ActivationReader]] = {
    Layout.STORE: lambda folder: open_store(folder).reader,
    Layout.SPARSE: _open_sparse,
    Layout.NEURON_ACTS: NeuronActsReader,
    Layout.TRANSPOSED: TransposedReader,
    Layout.NEURON_ACTS_UNDESCRIBED: NeuronActsReader,
    Layout.BATCHES: BatchReader,
}


def _refuse_other_shapes(best: FolderLayout, reader: ActivationReader, others: list[FolderLayout]) -> None:
    for other in others:
        if other.layout is Layout.NEURON_ACTS_UNDESCRIBED:  # it would be read whole, and says no shape for certain
            continue
        try:
            beside = _OPENERS[other.layout](other.path)
        except StoreError as error:
            _log.warning("the %s at %s cannot be used: %s", other.layout.title, other.path, error)
            continue
        if (beside.n_samples, beside.n_features) == (reader.n_samples, reader.n_features):
            continue
        raise LayoutError(
            f"{other.path} holds {counted(beside.n_samples, 'samples')} x "
            f"{counted(beside.n_features, 'features')}, {best.path} holds "
            f"{reader.n_samples} x {reader.n_features}: they come from different runs; pass the folders of one"
        )
