"""Receipts: the inputs and outputs of a finished step, and whether it is still up to date.

A step is up to date when its receipt names the same code version and the same inputs as today and its outputs are there in
full. The fingerprint of a receipt covers code version, inputs and the sha256 of the outputs, never a time or a speed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.files import files_below, sha256_of_file, sha256_of_json, write_json
from splat_assets.store.manifest import MANIFEST

_SMALL_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that a step wrote: where (relative to the run), how much, and the sha256 of its content."""

    path: str
    n_files: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a step was done.

    inputs: fingerprint of each thing it was made from. facts: what it reports (JSON values). seconds: how long it took.
    """

    step: str
    code_version: str
    inputs: dict[str, str]
    outputs: tuple[Output, ...]
    facts: dict[str, Any]
    seconds: float

    @property
    def fingerprint(self) -> str:
        """sha256 over step, code version, inputs and outputs; what later steps name as their input."""
        return sha256_of_json(
            {
                "step": self.step,
                "code_version": self.code_version,
                "inputs": self.inputs,
                "outputs": [asdict(output) for output in self.outputs],
            }
        )

    @property
    def size_bytes(self) -> int:
        """All outputs together."""
        return sum(output.size_bytes for output in self.outputs)

    @property
    def path(self) -> str:
        """Where the outputs are, relative to the run: the only one, or the folder that holds them all."""
        return (os.path.commonpath([output.path for output in self.outputs]) or ".") if self.outputs else ""

    def is_for(self, code_version: str, inputs: Mapping[str, str]) -> bool:
        """Whether the step was done by this code version from these inputs."""
        return self.code_version == code_version and self.inputs == dict(inputs)

    def missing_outputs(self, root: Path) -> list[str]:
        """Outputs that are gone or have another size or number of files than when they were written.

        In the working copy of a bucket, what was not pulled counts as present if the bucket has it.
        Only the smallest files are read: a pointer to something else has the same size.
        """
        missing = [o for o in self.outputs if not _looks_as_written(root / o.path, o)]
        copy = WorkingCopy.containing(root.absolute()) if missing else None
        if copy is not None:
            missing = [o for o in missing if not _is_there_alone(copy, root / o.path, o)]
        return [o.path for o in missing]

    def changed_outputs(self, root: Path) -> list[str]:
        """Outputs whose bytes are not those that were written: reads everything."""
        return [o.path for o in self.outputs if _described(root, root / o.path) != o]


def write_receipt(
    folder: Path,
    root: Path,
    step: str,
    code_version: str,
    inputs: Mapping[str, str],
    outputs: Sequence[Path],
    facts: Mapping[str, Any],
    seconds: float,
) -> Receipt:
    """Hash the outputs, write `<folder>/<step>.json` atomically, and return the receipt.

    Args:
        root: of the run; the paths of outputs are recorded relative to it.
        inputs: sha256 of each thing the step was made from, by name.
        outputs: files and folders below root, which are finished.
        facts: what the step reports, as JSON values; not part of the fingerprint.
        seconds: how long it took; not part of the fingerprint.

    Examples:
        >>> size = (folder / "table.txt").write_text("1 2 3")
        >>> receipt = write_receipt(folder, folder, "count", "1", {}, [folder / "table.txt"], {}, 0.5)
        >>> read_receipt(folder, "count") == receipt, receipt.missing_outputs(folder)
        (True, [])
    """
    described = tuple(_described(root, path) for path in outputs)
    receipt = Receipt(step, code_version, dict(inputs), described, dict(facts), round(seconds, 3))
    write_json(folder / f"{step}.json", {**asdict(receipt), "fingerprint": receipt.fingerprint})
    return receipt


def read_receipt(folder: Path, step: str) -> Receipt | None:
    """The receipt of a step; None when the step was not done.

    Raises:
        CorruptStoreError: the file is not a receipt, or was changed after it was written.
    """
    path = folder / f"{step}.json"
    try:
        raw = read_json(path)
        stated = raw.pop("fingerprint")
        receipt = Receipt(**{**raw, "outputs": tuple(Output(**output) for output in raw["outputs"])})
        _refuse_strange_content(receipt)
    except FileNotFoundError:
        return None
    except WRONG_CONTENT as error:
        raise CorruptStoreError(f"{path} is not a receipt ({error}); delete it to run the step again") from error
    if receipt.fingerprint != stated:
        raise CorruptStoreError(f"{path} was changed after it was written; delete it to run the step again")
    return receipt


def sha256_of_tree(files: Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a folder: the sha256 over the relative names and sha256 of its files, sorted by name."""
    tree = hashlib.sha256()
    for name, sha256 in files:
        tree.update(f"{name}\0{sha256}\n".encode())
    return tree.hexdigest()


def _refuse_strange_content(receipt: Receipt) -> None:
    """Raise TypeError for fields of other types than a receipt's."""
    texts = [receipt.step, receipt.code_version, *receipt.inputs.values()]
    texts += [text for output in receipt.outputs for text in (output.path, output.sha256)]
    numbers = [number for output in receipt.outputs for number in (output.n_files, output.size_bytes)]
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("a field is of another type")
    if not isinstance(receipt.facts, dict) or type(receipt.seconds) not in (int, float):
        raise TypeError("facts and seconds are of other types")


def _measure(path: Path) -> tuple[int, int]:
    files = files_below(path) if path.is_dir() else [path] if path.is_file() else []
    return len(files), sum(file.stat().st_size for file in files)


def _looks_as_written(path: Path, output: Output) -> bool:
    if _measure(path) != (output.n_files, output.size_bytes):
        return False
    return path.is_dir() or output.size_bytes > _SMALL_BYTES or _content_hash(path) == output.sha256


def _is_there_alone(copy: WorkingCopy, path: Path, output: Output) -> bool:
    """Whether nothing was pulled of an output that the bucket has whole. Of a version its manifest is pulled in any case."""
    n_here, _ = _measure(path)
    few = n_here == 0 or (n_here == 1 and (path / MANIFEST).is_file())
    return few and copy.exists_remotely(path, output.n_files, output.size_bytes)


def _described(root: Path, path: Path) -> Output:
    n_files, size_bytes = _measure(path)
    return Output(path.relative_to(root).as_posix(), n_files, size_bytes, _content_hash(path))


def _content_hash(path: Path) -> str:
    """A file's sha256, a folder's `sha256_of_tree`."""
    if not path.is_dir():
        return sha256_of_file(path) if path.is_file() else ""
    return sha256_of_tree((file.relative_to(path).as_posix(), sha256_of_file(file)) for file in files_below(path))
