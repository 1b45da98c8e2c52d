"""`splat demo`: from nothing to a trained SAE and a verified store, with inputs that it makes itself."""

import json
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from splat_assets.assets import ASSETS
from splat_assets.commands.inputs import progress_here, trained_on_others
from splat_assets.commands.materialize import make_settled
from splat_assets.commands.report import artifact_table, failed_checks, scorecard_view
from splat_assets.errors import InputError, SplatError
from splat_assets.runs import ActivationsRecipe, Run, RunConfig, SplitRecipe, create_run, hash_inputs
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.store.bucket.working_copy import display_location
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import open_store
from splat_assets.text.numerals import whole
from splat_assets.text.progress import Progress
from splat_assets.text.terminal import console
from splat_assets.text.wording import counted

DEMO = "demo"
_SECONDS = 60.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@click.command()
@click.option(
    "--builds", "n_builds", default=30_000, type=whole(), show_default=True, help="Number of builds to generate."
)
@click.option("--seed", default=0, type=whole(), show_default=True, help="Random seed.")
def demo(n_builds: int, seed: int) -> None:
    """Make demo builds, train a small base model and an SAE on them, publish a verified store, and query it over HTTP.

    Takes a few minutes on two cores and needs no network. A second call changes nothing.
    For another number of builds or another seed, set SPLAT_DATA to another folder.
    """
    began = time.monotonic()
    root = DataRoot.from_environment().checked_writable()
    run = demo_run(root, n_builds, seed, progress_here())
    succeeded = make_settled(run, list(ASSETS))
    out = console()
    out.print(artifact_table(run))
    out.print(scorecard_view(run.layout.scorecard))
    for line in failed_checks(run):
        click.echo(line, err=True)
    if succeeded:
        with progress_here().step("querying the activation server"):
            answer = ask_server(run.layout.root)
        out.print(
            f"HTTP check: {answer.url}, {counted(answer.n_rows, 'rows')}, equal to the store",
            markup=False,
        )
    out.print(f"data: {display_location(root.path)}, {time.monotonic() - began:.1f} s", markup=False)
    if not succeeded:
        sys.exit(1)
    feature = _best_described(run)
    out.print(
        _NEXT.format(name=run.name, code=_code(display_location(run.layout.store)), feature=feature), markup=False
    )


def _code(store: str | Path) -> str:
    """A line of Python that opens the store, quoted for the shell."""
    place = json.dumps(str(store), ensure_ascii=False)
    return shlex.quote(f"from splat_assets.store import open_store; print(open_store({place}).feature(0))")


def _best_described(run: Run) -> int:
    """The feature whose rule scores best on held-out builds."""
    suggestions = open_store(run.layout.root).table("suggested_labels")
    return int(suggestions.sort("suggested", "f1", descending=True, nulls_last=True)["feature_id"][0])


def demo_run(root: DataRoot, n_builds: int, seed: int, progress: Progress) -> Run:
    """The demo's run; its dataset and base model are made if missing.

    Raises InputError when the existing dataset has another size or seed, or the model was trained on other data.
    """
    from splat_assets.data.demo import how_drawn, make_demo_inputs

    dataset = root.datasets / DEMO
    model = root.models / DEMO
    if not (dataset / "planted_concepts.json").is_file():
        with progress.step("generating builds"):
            make_demo_inputs(dataset, n_builds=n_builds, seed=seed)
    there = how_drawn(dataset)
    if there != (n_builds, seed):
        raise InputError(
            f"{dataset} holds {counted(there[0], 'builds')} drawn with seed {there[1]}, not {n_builds:,} with "
            f"seed {seed}: "
            f"pass --builds {there[0]} --seed {there[1]}, or set SPLAT_DATA to another folder"
        )
    _make_base_model(dataset, model, seed, progress)
    config = RunConfig(
        inputs=hash_inputs(model, None, None, dataset / "tokenized_data.csv"),
        sae=SaeRecipe(d_sae=512, k=16, epochs=40, batch_size=512, seed=seed),
        split=SplitRecipe(seed=seed),
        activations=ActivationsRecipe(shard_items=8_192),
    )
    return create_run(root, DEMO, config)


def _make_base_model(dataset: Path, model: Path, seed: int, progress: Progress) -> None:
    """Train the base model unless it is there; raises InputError when that one was trained on other builds."""
    from splat_assets.data.splits import split_builds
    from splat_assets.data.tokenised import read_tokenised
    from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
    from splat_assets.model.recipe import BaseTrainingRecipe
    from splat_assets.model.train import train_base_model

    vocabulary, contexts = read_vocabulary(dataset / "vocab.json"), read_contexts(dataset / "weapon_vocab.json")
    with progress.step("reading the builds"):
        builds = split_builds(read_tokenised(dataset / "tokenized_data.csv", vocabulary, contexts), seed)
    if not (model / "training_metrics.json").is_file():
        train_base_model(builds, vocabulary, contexts, BaseTrainingRecipe(seed=seed), model, progress=progress)
    if trained_on_others(model / "model.pth", builds):
        raise InputError(f"the base model {model} was not trained on the builds of this demo; delete {model}")


class ServerCheckError(SplatError):
    """The server did not start, or its answer differs from the store."""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """A query whose answer equals the store: its URL, and the rows and bytes received."""

    url: str
    n_rows: int
    n_bytes: int


def ask_server(run: Path) -> ServerAnswer:
    """Serve the run's published store, query its most active feature as JSON, and compare every row with the store.

    Raises ServerCheckError when the server does not start, or its answer differs from the store.
    """
    store = open_store(run)
    feature_id = int(np.argmax(store.reader.feature_n_active))
    expected = store.feature(feature_id)
    with _served(run) as address:
        url = f"{address}/activations/{feature_id}"
        body = _get(f"{url}?columns=global_index,activation&orient=columns")
        payload = json.loads(body)
    same = payload["version"] == store.version and (
        np.array_equal(payload["columns"]["global_index"], expected.sample_ids)
        and np.array_equal(np.array(payload["columns"]["activation"], dtype=np.float32), expected.values)
    )
    if not same:
        raise ServerCheckError(f"{url} does not answer what version {store.version} of {run} holds for this feature")
    return ServerAnswer(url, int(payload["n_rows"]), len(body))


@contextmanager
def _served(run: Path) -> Iterator[str]:
    """The URL of a server of the run; it stops with the context."""
    command = [sys.executable, "-m", "splat_assets.cli", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    rest: threading.Thread | None = None
    impatient = threading.Timer(_SECONDS, process.kill)
    impatient.start()
    try:
        for line in process.stderr:
            lines.append(line.strip())
            if address := _ADDRESS.search(line):
                break
        else:
            raise ServerCheckError(
                f"the activation server of {run} did not start: {lines[-1] if lines else 'no output'}"
            )
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        yield address[0]
    finally:
        impatient.cancel()
        process.terminate()
        process.wait()
        if rest is not None:
            rest.join()
        process.stderr.close()


def _get(url: str) -> bytes:
    """The body of a local answer; proxies of the environment are ignored."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except OSError as error:
        raise ServerCheckError(f"{url} did not answer: {error}") from error


_NEXT = """
next:
  splat label suggest --all      the features that a rule over builds describes, best first
  splat investigate {feature:<13}a report on a feature: what it responds to, what it does, how sure that is
  splat up                       the Dagster UI of these artifacts, on http://127.0.0.1:3000
  splat serve {name}               any feature over HTTP, on http://127.0.0.1:8765 (/docs lists the paths)
  splat verify {name}              every check again, against the bytes
  splat run show {name}            recipe, artifacts and scorecard
  python -c {code}
"""
