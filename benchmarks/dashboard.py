"""Time the dashboard at the reference size: `python -m benchmarks.dashboard [RUN|PATH]`. Median, p95 and bytes of the answers.

Requests are those of a browser, over random features; times come from the server's `Server-Timing`, bytes are compressed.
With Chromium, also how long `j` takes to the next feature's heading. Without RUN a store of 842,820 samples x 24,576
features is made; it has neither labels nor a model.
"""

import json
import shutil
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import uvicorn

from benchmarks.reference_store import make_reference_store
from splat_assets.text.numerals import whole
from splat_dash.app import create_app
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject

_N_STEPS = 25


def main_of(target: str, n_features: int) -> None:
    """Print the figures of one store."""
    began = time.perf_counter()
    with open_subject(target) as subject, socket.socket() as listening:
        source = Source(subject)
        app = create_app(source)
        ready = time.perf_counter() - began
        print(f"{source.about.n_samples:,} samples x {source.about.n_features:,} features; ready in {ready:.1f} s")
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app.server, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        ids = np.random.default_rng(0).choice(source.about.n_features, n_features, replace=False).tolist()
        first, second = ids[0], ids[1]
        report("feature", lambda feature: page(url, f"/f/{feature}"), ids)
        report("feature, in a sorted list", lambda feature: page(url, f"/f/{feature}", "?list=sort%3D-density"), ids)
        for tab in ("tokens", "weapons", "doses", "statistics"):
            report(f"feature, {tab}", lambda feature, tab=tab: page(url, f"/f/{feature}", f"?tab={tab}"), ids[:50])  # type: ignore[misc]
        report(
            "compare",
            lambda feature: page(url, "/compare", f"?f={feature},{first if feature != first else second}"),
            ids[:30],
        )
        rungs = [one.name for one in source.subject.vocabulary.tokens if one.level][: len(ids)]
        report("evidence of a rule", lambda at: evidence(url, ids[at % 30], rungs[at % len(rungs)]), [*range(1, 61)])
        if source.subject.has_labels:
            report("saving a label", lambda feature: label(url, feature, source.sae), ids[:30])
        if source.subject.has_model:
            report("what-if, an edit", lambda at: what_if(url, at), [*range(30)])
        report("list, 100 rows sorted", lambda feature: rows(url, feature % 200, ""), ids[:50])
        report("list, searched", lambda feature: rows(url, 0, str(feature)[:2]), ids[:50])
        browse(url)
        server.should_exit = True
        thread.join()


def report(name: str, ask: Callable[[int], tuple[float, int]], ids: list[int]) -> None:
    """One line: median, p95 and bytes. The first answer, which fills the caches, is separate."""
    opening, _ = ask(ids[0])
    found = [ask(one) for one in ids[1:]]
    took = np.array([one[0] for one in found])
    middle, high, weight = np.median(took), np.quantile(took, 0.95), max(one[1] for one in found) / 1000
    print(
        f"{name:28} median {middle:6.1f} ms   p95 {high:6.1f} ms   first {opening:6.0f} ms   at most {weight:3.0f} kB"
    )


def page(url: str, path: str, search: str = "") -> tuple[float, int]:
    """The request of Dash's router when an address is opened."""
    inputs = [("_pages_location", "pathname", path), ("_pages_location", "search", search)]
    body = {
        "output": ".._pages_content.children..._pages_store.data..",
        "outputs": [{"id": "_pages_content", "property": "children"}, {"id": "_pages_store", "property": "data"}],
        "inputs": [{"id": one, "property": name, "value": value} for one, name, value in inputs],
        "changedPropIds": ["_pages_location.pathname", "_pages_location.search"],
        "state": [],
    }
    return posted(url, body)


def rows(url: str, block: int, q: str) -> tuple[float, int]:
    """The request of the list: a block of 100 rows, by density."""
    request = {
        "startRow": 100 * block,
        "endRow": 100 * block + 100,
        "sortModel": [{"colId": "density", "sort": "desc"}],
    }
    outputs = ["features-grid.getRowsResponse", "features-count.children"]
    states = {"features-q.value": q, "features-state.value": "", "features-sort.data": None}
    return posted(url, called(outputs, {"features-grid.getRowsRequest": request}, states))


def evidence(url: str, feature: int, token: str) -> tuple[float, int]:
    """The request that follows a pause in writing a rule."""
    ability, _, rung = token.rpartition("_")
    return posted(
        url,
        called(
            ["label-evidence.children"],
            {"label-rule-written.data": f"{ability}>={rung} and not ninja_squid"},
            {"label-of.data": {"feature": feature, "based_on": 0, "sae": None}},
        ),
    )


def label(url: str, feature: int, sae: str | None) -> tuple[float, int]:
    """The request of Ctrl Enter in the label form."""
    outputs = [
        "label-now.children",
        "label-message.children",
        "label-of.data",
        "label-history.children",
        "feature-name.children",
    ]
    typed = {"text": "measured", "category": "none", "status": "draft", "author": "bench", "rule": "ninja_squid"}
    of = {"feature": feature, "based_on": 0, "sae": sae}
    return posted(url, called(outputs, {"label-typed.data": typed}, {"label-of.data": of}))


def what_if(url: str, at: int) -> tuple[float, int]:
    """The request of an edited slot: features and predictions of both builds."""
    subs = ("ink_saver_main", "swim_speed_up", "ink_recovery_up", "special_charge_up", "quick_respawn")
    pieces = [[subs[(at + piece) % 5], *(subs[(at // 5 + piece + one) % 5] for one in range(3))] for piece in range(3)]
    worn = {
        f"whatif-{slot}-{place}.value": name
        for slot, piece in zip(("head", "clothes", "shoes"), pieces, strict=True)
        for place, name in enumerate(piece)
    }
    given = {"whatif-base.data": "3.SSU-SSU-_-_._-_-_-_._-_-_-_", "whatif-weapon.value": str(at % 40)}
    given |= {"whatif-edits.value": "", "whatif-focus.value": "", **worn}
    return posted(url, called(["whatif-answer.children", "whatif-address.data"], given, {}))


def called(outputs: list[str], inputs: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
    """The body of a Dash callback request; names are `id.property`."""

    def told(given: dict[str, Any]) -> list[dict[str, Any]]:
        parts = [(*name.split("."), value) for name, value in given.items()]
        return [{"id": one, "property": kind, "value": value} for one, kind, value in parts]

    ends = [{"id": one, "property": kind} for one, kind in (name.split(".") for name in outputs)]
    return {
        "output": outputs[0] if len(outputs) == 1 else f"..{'...'.join(outputs)}..",
        "outputs": ends[0] if len(ends) == 1 else ends,
        "inputs": told(inputs),
        "changedPropIds": [next(iter(inputs))],
        "state": told(states),
    }


def posted(url: str, body: dict[str, Any]) -> tuple[float, int]:
    """Milliseconds from `Server-Timing`, and compressed bytes."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    request = urllib.request.Request(f"{url}/_dash-update-component", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200, answer.status
        return float(answer.headers["Server-Timing"].partition("dur=")[2]), len(answer.read())


def browse(url: str) -> None:
    """From pressing j to the next feature's heading."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium: the time of j is not measured")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 1400, "height": 900})
        shown.goto(f"{url}/f/100?list=sort%3D-density")
        shown.wait_for_timeout(5_000)
        took = []
        for _ in range(_N_STEPS):
            before = shown.locator("h1").inner_text()
            began = time.perf_counter()
            shown.keyboard.press("j")
            shown.wait_for_function("was => document.querySelector('h1')?.innerText !== was", arg=before, polling=5)
            took.append(1000 * (time.perf_counter() - began))
            shown.wait_for_timeout(500)
        n_elements = shown.evaluate("document.querySelectorAll('*').length")
        browser.close()
    middle, high = np.median(took), np.quantile(took, 0.95)
    print(f"{'j to the next heading':28} median {middle:6.0f} ms   p95 {high:6.0f} ms   {n_elements:,} elements")


@click.command()
@click.argument("target", required=False)
@click.option("--features", default=200, type=whole(), show_default=True, help="How many random features to time.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder of the store. If not given: a temporary folder."
)
def main(target: str | None, features: int, folder: Path | None) -> None:
    """Time the dashboard of TARGET, or of a store of the reference size."""
    if target is not None:
        main_of(target, features)
        return
    with tempfile.TemporaryDirectory() as scratch:
        main_of(str(make_reference_store(folder or Path(scratch) / "reference")), features)


if __name__ == "__main__":
    main()
