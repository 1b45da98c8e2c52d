"""A published store from an existing folder of activations: import, sparse store, statistics, publish; no model is run.

What needs a model (influences, neighbours by decoder) is not computed, and reading it raises an error that says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splat_assets.analysis.examples import EXAMPLES_SEED
from splat_assets.compute.examples import write_examples
from splat_assets.compute.histograms import write_histograms
from splat_assets.compute.idf import write_idf
from splat_assets.store.guide.batches import CONTEXTS, VOCABULARY
from splat_assets.store.importing.importing import REPORT, imported_folder
from splat_assets.store.importing.report import ImportReport
from splat_assets.store.importing.sources import ImportOptions
from splat_assets.store.layout import RunLayout
from splat_assets.store.published.publishing import publish
from splat_assets.store.raw import RawActivations
from splat_assets.store.samples import write_samples
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.text.progress import Progress


@dataclass(frozen=True, slots=True)
class StoreImported:
    """The result of an import: the report, the id of the version, and the path of the store."""

    report: ImportReport
    version: str
    store: Path


def import_store(
    source: Path, target: Path, options: ImportOptions, profile: str = "raw", progress: Progress | None = None
) -> StoreImported:
    """Import the folder into target as raw activations and publish `<target>/store` from them; errors as `import_folder`."""
    with imported_folder(source, target, options, progress) as report:
        layout = RunLayout(target)
        raw = RawActivations(layout.raw_activations)
        write_sparse_store(raw, layout.activations_zarr, profile, progress=progress)
        parts = dict(_parts(layout, raw, progress))
        facts = {
            "imported_layout": report.layout,
            "imported_listing": report.source_fingerprint,
            "raw_activations": raw.fingerprint,
        }
        version = publish(layout.store, parts, facts, progress)
    return StoreImported(report, version, layout.store)


def _parts(layout: RunLayout, raw: RawActivations, progress: Progress | None) -> Iterator[tuple[str, Path]]:
    """Each part of the version by its name, written on access."""
    staged, sparse = layout.staged, SparseReader(layout.activations_zarr)
    yield "activations.zarr", layout.activations_zarr
    samples = raw.samples()
    for path in write_samples(samples, staged):
        yield path.name, path
    tables = (staged / "histograms.parquet", staged / "features.parquet")
    write_histograms(sparse, *tables, checksums=sparse.feature_crc32c, progress=progress)
    write_examples(sparse, staged / "examples.parquet", seed=EXAMPLES_SEED, progress=progress)
    for path in (*tables, staged / "examples.parquet"):
        yield path.name, path
    for name in (REPORT, VOCABULARY, CONTEXTS):
        if (layout.raw_activations / name).is_file():
            yield name, layout.raw_activations / name
    if (layout.raw_activations / VOCABULARY).is_file() and samples["tokens"].list.len().sum():
        write_idf(samples, Vocabulary.load(layout.raw_activations / VOCABULARY), staged / "idf.parquet")
        yield "idf.parquet", staged / "idf.parquet"
