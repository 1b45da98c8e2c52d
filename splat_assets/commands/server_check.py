"""An end-to-end check: start the activation server on a run, query a feature over HTTP, compare, and stop it."""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splat_assets.errors import SplatError
from splat_assets.store import open_store

_SECONDS = 60.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


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
