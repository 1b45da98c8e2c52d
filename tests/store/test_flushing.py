"""What appears is on the disk before it appears: a power cut leaves what was there, or what is new, and nothing between."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splat_assets.store import files
from splat_assets.store.files import replacing_file, replacing_folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the operating system was asked, in order: ("flush" or "rename", inode)."""
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


def test_a_tree_of_many_files_is_flushed_by_one_call(
    tmp_path: Path, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[list[str]] = []

    def whole_file_system(folder: Path) -> bool:
        flushed.append(sorted(path.name for path in folder.iterdir()))
        return True

    monkeypatch.setattr(files, "_MANY_ENTRIES", 3)
    monkeypatch.setattr(files, "_sync_file_system_of", whole_file_system)
    with replacing_folder(tmp_path / "version") as aside:
        for name in "abcd":
            (aside / name).write_text(name)

    assert flushed == [list("abcd")], "once, when all of them are there"
    assert [kind for kind, inode in calls if inode == (tmp_path / "version" / "a").stat().st_ino] == []
