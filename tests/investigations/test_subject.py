"""A subject that threads share: the dashboard answers several requests at a time from one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from splat_assets.store.layout import DataRoot
from splat_serving.database.local import LocalDatabase
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.subject import Subject
from splat_serving.model.local_runner import LiveRunner
from splat_serving.model.runner import ModelRunner

_N_THREADS = 8


def at_once(ask: Callable[[], Any]) -> list[Any]:
    """What threads that begin together are answered."""
    together = threading.Barrier(_N_THREADS)

    def begin(_: int) -> Any:
        together.wait()
        return ask()

    with ThreadPoolExecutor(_N_THREADS) as threads:
        return list(threads.map(begin, range(_N_THREADS)))


@pytest.mark.parametrize(
    "name", ["about", "vocabulary", "contexts", "samples", "builds", "real_builds", "labels", "model", "scorecard"]
)
def test_what_is_kept_is_made_once_whichever_thread_is_first(finished_root: DataRoot, name: str) -> None:
    subject = open_subject("small", root=finished_root)

    values = at_once(lambda: getattr(subject, name))

    assert all(value is values[0] for value in values)


def test_a_model_is_loaded_once_for_all_threads(local: Subject) -> None:
    loads: list[int] = []
    whole = local.model
    assert isinstance(whole, LiveRunner)

    def load() -> Any:
        loads.append(1)
        threading.Event().wait(0.1)  # as long as reading checkpoints takes, at least
        return whole.model

    runner = LiveRunner(load)
    at_once(runner.per_token)

    assert len(loads) == 1


def test_threads_read_the_same_activations_as_one_does(local: Subject, finished_root: DataRoot) -> None:
    subject = open_subject("small", root=finished_root)
    features = range(local.n_features)  # more than are kept: entries go while others come

    answers = at_once(lambda: [subject.dense(feature) for feature in features])

    expected = np.stack([local.dense(feature) for feature in features])
    for rows in answers:
        np.testing.assert_array_equal(np.stack(rows), expected)


def test_a_subject_whose_model_loads_slowly_holds_up_no_other(finished_root: DataRoot) -> None:
    database = LocalDatabase.open(finished_root.run("small").store)
    other_is_ready = threading.Event()

    def slow() -> ModelRunner:
        assert other_is_ready.wait(10), "the other subject had to wait for this one"
        return LiveRunner(lambda: pytest.fail("nobody asks the model"))

    first, other = Subject(database, "first", slow), Subject(database, "other", lambda: LiveRunner(slow))  # type: ignore
    with ThreadPoolExecutor(2) as threads:
        loading = threads.submit(lambda: first.model)
        while not loading.running():
            pass
        threads.submit(lambda: other.model).add_done_callback(lambda _: other_is_ready.set())

        assert loading.result() is first.model
