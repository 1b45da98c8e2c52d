"""Time encode and store at full width, against the bare encoder product: `python benchmarks/pipeline.py`.

Synthetic base activations (width 512) go through an SAE of 24,576 features with 64 active, shard by shard, and into the
sparse store. All figures come from one run: the bare product multiplies the same blocks by the same weights, over a fifth of
the rows before the steps and a fifth after them, so that both are measured under the same load. The seed is fixed; ratios
are comparable between machines, seconds are not.
"""

import resource
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch

from splat_assets.compute.encode import encode
from splat_assets.compute.harvest import LOGITS_FILE, VALUES_FILE, BaseActivations, shards_of
from splat_assets.compute.items import BUILD, Items
from splat_assets.data.builds import Builds
from splat_assets.sae import Sae, save_sae
from splat_assets.store.raw import RawActivations
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary
from splat_assets.text.numerals import whole

_N_OUTPUTS = 1


@click.command()
@click.option("--n-samples", default=200_000, type=whole(), show_default=True)
@click.option("--d-in", default=512, type=whole(), show_default=True)
@click.option("--d-sae", default=24_576, type=whole(), show_default=True)
@click.option("--n-active", default=64, type=whole(), show_default=True)
@click.option("--block-rows", default=4_096, type=whole(), show_default=True)
@click.option("--shard-items", default=32_768, type=whole(), show_default=True)
@click.option("--profile", type=click.Choice(["raw", "compact"]), default="raw", show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder for the files. If not given: a temporary folder."
)
def main(
    n_samples: int,
    d_in: int,
    d_sae: int,
    n_active: int,
    block_rows: int,
    shard_items: int,
    profile: str,
    folder: Path | None,
) -> None:
    """Print rows a second of each step, their share of the bare product, bytes per activation and peak memory."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    try:
        base = base_activations(scratch / "base", n_samples, d_in)
        sae = random_sae(d_in, d_sae, n_active, np.array(base.values[:2_048]))
        save_sae(sae, scratch / "sae")
        before = _bare_product_rate(sae, base, block_rows, first_row=0)
        items, contexts, vocabulary = items_of(n_samples)
        began = time.monotonic()
        encode(
            scratch / "raw", items, vocabulary, contexts, shards_of(items, shard_items, per_token=False), base,
            scratch / "sae", per_token=False, embeddings=False,
        )  # fmt: skip
        encoded = time.monotonic() - began
        began = time.monotonic()
        written = write_sparse_store(RawActivations(scratch / "raw"), scratch / "activations.zarr", profile)
        stored = time.monotonic() - began
        SparseReader(scratch / "activations.zarr").read(0)
        after = _bare_product_rate(sae, base, block_rows, first_row=n_samples - n_samples // 5)
    finally:
        shutil.rmtree(scratch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    click.echo(
        f"{n_samples:,} x {d_sae:,}, width {d_in}, {written.nnz / n_samples:.1f} active, {torch.get_num_threads()} threads"
    )
    bare = n_samples * 2 / (before + after)
    click.echo(f"bare product: {before:,.0f} rows/s before, {after:,.0f} after")
    click.echo("| step | seconds | rows/s | rate relative to the bare product |")
    click.echo("|---|---|---|---|")
    for name, seconds in (
        ("bare encoder product", bare),
        ("encode to sparse shards", encoded),
        (f"merge into the store ({profile})", stored),
        ("encode + store", encoded + stored),
    ):
        click.echo(f"| {name} | {seconds:.1f} | {n_samples / seconds:,.0f} | {bare / seconds:.2f} |")
    click.echo(
        f"bytes per activation: {written.size_bytes / written.nnz:.2f} (both orientations), peak memory {peak / 1e9:.2f} GB"
    )


def base_activations(folder: Path, n_samples: int, d_in: int) -> BaseActivations:
    """Rows of normal numbers, of one seed, in the layout of a harvest."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    values = np.lib.format.open_memmap(folder / VALUES_FILE, mode="w+", dtype=np.float32, shape=(n_samples, d_in))
    for start in range(0, n_samples, 16_384):
        block = values[start : start + 16_384]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    values.flush()
    np.lib.format.open_memmap(folder / LOGITS_FILE, mode="w+", dtype=np.float32, shape=(n_samples, _N_OUTPUTS)).flush()
    return BaseActivations(
        folder, "synthetic", np.load(folder / VALUES_FILE, mmap_mode="r"), np.load(folder / LOGITS_FILE, mmap_mode="r")
    )


def random_sae(d_in: int, d_sae: int, n_active: int, rows: np.ndarray) -> Sae:
    """Random directions, with the one threshold that lets n_active features fire on a row."""
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    products = torch.from_numpy(rows) @ decoder.T
    threshold = float(products.flatten().kthvalue(products.numel() - n_active * len(rows)).values)
    return Sae(
        architecture="jumprelu",
        encoder=decoder,
        b_enc=torch.zeros(d_sae),
        W_dec=decoder,
        b_dec=torch.zeros(d_in),
        threshold=torch.full((d_sae,), threshold),
    )


def _bare_product_rate(sae: Sae, base: BaseActivations, block_rows: int, first_row: int) -> float:
    """Rows a second of the encoder's matrix product alone, over a fifth of the rows, into one buffer."""
    last_row = min(first_row + max(1, len(base.values) // 5), len(base.values))
    out = torch.zeros(block_rows, sae.d_sae)
    seconds = 0.0
    for at in range(first_row, last_row, block_rows):
        block = torch.from_numpy(np.array(base.values[at : min(at + block_rows, last_row)]))
        began = time.monotonic()
        torch.mm(block, sae.encoder.T, out=out[: len(block)])
        seconds += time.monotonic() - began
    return (last_row - first_row) / seconds


def items_of(n_samples: int) -> tuple[Items, Contexts, Vocabulary]:
    """Builds of one token each: the step under test does not read them."""
    builds = Builds(
        tokens=np.zeros(n_samples, dtype=np.int32),
        offsets=np.arange(n_samples + 1, dtype=np.int64),
        weapons=np.zeros(n_samples, dtype=np.int32),
        split=np.zeros(n_samples, dtype=np.uint8),
        source_row=np.arange(n_samples, dtype=np.int64),
    )
    vocabulary = Vocabulary((Token(0, "token", "token"), Token(1, "<PAD>", "<PAD>")), pad_id=1, null_id=None)
    return Items(builds, np.full(n_samples, BUILD, dtype=np.uint8)), Contexts((Context(0, "w", "w"),)), vocabulary


if __name__ == "__main__":
    main()
