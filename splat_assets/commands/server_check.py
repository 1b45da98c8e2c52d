"""A check from outside: start the activation server on a run, ask it for a feature over HTTP, compare, and stop it."""

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
    """The server did not come up, or answered otherwise than the store says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answer, which is the store's: where, and how many rows and bytes came."""

    url: str
    n_rows: int
    n_bytes: int


def ask_server(run: Path) -> Asked:
    """Serve the run's published store, ask for its most active feature as JSON, and compare every row with the store.

    Raises ServerCheckError when the server does not come up, or what it says is not what the store holds.
    """
    store = open_store(run)
    feature_id = int(np.argmax(store.reader.feature_n_active))
    expected = store.feature(feature_id)
    with _served(run) as address:
        url = f"{address}/activations/{feature_id}"
        body = _get(f"{url}?columns=global_index,activation&orient=columns")
        found = json.loads(body)
    same = found["version"] == store.version and (
        np.array_equal(found["columns"]["global_index"], expected.sample_ids)
        and np.array_equal(np.array(found["columns"]["activation"], dtype=np.float32), expected.values)
    )
    if not same:
        raise ServerCheckError(f"{url} does not answer what version {store.version} of {run} holds for this feature")
    return Asked(url, int(found["n_rows"]), len(body))


@contextmanager
def _served(run: Path) -> Iterator[str]:
    """The address of a server of the run, which ends with the context."""
    command = [sys.executable, "-m", "splat_assets.cli", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    rest: threading.Thread | None = None
    impatient = threading.Timer(_SECONDS, process.kill)
    impatient.start()
    try:
        for line in process.stderr:
            said.append(line.strip())
            if found := _ADDRESS.search(line):
                break
        else:
            raise ServerCheckError(
                f"the activation server of {run} did not come up: {said[-1] if said else 'it said nothing'}"
            )
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        yield found[0]
    finally:
        impatient.cancel()
        process.terminate()
        process.wait()
        if rest is not None:
            rest.join()
        process.stderr.close()


def _get(url: str) -> bytes:
    """The body of an answer from this machine, whatever proxies the environment names."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except OSError as error:
        raise ServerCheckError(f"{url} could not be asked: {error}") from error
