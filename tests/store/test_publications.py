"""What was published last is recorded: copies, clocks and crashes change nothing about it."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import PUBLICATIONS, read_publications
from splat_assets.store.published.publishing import (
    current_version,
    newest_run,
    open_store,
    publish,
    remove_old_versions,
)
from tests.store.making import DENSE, SAE, staged_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a version is made of; other facts make another version of it."""
    return staged_parts(tmp_path_factory.mktemp("staged"), DENSE)


def _publish(store: Path, parts: dict[str, Path], fact: str) -> str:
    return publish(store, parts, {**SAE, "fact": fact})


def _root(tmp_path: Path, *runs: str) -> DataRoot:
    root = DataRoot(tmp_path / "data")
    for name in runs:
        root.run(name).root.mkdir(parents=True)
        root.run(name).config.write_text("")
    return root


def _sequences(store: Path) -> dict[str, int]:
    return {version: one.sequence for version, one in read_publications(store).items()}


def _with_other_times(root: DataRoot) -> None:
    """Give files times as a copy may: the older the file, the later; all in the future."""
    files = sorted(root.path.rglob("*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for at, path in enumerate(files):
        os.utime(path, (4e9 + at, 4e9 + at))


def test_the_newest_run_is_the_one_published_last_whatever_the_times_of_files(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    root = _root(tmp_path, "b", "c", "a", "unpublished")
    for name in ("b", "c", "a"):
        _publish(root.run(name).store, parts, "first")
    assert newest_run(root) == "a"
    _publish(root.run("c").store, parts, "second")

    _with_other_times(root)

    assert newest_run(root) == "c"
    copy = DataRoot(tmp_path / "copy")
    shutil.copytree(root.path, copy.path, copy_function=shutil.copyfile)
    assert newest_run(copy) == "c"
    _publish(copy.run("b").store, parts, "second")
    assert newest_run(copy) == "b"


def test_a_data_root_without_a_published_run_has_no_newest_one(tmp_path: Path) -> None:
    assert newest_run(_root(tmp_path, "a")) is None


def test_the_sequence_decides_and_not_the_clock(tmp_path: Path, parts: dict[str, Path]) -> None:
    root = _root(tmp_path, "a", "b")
    first = _publish(root.run("a").store, parts, "first")
    record = root.run("a").store / PUBLICATIONS
    record.write_text(record.read_text().replace('"at": "20', '"at": "29'))  # its clock was wrong by centuries
    second = _publish(root.run("a").store, parts, "second")
    third = _publish(root.run("a").store, parts, "third")

    assert remove_old_versions(root.run("a").store, keep_last=2) == [first]
    assert second in _sequences(root.run("a").store)
    assert newest_run(root) == "a"
    _publish(root.run("b").store, parts, "first")
    assert newest_run(root) == "b"
    assert current_version(root.run("a").store) == third


def test_a_version_published_again_is_the_newest_again_and_the_current_one_stays_as_it_is(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    store = tmp_path / "store"
    first, second = _publish(store, parts, "first"), _publish(store, parts, "second")
    assert _sequences(store) == {first: 1, second: 2}

    _publish(store, parts, "second")
    assert _sequences(store) == {first: 1, second: 2}
    _publish(store, parts, "first")

    assert _sequences(store) == {first: 3, second: 2}


def test_the_same_version_at_another_time_and_place_has_the_same_id(tmp_path: Path, parts: dict[str, Path]) -> None:
    _publish(tmp_path / "other", parts, "first")

    assert _publish(tmp_path / "other", parts, "second") == _publish(tmp_path / "store", parts, "second")


def test_a_publisher_killed_before_the_pointer_was_switched_leaves_the_order_as_it_was(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    root = _root(tmp_path, "a", "b")
    first = _publish(root.run("a").store, parts, "first")
    _publish(root.run("b").store, parts, "first")
    killed = _publish(root.run("a").store, parts, "second")
    (root.run("a").store / "CURRENT").write_text(
        f"{first}\n"
    )  # as it is when the record is written and the pointer is not

    assert newest_run(root) == "b"
    assert _publish(root.run("a").store, parts, "second") == killed
    assert newest_run(root) == "a"


def test_publishers_at_once_get_different_numbers(tmp_path: Path, parts: dict[str, Path]) -> None:
    threads = [threading.Thread(target=_publish, args=(tmp_path / "store", parts, str(i))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    sequences = _sequences(tmp_path / "store")
    assert sorted(sequences.values()) == [1, 2, 3, 4]
    assert sequences[current_version(tmp_path / "store")] == 4


def test_versions_of_a_store_without_a_record_are_older_than_recorded_ones_and_the_current_one_is_the_newest_of_them(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    store = tmp_path / "store"
    old = [_publish(store, parts, fact) for fact in ("first", "second", "third", "fourth")]
    (store / PUBLICATIONS).unlink()
    lowest, *others = sorted(old)
    (store / "CURRENT").write_text(f"{lowest}\n")
    assert open_store(store).version == lowest

    new = _publish(store, parts, "new")

    assert _sequences(store) == {lowest: 0, new: 1}
    assert read_publications(store)[lowest].at is None
    assert remove_old_versions(store, keep_last=3) == others[:2]
    assert remove_old_versions(store, keep_last=2) == others[2:]


def test_among_runs_without_a_record_the_last_by_name_is_the_newest(tmp_path: Path, parts: dict[str, Path]) -> None:
    root = _root(tmp_path, "a", "b", "c")
    for name in ("c", "b", "a"):
        _publish(root.run(name).store, parts, "first")
        (root.run(name).store / PUBLICATIONS).unlink()
    _with_other_times(root)
    assert newest_run(root) == "c"

    _publish(root.run("b").store, parts, "second")

    assert newest_run(root) == "b"


_DAMAGE = [b"", b"[", b"[" * 100_000, b"null", b"{}", b"\xff", b'{"format": "splat-publications", "format_version": 2}']


@pytest.mark.parametrize("content", _DAMAGE, ids=lambda content: content[:12].decode(errors="replace"))
def test_a_record_that_cannot_be_read_is_one_sentence_and_takes_no_other_run_down(
    content: bytes, tmp_path: Path, parts: dict[str, Path]
) -> None:
    root = _root(tmp_path, "a", "b", "z")
    for name in ("a", "b", "z"):
        _publish(root.run(name).store, parts, "first")
    store = root.run("z").store
    (store / PUBLICATIONS).write_bytes(content)

    assert newest_run(root) == "b"
    assert open_store(store).verify() == []
    with pytest.raises(CorruptStoreError, match="does not say when versions were published .* move it away"):
        publish(store, parts, {"fact": "second"})
    with pytest.raises(CorruptStoreError, match="does not say when"):
        remove_old_versions(store, keep_last=1)
    _publish(root.run("a").store, parts, "second")
    assert newest_run(root) == "a"


@pytest.mark.parametrize("change", [{"sequence": -1}, {"sequence": True}, {"version": "../x"}, {"at": "yesterday"}])
def test_a_row_that_no_publisher_wrote_is_damage(
    change: dict[str, object], tmp_path: Path, parts: dict[str, Path]
) -> None:
    _publish(tmp_path, parts, "first")
    written = json.loads((tmp_path / PUBLICATIONS).read_text())
    written["publications"][0].update(change)
    (tmp_path / PUBLICATIONS).write_text(json.dumps(written))

    with pytest.raises(CorruptStoreError, match="does not say when"):
        read_publications(tmp_path)


def test_a_record_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / PUBLICATIONS)

    with pytest.raises(CorruptStoreError, match="is not a file"):
        read_publications(tmp_path)
