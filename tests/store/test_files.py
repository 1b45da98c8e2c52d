"""What appears is whole and on the disk before it appears: a power cut leaves what was there, or what is new."""

import ctypes
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splat_assets.errors import InputError
from splat_assets.store.files import (
    _swap_by_renaming,
    files_below,
    locked,
    remove_leftovers,
    replaceable_folder,
    replacing_file,
    replacing_folder,
    sha256_of_file,
    sha256_of_json,
    staging_path,
    write_json,
)


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"

    with replacing_file(target) as aside:
        aside.write_text("content")
        assert not target.exists()

    assert target.read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_whose_writer_fails_stays_what_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("before")

    with pytest.raises(RuntimeError), replacing_file(target) as aside:
        aside.write_text("half")
        raise RuntimeError

    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    for content in ("first", "second"):
        with replacing_folder(target) as aside:
            (aside / "deep").mkdir()
            (aside / "deep" / content).touch()

    assert [path.name for path in files_below(target)] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_whose_writer_fails_stays_what_it_was(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "before").touch()

    with pytest.raises(RuntimeError), replacing_folder(target) as aside:
        (aside / "half").touch()
        raise RuntimeError

    assert [path.name for path in files_below(target)] == ["before"]
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_are_only_what_this_module_makes(tmp_path: Path) -> None:
    file, folder, nameless = (staging_path(tmp_path / name) for name in ("a", "b", "my-b"))
    file.touch()
    for made in (folder, nameless, tmp_path / ".staging-site", tmp_path / ".staging-segments-b"):
        made.mkdir()
    (folder / "deep").touch()
    (tmp_path / "kept").touch()

    assert remove_leftovers(tmp_path, "b") == [folder]
    assert sorted(remove_leftovers(tmp_path)) == sorted([file, nameless])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".staging-segments-b", ".staging-site", "kept"]
    assert remove_leftovers(tmp_path / "not there") == []


def test_what_a_living_writer_is_at_work_on_is_no_leftover(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "folder") as folder, replacing_file(tmp_path / "file") as file:
        (folder / "half").touch()
        file.write_text("half")

        assert remove_leftovers(tmp_path) == []

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("target", ["file", "folder"])
def test_what_a_killed_writer_was_at_work_on_is_a_leftover(target: str, tmp_path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(tmp_path / target,))
    writer.start()
    writer.join()
    assert writer.exitcode == 9 and len(list(tmp_path.iterdir())) == 1

    assert len(remove_leftovers(tmp_path, target)) == 1

    assert list(tmp_path.iterdir()) == []


def die_while_writing(target: Path) -> None:
    with replacing_folder(target) if target.name == "folder" else replacing_file(target):
        os._exit(9)


def test_a_folder_moved_aside_by_a_killed_writer_is_put_back(tmp_path: Path) -> None:
    old = staging_path(tmp_path / "old-tree")
    old.mkdir()
    (old / "before").touch()

    assert remove_leftovers(tmp_path, "tree") == []

    assert [path.name for path in files_below(tmp_path / "tree")] == ["before"]


def test_where_folders_cannot_be_exchanged_the_old_one_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splat_assets.store.files._exchanged", lambda one, other: False)
    (tmp_path / "tree").mkdir()

    with replacing_folder(tmp_path / "tree") as aside:
        (aside / "new").touch()

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["tree", "tree/new"]


def test_a_swap_that_fails_half_way_puts_the_old_folder_back(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "before").touch()

    with pytest.raises(FileNotFoundError):
        _swap_by_renaming(tmp_path / "not there", tmp_path / "tree")

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["tree", "tree/before"]


def test_files_below_are_sorted_and_without_leftovers(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/.staging-1-x", ".staging-2-y/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["a/z", "b"]


def test_json_is_written_sorted_and_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "ä", "a": [1, 2.5, None]})

    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"') and "ä" in text and text.endswith("}\n")
    assert json.loads(text) == {"a": [1, 2.5, None], "b": "ä"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_of_what_is_no_number_is_refused_and_nothing_written(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": value})

    assert list(tmp_path.iterdir()) == []


def test_hashes_are_those_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")

    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of_json({"b": 1, "a": [2]}) == hashlib.sha256(b'{"a":[2],"b":1}').hexdigest()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The calls to the operating system, in order: ("flush" or "rename", inode)."""
    seen: list[tuple[str, int]] = []

    def noting(name: str, inode: Callable[..., int]) -> None:
        call = getattr(os, name)

        def noted(*arguments: Any, **more: Any) -> Any:
            seen.append(("flush" if name == "fsync" else "rename", inode(*arguments)))
            return call(*arguments, **more)

        monkeypatch.setattr(os, name, noted)

    noting("fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    noting("replace", lambda source, _: os.stat(source).st_ino)
    noting("rename", lambda source, _: os.stat(source).st_ino)
    return seen


def test_a_file_is_flushed_before_it_takes_its_place_and_its_folder_after(
    tmp_path: Path, calls: list[tuple[str, int]]
) -> None:
    with replacing_file(tmp_path / "table") as aside:
        aside.write_text("new")

    file, folder = (tmp_path / "table").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("flush", file), ("rename", file), ("flush", folder)]


def test_every_file_and_folder_of_a_tree_is_flushed_before_the_tree_takes_its_place(
    tmp_path: Path, calls: list[tuple[str, int]]
) -> None:
    with replacing_folder(tmp_path / "version") as aside:
        (aside / "inner").mkdir()
        for name in ("a", "inner/b"):
            (aside / name).write_text(name)

    tree = tmp_path / "version"
    parts = {path.stat().st_ino for path in (tree, *tree.rglob("*"))}
    renamed = calls.index(("rename", tree.stat().st_ino))
    assert {inode for kind, inode in calls[:renamed] if kind == "flush"} == parts
    assert ("flush", tmp_path.stat().st_ino) in calls[renamed:]


@pytest.mark.parametrize(("n_files", "has_one_call"), [(3, True), (1_100, True), (1_100, False)])
def test_a_tree_is_flushed_file_by_file_or_in_one_call_before_it_takes_its_place(
    n_files: int,
    has_one_call: bool,
    tmp_path: Path,
    calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many files in one call for their file system where that exists, and each of them by itself elsewhere."""
    libc, complete = ctypes.CDLL(None, use_errno=True), []

    def syncfs(descriptor: int) -> int:
        calls.append(("flush all", os.fstat(descriptor).st_ino))
        complete.append(len(os.listdir(f"/proc/self/fd/{descriptor}")) == n_files)
        return int(libc.syncfs(descriptor))

    result = SimpleNamespace(syncfs=syncfs) if has_one_call else SimpleNamespace()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: result)

    with replacing_folder(tmp_path / "version") as aside:
        for i in range(n_files):
            (aside / str(i)).touch()

    itself = (tmp_path / "version").stat().st_ino
    each = {path.stat().st_ino for path in (tmp_path / "version").iterdir()}
    before = calls[: calls.index(("rename", itself))]
    if n_files > 1_000 and has_one_call:
        assert before == [("flush all", itself), ("flush", itself)]
        assert complete == [True], "once, when all of them are there"
    else:
        assert {inode for kind, inode in before if kind == "flush"} == each | {itself}
        assert before[-1] == ("flush", itself) and ("flush all", itself) not in before


def hold(lock: Path, seconds: float, inside: Path) -> None:
    with locked(lock):
        inside.touch()
        time.sleep(seconds)
        inside.unlink()


def test_one_process_at_a_time_is_inside_a_lock(tmp_path: Path) -> None:
    lock, inside = tmp_path / "new" / ".lock", tmp_path / "inside"
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(lock, 0.5, inside))
    other.start()
    while not inside.exists():
        assert other.is_alive()
        time.sleep(0.01)

    with locked(lock):
        assert not inside.exists()

    other.join()
    assert other.exitcode == 0


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    lock, inside = tmp_path / ".lock", tmp_path / "inside"
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(lock, 600.0, inside))
    other.start()
    while not inside.exists():
        assert other.is_alive()
        time.sleep(0.01)

    other.kill()
    other.join()

    with locked(lock):
        assert os.path.exists(inside)


def everything(name: str) -> bool:
    return True


def nothing(name: str) -> bool:
    return False


def test_a_folder_that_holds_what_a_writer_did_not_make_is_not_replaceable(tmp_path: Path) -> None:
    for name in ("neuron_0000", "thesis"):
        (tmp_path / name).mkdir()

    with pytest.raises(InputError, match="holds thesis, which would be lost"):
        replaceable_folder(tmp_path, lambda name: name.startswith("neuron_"))


def test_a_folder_with_nothing_but_a_writers_own_is_replaceable(tmp_path: Path) -> None:
    (tmp_path / "neuron_0000").mkdir()

    assert replaceable_folder(tmp_path, everything) == tmp_path
    assert replaceable_folder(tmp_path / "new", nothing) == tmp_path / "new"


@pytest.mark.parametrize("folder", [".", "..", "../here"])
def test_the_folder_one_stands_in_is_not_replaceable(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    with pytest.raises(InputError, match="is the current folder or a mount point"):
        replaceable_folder(Path(folder), everything)


def test_a_file_is_no_folder_to_replace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="file is a file; choose a folder"):
        replaceable_folder(tmp_path / "file", everything)


def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    for name in ("disk", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "old").touch()
    (tmp_path / "notes" / "file").touch()
    (tmp_path / "folder").symlink_to("disk")
    (tmp_path / "file").symlink_to("notes/file")

    with replacing_folder(tmp_path / "folder") as aside:
        (aside / "new").touch()
    with replacing_file(tmp_path / "file") as aside:
        aside.write_text("new")

    assert (tmp_path / "folder").is_symlink() and (tmp_path / "file").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["new"]
    assert (tmp_path / "notes" / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "file", "folder", "notes"]
