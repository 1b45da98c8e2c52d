"""The store step killed at any moment, and on a disk that is full: nothing is lost and nobody sees a half-written thing."""

import multiprocessing
import multiprocessing.process
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.disk import DiskFullError
from splat_assets.store.errors import StoreError
from splat_assets.store.published.publishing import open_store, publish
from splat_assets.store.samples import write_samples
from splat_assets.store.sparse.merge import write_sparse_store
from tests.contracts.sources import DenseSource, sample_table, sparse_random
from tests.store.making import SAE, Dense, bytes_below, staged_parts, write_raw
from tests.store.store_step import store_step

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.store.store_step"])


def _start(root: Path) -> multiprocessing.process.BaseProcess:
    step = _PROCESSES.Process(target=store_step, args=(root,))
    step.start()
    return step


def _finish(root: Path) -> str:
    step = _start(root)
    step.join()
    assert step.exitcode == 0
    return (root / "published").read_text()


class _Watcher(threading.Thread):
    """Opens the store over and over, as a server would, and keeps what it saw: only whole, sound versions are allowed."""

    def __init__(self, root: Path, dense: dict[str, Dense]) -> None:
        super().__init__(daemon=True)
        self._root, self._dense = root, dense
        self.seen: set[str] = set()
        self.faults: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                store = open_store(self._root)
                self.seen.add(store.version)
                expected = self._dense[store.manifest.provenance["sae"]]
                result = np.concatenate([block.to_dense(expected.shape[1]) for block in store.rows(1000)])
                if not np.array_equal(result, expected):
                    self.faults.append(f"{store.version} holds other rows")
            except StoreError as error:
                self.faults.append(str(error))


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_ends_with_the_same_version(tmp_path: Path) -> None:
    old, new = sparse_random(50, 30, 0.2), sparse_random(1500, 30, 0.2, seed=1)
    write_raw(tmp_path / "undisturbed" / "raw", new, 400, {"sae": "new"})
    expected = _finish(tmp_path / "undisturbed")
    began = time.monotonic()
    _finish(tmp_path / "undisturbed")
    seconds = time.monotonic() - began

    root = tmp_path / "run"
    before = publish(root / "store", staged_parts(tmp_path / "before", old), {"sae": "old"})
    write_raw(root / "raw", new, 400, {"sae": "new"})
    watcher = _Watcher(root, {"old": old, "new": new})
    watcher.start()
    moments = random.Random(0)
    for _ in range(25):
        step = _start(root)
        time.sleep(moments.uniform(0, seconds))
        step.kill()
        step.join()
    result = _finish(root)
    watcher.stop.set()
    watcher.join()

    assert result == expected
    assert watcher.faults == []
    assert before in watcher.seen <= {before, expected}
    assert open_store(root).version == expected
    assert open_store(root).verify() == []
    versions = {path.name for path in (root / "store" / "versions").iterdir()}
    assert versions == {before, expected}, "a killed publisher left something behind"
    assert [path.name for path in (root / "staged").glob(".staging-*")] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; skipped where mounting one is not allowed."""
    disk = tmp_path / "small_disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path, leave_bytes: int) -> None:
    with (disk / "ballast").open("wb") as ballast:
        ballast.truncate(0)
        free = shutil.disk_usage(disk).free
        ballast.write(bytes(max(0, free - leave_bytes)))


@pytest.mark.parametrize("leave_kib", [0, 40, 150, 300, 500])
def test_on_a_full_disk_the_error_is_clear_and_the_version_before_stays(leave_kib: int, small_disk: Path) -> None:
    before = publish(small_disk / "store", staged_parts(small_disk / "staged", sparse_random(50, 30, 0.2)), SAE)
    contents = bytes_below(small_disk / "store")
    _fill(small_disk, leave_kib * 1024)

    with pytest.raises(DiskFullError, match=r"no space left for the sparse store in .* MiB free\): free some space"):
        write_sparse_store(DenseSource(sparse_random(4_000, 100, 0.5)), small_disk / "staged" / "activations.zarr")

    assert bytes_below(small_disk / "store") == contents
    assert open_store(small_disk).version == before
    assert open_store(small_disk).verify() == []


def test_on_a_full_disk_nothing_is_published_and_the_version_before_stays(small_disk: Path, tmp_path: Path) -> None:
    before = publish(small_disk / "store", staged_parts(tmp_path / "old", sparse_random(50, 30, 0.2)), SAE)
    new = staged_parts(tmp_path / "new", sparse_random(2_000, 100, 0.3))
    contents = bytes_below(small_disk / "store")

    for leave_kib in (0, 20, 200):
        _fill(small_disk, leave_kib * 1024)
        with pytest.raises(DiskFullError, match="no space left for a version of the store"):
            publish(small_disk / "store", new, SAE)
        assert bytes_below(small_disk / "store") == contents

    assert open_store(small_disk).version == before


def test_on_a_full_disk_samples_are_written_whole_or_not_at_all(small_disk: Path) -> None:
    write_samples(sample_table(10), small_disk)
    contents = bytes_below(small_disk)
    _fill(small_disk, 8 * 1024)

    with pytest.raises(DiskFullError, match="no space left for the table of samples"):
        write_samples(sample_table(20_000), small_disk)

    (small_disk / "ballast").unlink()
    assert bytes_below(small_disk) == contents
