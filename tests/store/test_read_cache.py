"""The read cache: bounded, whole, and right."""

import fcntl
import os
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_assets.store.bucket.read_cache import CACHE_BYTES, ReadCache


def _never() -> bytes:
    raise AssertionError("it was fetched again")


def test_cached_bytes_are_not_fetched_again(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path / "cache", 1_000)
    assert cache.get("a", lambda: b"one") == b"one"
    assert cache.get("a", _never) == b"one"
    assert ReadCache(tmp_path / "cache", 1_000).get("a", _never) == b"one"
    assert pickle.loads(pickle.dumps(cache)).get("a", _never) == b"one"
    assert cache.get("nothing", lambda: b"") == b"" and cache.get("nothing", _never) == b""


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"X" + b[1:], lambda b: b"", lambda b: b[:2]])
def test_a_damaged_entry_is_read_again(damage: object, tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 1_000)
    cache.get("a", lambda: b"content")
    (entry,) = tmp_path.glob("*.part")
    entry.write_bytes(damage(entry.read_bytes()))  # type: ignore[operator]

    assert cache.get("a", lambda: b"content") == b"content"
    assert cache.get("a", _never) == b"content"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300), st.booleans()), max_size=60))
def test_those_who_share_a_folder_never_take_more_than_its_bound_together(
    requested: list[tuple[int, int, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        caches = [ReadCache(Path(folder), 1_000), ReadCache(Path(folder), 1_000)]
        for key, size, second in requested:
            content = bytes([key]) * size
            cache = caches[second]
            assert cache.get(f"{key}:{size}", lambda content=content: content) == content  # type: ignore[misc]
            assert cache.size_bytes <= 1_000


def test_processes_that_share_a_folder_keep_to_its_bound(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        sizes = list(pool.map(_keep_many, [(tmp_path, name) for name in ("a", "b")]))

    assert max(sizes) <= 10_000
    assert 5_000 <= ReadCache(tmp_path, 10_000).size_bytes <= 10_000


def _keep_many(share: tuple[Path, str]) -> int:
    """The most that the folder took after one of 60 entries."""
    folder, name = share
    cache, most = ReadCache(folder, 10_000), 0
    for at in range(60):
        cache.get(f"{name}{at}", lambda: bytes(500))
        most = max(most, cache.size_bytes)
    return most


@pytest.mark.parametrize("place", ["", "below/it"])
def test_a_folder_that_cannot_be_made_costs_no_answer_and_is_logged_once(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = ReadCache(tmp_path / "file" / place, 1_000)

    assert [cache.get(key, lambda: b"content") for key in "aabc"] == [b"content"] * 4
    cache.clear()
    assert ReadCache(tmp_path / "file" / place, 1_000).get("a", lambda: b"content") == b"content"
    assert cache.size_bytes == 0
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"the cache {tmp_path / 'file' / place} cannot be used"
    ]


def test_a_user_without_a_home_folder_reads_all_the_same() -> None:
    cache = ReadCache(None)
    assert [cache.get("a", lambda: b"content") for _ in range(2)] == [b"content"] * 2
    cache.clear()
    assert cache.size_bytes == 0


def test_what_killed_writers_left_is_removed_and_counts(tmp_path: Path) -> None:
    for name in (f".{'0' * 32}", f".staging-{'0' * 32}-x.part"):
        (tmp_path / name).write_bytes(bytes(10_000))
    (tmp_path / ".mine").write_text("stays")

    ReadCache(tmp_path, 1_000).get("a", lambda: b"content")

    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".part"} == {".lock", ".size", ".mine"}


@pytest.mark.parametrize("count", ["", "nonsense", "0", str(2**40)])
def test_a_count_that_is_wrong_costs_no_bound(count: str, tmp_path: Path) -> None:
    first = ReadCache(tmp_path, 1_000)
    for key in "abcdefgh":
        first.get(key, lambda: bytes(100))
    (tmp_path / ".size").write_text(count)

    ReadCache(tmp_path, 1_000).get("next", lambda: bytes(500))

    assert first.size_bytes <= 1_000
    assert first.get("next", _never) == bytes(500)


def test_a_process_that_does_not_release_the_lock_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splat_assets.store.bucket.read_cache._LONGEST_WAIT_SECONDS", 0.0)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ReadCache(tmp_path, 1_000).get("a", lambda: b"content") == b"content"


def test_what_cannot_be_removed_is_not_read_after_it_is_to_be_forgotten(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 1_000)
    cache.get("a", lambda: b"wrong")
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()

    cache.clear()

    assert cache.get("a", lambda: b"right") == b"right"


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 1_000)
    for at in range(9):
        cache.get(str(at), lambda: bytes(96))
    for at, entry in enumerate(sorted(tmp_path.glob("*.part"))):
        os.utime(entry, (at, at))
    cache.get("0", lambda: bytes(96))  # used now, whenever it was written
    cache.get("new", lambda: bytes(96))
    cache.get("newer", lambda: bytes(96))

    assert cache.get("0", _never) == bytes(96)
    assert cache.get("newer", _never) == bytes(96)


def test_what_does_not_fit_is_not_kept(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 100)
    assert len(cache.get("a", lambda: bytes(200))) == 200
    assert cache.size_bytes == 0


def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_BYTES, "4 GiB")
    with pytest.raises(InputError, match="is not a number of bytes"):
        ReadCache(tmp_path)
