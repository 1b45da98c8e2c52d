"""Every step of the pipeline guide on folders, timed: `python -m benchmarks.guide`.

On the demo's builds, or on stat.ink battles (`--statink FILES…`), from which a base model is trained first. The commands have the
guide's flags; no run and no Dagster. With `--pictures` the dashboard is opened in a browser: examples, and a label that is
written there and read back on the command line. Seconds depend on the machine; sizes and counts do not.
"""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from splat_assets.data.demo import make_demo_inputs
from splat_assets.store.files import files_below
from splat_assets.text.numerals import whole

_PROGRAMS = Path(sys.executable).parent
_SERVER, _DASH = 18_765, 18_050
_TRAIN = "--epochs 1 --hidden-dim 64"
_FULL = "--feature-id {feature} --model full"
STEPS = (
    (
        "1 train an SAE",
        "sae_runs",
        "splat train-sae {inputs} --data-csv builds.csv --save-dir sae_runs/my_run --hook-target masked_mean "
        "--expansion-factor 48 --l1-coeff 3e-4 --epochs 5 --sae-batch-size 4096",
    ),
    (
        "2 generate activations",
        "activations_raw",
        "splat generate-activations {inputs} --sae-checkpoint {sae} --data-csv builds.csv --output-dir activations_raw "
        "--batch-size 1024",
    ),
    ("3 convert", "{dense}", "splat convert --input-dir activations_raw --output-dir {dense} --batch-size 500000"),
    (
        "4A transpose",
        "activations_transposed",
        "splat transpose --source-dir {dense} --target-dir activations_transposed",
    ),
    ("4B sparse extract", "neuron_acts", "splat sparse-extract --source-dir {dense} --output-dir neuron_acts"),
    (
        "5a histograms",
        "{tables}",
        "splat histograms --data-dir {dense} --output-dir {tables} --method vectorized --compat-pickle",
    ),
    ("5b IDF", "{tables}", "splat idf --data-dir {dense} --output-path {tables}/idf.parquet"),
    (
        "5c influences",
        "{tables}",
        "splat influences {inputs} --sae-checkpoint {sae} --output-path {tables}/influences.parquet --top-k 100",
    ),
    ("7 examples", "{dense}/examples", "splat examples --data-dir {dense} --output-dir {dense}/examples"),
    ("alias", "", "splat alias full {dense}"),
    ("8 overview", "", f"splat overview {_FULL} --max-examples 2000"),
    ("8 overview, all", "", f"splat overview {_FULL} --all"),
    ("8 family sweep", "", f"splat experiment family-sweep {_FULL} --family swim_speed_up"),
    ("8 heatmap", "", "splat experiment heatmap --feature-id {feature} --family-x quick_respawn --family-y comeback"),
    ("8 weapon sweep", "", f"splat experiment weapon-sweep {_FULL} --top-k 20"),
    ("8 decoder", "", f"splat decoder {_FULL} --top-k 20"),
    ("8 label", "", "splat label set {feature} 'written by hand' --model full"),
    ("8 show label", "", f"splat label {_FULL} --action show"),
)
_INPUTS = (
    "--model-checkpoint models/model.pth --vocab-path models/vocab.json --weapon-vocab-path models/weapon_vocab.json"
)


@click.command()
@click.option(
    "--statink", "files", multiple=True, type=click.Path(path_type=Path, exists=True), help="Battle files of stat.ink."
)
@click.option(
    "--n-builds",
    default=20_000,
    type=whole(),
    show_default=True,
    help="How many demo builds to make, without --statink.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="An empty folder.")
@click.option("--feature", default=845, type=whole(), show_default=True)
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for pictures of the dashboard.")
def main(files: tuple[Path, ...], n_builds: int, out: Path, feature: int, pictures: Path | None) -> None:
    """Walk through the guide and print a line for each step."""
    out.mkdir(parents=True)
    environment = {
        **os.environ,
        "SPLAT_DATA": str(out / "no_data_root"),
        "XDG_CONFIG_HOME": str(out / "config"),
        "PATH": f"{_PROGRAMS}:{os.environ['PATH']}",
    }
    table = Table("step", "seconds", "bytes", "files", "last line")
    _inputs(files, n_builds, out, environment, table)
    names = {
        "inputs": _INPUTS,
        "sae": "sae_runs/my_run/sae_model_final.pth",
        "feature": feature,
        "dense": "activations_efficient",
        "tables": "activations_efficient/precomputed",
    }
    for step, folder, command in STEPS:
        place = out / folder.format(**names) if folder else None
        _step(step, command.format(**names), out, place, environment, table)
    with _running(f"uvicorn splat_serving.server:app --host 127.0.0.1 --port {_SERVER}", out, {
        **environment, "ACTIVATION_DATA_DIR": "activations_efficient", "ACTIVATION_TRANSPOSED_DIR": "activations_transposed",
    }, _SERVER):  # fmt: skip
        for path in (
            "/health",
            f"/activations/{feature}",
            f"/activations/{feature}/arrow",
            "/context/vocab",
            f"/labels/{feature}",
        ):
            began = time.monotonic()
            content = _get(f"http://127.0.0.1:{_SERVER}{path}")
            table.add_row(f"6 GET {path}", f"{time.monotonic() - began:.3f}", f"{len(content):,}", "", "")
    dash = "splat dash --use-efficient --data-dir activations_efficient --examples-dir activations_efficient/examples"
    with _running(f"{dash} --port {_DASH}", out, environment, _DASH):
        began = time.monotonic()
        content = _get(f"http://127.0.0.1:{_DASH}/api/features/{feature}/examples.csv")
        table.add_row("7 dashboard: examples", f"{time.monotonic() - began:.3f}", f"{len(content):,}", "", "")
        if pictures is not None:
            _photograph(pictures, feature)
    if pictures is not None:
        _step(
            "8 label of the browser",
            f"splat label --feature-id {feature + 1} --model full --action show",
            out,
            None,
            environment,
            table,
        )
    Console(width=150).print(table)


def _inputs(files: tuple[Path, ...], n_builds: int, out: Path, environment: dict[str, str], table: Table) -> None:
    """The user's files: builds.csv, and models/ with a trained base model."""
    if files:
        names = shlex.join(str(path.absolute()) for path in files)
        _step("stat.ink", f"splat ingest statink {names} --out ingested", out, out / "ingested", environment, table)
    else:
        make_demo_inputs(out / "ingested", n_builds=n_builds, seed=0)
    os.link(out / "ingested" / "tokenized_data.csv", out / "builds.csv")
    vocabularies = "--vocab-path ingested/vocab.json --weapon-vocab-path ingested/weapon_vocab.json"
    command = f"splat train-base --data-csv builds.csv {vocabularies} --save-dir models {_TRAIN}"
    _step("base model", command, out, out / "models", environment, table)


def _step(step: str, command: str, out: Path, folder: Path | None, environment: dict[str, str], table: Table) -> None:
    began = time.monotonic()
    done = subprocess.run(shlex.split(command), cwd=out, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"{command}\n{done.stdout}{done.stderr}")
    seconds = time.monotonic() - began
    (out / "log").mkdir(exist_ok=True)
    (out / "log" / f"{re.sub('[^a-z0-9]+', '_', step.lower())}.txt").write_text(
        f"$ {command}\n{done.stdout}\n{done.stderr}"
    )
    written = files_below(folder) if folder is not None else []
    n_bytes = sum(path.stat().st_size for path in written)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    table.add_row(step, f"{seconds:.1f}", f"{n_bytes:,}", f"{len(written):,}", lines[-1][:70] if lines else "")


@contextmanager
def _running(command: str, out: Path, environment: dict[str, str], port: int) -> Iterator[None]:
    server = subprocess.Popen(shlex.split(command), cwd=out, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                _get(f"http://127.0.0.1:{port}/")
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait(30)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        content: bytes = answer.read()
    return content


def _photograph(folder: Path, feature: int) -> None:
    """A feature's examples, the form of a label filled and saved, and the page of labels."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    home = f"http://127.0.0.1:{_DASH}"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for name, address in (("home", "/"), ("examples", f"/f/{feature}")):
            page.goto(f"{home}{address}", wait_until="load", timeout=120_000)
            page.wait_for_selector("h1", timeout=60_000)
            page.wait_for_timeout(4_000)
            page.screenshot(path=str(folder / f"{name}.png"))
        page.goto(f"{home}/f/{feature + 1}", wait_until="load", timeout=120_000)
        page.wait_for_selector("h1", timeout=60_000)
        page.wait_for_timeout(3_000)
        page.keyboard.press("e")
        page.wait_for_timeout(1_000)
        page.keyboard.type("written in the browser")
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(2_000)
        page.screenshot(path=str(folder / "label.png"))
        page.goto(f"{home}/labels", wait_until="load", timeout=120_000)
        page.wait_for_selector("h1", timeout=60_000)
        page.wait_for_timeout(2_000)
        page.screenshot(path=str(folder / "labels.png"))
        browser.close()


if __name__ == "__main__":
    main()
