"""Threads of the server: long answers never keep short ones waiting, and the event loop does no I/O."""

import asyncio
import builtins
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.errors import BusyError
from splat_serving.http.app import ActivationServer, create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.http.workers import Lane, Memory, Workers
from tests.serving.asgi import ask
from tests.store.making import SAE, staged_parts

N_SAMPLES = 40_000
_ON_LOOP: list[str] = []
_LOOP_THREAD: list[int] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Of an audit hook, which stays as long as the process: it notes nothing unless a test names the thread of its loop."""
    if _LOOP_THREAD and event in ("open", "os.listdir", "os.scandir") and threading.get_ident() == _LOOP_THREAD[0]:
        _ON_LOOP.append(f"{event} {arguments[0]}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose feature 0 fires on every sample, and feature 1 on the first three."""
    root = tmp_path_factory.mktemp("lanes")
    dense = np.zeros((N_SAMPLES, 3), dtype=np.float32)
    dense[:, 0] = 1.5
    dense[:3, 1] = 0.5
    publish(root / "store", staged_parts(root / "staged", dense), SAE)
    return root / "store"


def _app(store: Path, **settings: Any) -> ActivationServer:
    return create_app(Catalogue(Target.of(str(store), DataRoot(store))), settings_from_environment(**settings))


@pytest.mark.parametrize("other", ["long", "opening"])
def test_work_of_another_lane_never_waits(other: Lane) -> None:
    async def scenario() -> int:
        workers, go_on = Workers(2), threading.Event()
        blocked = [asyncio.ensure_future(workers.run(go_on.wait, other)) for _ in range(20)]
        await asyncio.sleep(0)
        found = await workers.run(lambda: 7)
        assert not any(one.done() for one in blocked)
        go_on.set()
        await asyncio.gather(*blocked)
        return found

    assert asyncio.run(scenario()) == 7


@pytest.mark.parametrize("n_rows", [3, 10_000])
def test_a_short_answer_comes_while_twenty_long_ones_wait(n_rows: int, store: Path) -> None:
    async def scenario() -> None:
        app, go_on = _app(store, workers=2), threading.Event()
        blocked = [asyncio.ensure_future(app.state.workers.run(go_on.wait, "long")) for _ in range(2)]
        everything = json.dumps({"feature_ids": [0, 1, 2]}).encode()
        long = [asyncio.ensure_future(ask(app, "/activations?format=parquet", everything)) for _ in range(20)]

        page = await ask(app, f"/activations/0?limit={n_rows}")
        small = await ask(app, "/activations/1?format=csv&columns=global_index,activation")

        assert not any(one.done() for one in long)
        go_on.set()
        await asyncio.gather(*blocked)
        assert {answer.status for answer in await asyncio.gather(*long)} == {200}
        assert len(json.loads(page.body)["data"]) == n_rows
        assert small.body == b"global_index,activation\n0,0.5\n1,0.5\n2,0.5\n"

    asyncio.run(scenario())


def test_long_answers_leave_room_for_short_ones() -> None:
    memory = Memory(8_000, max_long=2)
    memory.hold(3_500, "long")
    second = memory.hold(3_500, "long")

    with pytest.raises(BusyError, match="7,000 bytes of other responses"):
        memory.hold(1, "long")
    memory.hold(1_000)
    with pytest.raises(BusyError):
        memory.hold(1)
    second.change(0)
    with pytest.raises(BusyError, match="2 long responses are in progress"):
        memory.hold(1, "long")
    second.release()
    memory.hold(1, "long")
    assert memory.held_bytes == 4_501


@pytest.fixture
def io_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the thread of the test does with files: each look at one, each opening."""
    look = os.stat

    def noted(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if _LOOP_THREAD and threading.get_ident() == _LOOP_THREAD[0]:
            _ON_LOOP.append(f"stat {path}")
        return look(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", noted)
    if not getattr(builtins, "_splat_audited", False):
        sys.addaudithook(_note)
        builtins._splat_audited = True  # type: ignore[attr-defined]
    _ON_LOOP.clear()
    yield _ON_LOOP
    _LOOP_THREAD.clear()


OF_A_VERSION = [
    "/activations/1", "/activations/1/arrow", "/features", "/features/1", "/coactivation/1", "/samples/1",
    "/samples?limit=3", "/tokens", "/weapons", "/suggestions", "/feature-map", "/tokens/3/features",
    "/tokens/3/influences", "/weapons/3/features", "/labels", "/labels/1", "/label-events", "/context/vocab",
    "/context/inv_vocab", "/scorecard", "/published", "/version",
]  # fmt: skip


@pytest.mark.parametrize("path", OF_A_VERSION)
def test_every_answer_about_a_version_is_counted_while_it_is_sent(path: str, finished_root: DataRoot) -> None:
    app = create_app(Catalogue(Target.of(None, finished_root)))
    missing = []

    def on_piece(n_bytes: int) -> None:
        missing.append(max(0, n_bytes - app.state.memory.held_bytes))

    answer = asyncio.run(ask(app, path, on_piece=on_piece))

    assert answer.status == 200 and missing and not any(missing)
    assert app.state.memory.held_bytes == 0


@pytest.mark.parametrize("prefix", ["", "/runs/small"])
def test_the_event_loop_does_no_io(prefix: str, finished_root: DataRoot, io_of_the_loop: list[str]) -> None:
    paths = [
        *(prefix + path for path in OF_A_VERSION),
        "/health",
        "/ready",
        "/runs",
        "/metrics",
        "/runs/nobody/version",
    ]
    bodies = {"/activations": b'{"feature_ids": [1]}', "/query": b'{"all": [{"feature": 1}]}'}

    apps = [create_app(Catalogue(Target.of(None, finished_root))) for _ in range(2)]
    for app in apps:
        app.api.openapi()

    async def ask_all(app: ActivationServer) -> set[int]:
        statuses = {(await ask(app, path)).status for path in paths}
        statuses |= {(await ask(app, prefix + path, body)).status for path, body in bodies.items()}
        return statuses

    asyncio.run(ask_all(apps[0]))  # what is imported on first use is there
    _LOOP_THREAD.append(threading.get_ident())
    statuses = asyncio.run(ask_all(apps[1]))
    _LOOP_THREAD.clear()

    assert statuses == {200, 404}
    assert io_of_the_loop == []
