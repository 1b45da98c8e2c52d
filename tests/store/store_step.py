"""The store step from raw shards to a published version, small enough to be killed many times in a test."""

from pathlib import Path

from splat_assets.store.published.publishing import publish
from splat_assets.store.raw import RawActivations
from splat_assets.store.samples import write_samples
from splat_assets.store.sparse.layout import Chunking
from splat_assets.store.sparse.merge import write_sparse_store


def store_step(root: Path) -> None:
    """Make and publish the store of `<root>/raw`, and leave its id in `<root>/published`."""
    raw = RawActivations(root / "raw")
    zarr = root / "staged" / "activations.zarr"
    write_sparse_store(raw, zarr, memory_limit_bytes=20_000, chunking=Chunking(64, 1024))
    parquet, arrow = write_samples(raw.samples(), root / "staged")
    parts = {"activations.zarr": zarr, "samples.parquet": parquet, "samples.arrow": arrow}
    (root / "published").write_text(publish(root / "store", parts, raw.inputs))
