"""Time encoding by each way to run shards, in one run: `python -m benchmarks.shards`. Seconds, ratio to `local`, peak memory.

The same synthetic base activations go through the same SAE, `local` first and last so that both run under the same load.
Each way runs in a separate process; its seconds include starting processes, or Ray. Memory is the peak of the private memory
of the process and all its children, sampled ten times a second.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.pipeline import base_activations, items_of, random_sae
from splat_assets.compute.encode import encode
from splat_assets.compute.harvest import open_base_activations, shards_of
from splat_assets.compute.shards import ShardRunner
from splat_assets.sae import save_sae
from splat_assets.store.files import write_json
from splat_assets.text.numerals import whole


@click.command()
@click.option("--n-samples", default="100_000,200_000", show_default=True, help="Sizes, separated by commas.")
@click.option("--d-in", default=512, type=whole(), show_default=True)
@click.option("--d-sae", default=8_192, type=whole(), show_default=True)
@click.option("--n-active", default=64, type=whole(), show_default=True)
@click.option("--shard-items", default=8_192, type=whole(), show_default=True)
@click.option("--ways", default="local,process:1,process:2,ray,local", show_default=True)
@click.option("--only", hidden=True, type=click.Path(path_type=Path))
def main(n_samples: str, d_in: int, d_sae: int, n_active: int, shard_items: int, ways: str, only: Path | None) -> None:
    """Print a table with a row for each size and way."""
    if only is not None:
        _encode(only, int(n_samples), shard_items)
        return
    click.echo("| samples | shards | seconds | ratio to local | peak memory |")
    click.echo("|---|---|---|---|---|")
    for n in (int(size) for size in n_samples.split(",")):
        scratch = Path(tempfile.mkdtemp())
        try:
            base = base_activations(scratch / "base", n, d_in)
            write_json(scratch / "base" / "harvest.json", {"fingerprint": base.fingerprint})
            save_sae(random_sae(d_in, d_sae, n_active, np.array(base.values[:2_048])), scratch / "sae")
            (scratch / "base" / "identity").write_text(base.fingerprint)
            first = None
            for way in ways.split(","):
                seconds, peak = _measured(scratch, n, shard_items, way)
                first = first or seconds
                click.echo(f"| {n:,} | {way} | {seconds:.1f} | {seconds / first:.2f} | {peak / 2**30:.2f} GiB |")
        finally:
            shutil.rmtree(scratch)


def _measured(scratch: Path, n: int, shard_items: int, way: str) -> tuple[float, int]:
    """Seconds of encoding as reported by its process, and the peak memory of it and its children."""
    shutil.rmtree(scratch / "raw", ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.shards", "--n-samples", str(n), "--shard-items", str(shard_items)]
    process = subprocess.Popen(
        [*command, "--only", str(scratch)], env={**os.environ, "SPLAT_SHARDS": way}, stdout=subprocess.PIPE, text=True
    )
    peak = [0]
    watching = threading.Thread(target=_watch, args=(process, peak))
    watching.start()
    told, _ = process.communicate()
    watching.join()
    if process.returncode:
        raise click.ClickException(f"{way} ended with exit code {process.returncode}")
    return float(json.loads(told.strip().splitlines()[-1])["seconds"]), peak[0]


def _watch(process: "subprocess.Popen[str]", peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_own_bytes(pid) for pid in _descendants(process.pid)))
        time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [one for child in (task / "children").read_text().split() for one in _descendants(int(child))]
        except OSError:
            continue
    return found


def _own_bytes(pid: int) -> int:
    """Private memory of the process, without shared libraries and mapped files."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _encode(scratch: Path, n: int, shard_items: int) -> None:
    base = open_base_activations(scratch / "base", (scratch / "base" / "identity").read_text())
    items, contexts, vocabulary = items_of(n)
    shards = shards_of(items, shard_items, per_token=False)
    began = time.monotonic()
    encode(
        scratch / "raw", items, vocabulary, contexts, shards, base, scratch / "sae", per_token=False, embeddings=False,
        runner=ShardRunner.from_environment(),
    )  # fmt: skip
    click.echo(json.dumps({"seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
