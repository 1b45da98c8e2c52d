"""The read cache: bounded, whole, and right."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_assets.store.read_cache import CACHE_BYTES, ReadCache


def _never() -> bytes:
    raise AssertionError("it was asked for again")


def test_what_was_read_is_not_asked_for_again(tmp_path: Path) -> None:
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
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))  # type: ignore[operator]

    assert cache.get("a", lambda: b"content") == b"content"
    assert cache.get("a", _never) == b"content"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300)), max_size=60))
def test_it_never_takes_more_than_its_bound(asked: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache = ReadCache(Path(folder), 1_000)
        for key, size in asked:
            content = bytes([key]) * size
            assert cache.get(f"{key}:{size}", lambda content=content: content) == content  # type: ignore[misc]
            assert cache.size_bytes <= 1_000


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    import os

    cache = ReadCache(tmp_path, 1_000)
    for at in range(9):
        cache.get(str(at), lambda: bytes(96))
    for at, entry in enumerate(sorted(tmp_path.iterdir())):
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
    with pytest.raises(InputError, match="is no number of bytes"):
        ReadCache(tmp_path)
