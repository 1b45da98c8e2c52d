"""The instructions for AI assistants that lie beside this file, put into a project: what was written, and what was left alone.

`skills/` and `commands/` have the shape that they have in a project's `.claude`.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from splat_assets.errors import InputError
from splat_assets.store.files import replacing_file, write_json

FOLDER = ".claude"
RECEIPT = "splat.json"
"""In FOLDER: the sha256 of each file as it was written, by which a file that somebody changed is known."""
_PARTS = ("skills", "commands")

What = Literal["written", "updated", "unchanged", "kept", "replaced"]


@dataclass(frozen=True, slots=True)
class Installed:
    """One file of the instructions, by its path, and what became of it. kept: somebody changed it, so it was left alone."""

    path: Path
    what: What


def instructions() -> dict[str, bytes]:
    """The content of each file, by its path below a project's `.claude`."""
    root = files(__package__)
    return {name: content for part in _PARTS for name, content in _files(root / part, part)}


def install(project: Path, force: bool = False) -> list[Installed]:
    """Put the instructions into a project's `.claude`; a file that somebody changed is replaced only by force."""
    if not project.is_dir():
        raise InputError(
            f"the folder {project} does not exist; give the folder of the project that the assistant works in"
        )
    folder = project / FOLDER
    receipt = _receipt(folder / RECEIPT)
    done = []
    for name, content in instructions().items():
        done.append(Installed(folder / name, _installed(folder / name, content, receipt.get(name), force)))
        if done[-1].what != "kept":
            receipt[name] = _sha256(content)
    if any(one.what in ("written", "updated", "replaced") for one in done):
        write_json(folder / RECEIPT, receipt)
    return done


def _installed(path: Path, content: bytes, written_before: str | None, force: bool) -> What:
    there = path.read_bytes() if path.exists() else None
    if there == content:
        return "unchanged"
    what: What = "written"
    if there is not None:
        what = "updated" if _sha256(there) == written_before else "replaced"
    if what == "replaced" and not force:
        return "kept"
    with replacing_file(path) as staged:
        staged.write_bytes(content)
    return what


def _receipt(path: Path) -> dict[str, str]:
    """What was written before; nothing where that is not known, so that all that differs counts as changed."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _files(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{name}/{entry.name}")
        else:
            yield f"{name}/{entry.name}", entry.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
