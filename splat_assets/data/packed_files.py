"""Packed files as plain bytes: gzip and zip (of one file) are unpacked whatever the name ends in.

Unpacking is bounded: a few kilobytes can stand for gigabytes, and such a file is refused as soon as that shows. What
is not a file on a disk (a pipe, `<(...)`, `/dev/stdin`) can be read once; `on_disk` copies it for those who read twice.
"""

import gzip
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from splat_assets.errors import InputError

_GZIP, _ZIP = (b"\x1f\x8b",), (b"PK\x03\x04", b"PK\x05\x06")
_OTHER_PACKINGS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_TIMES, _FREE_BYTES = 200, 2**26
"""Text packs to a tenth, seldom to a fiftieth; small files may unpack to 64 MiB whatever the ratio."""


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked.

    Raises InputError for another packing, for UTF-16, for a zip of more than one file, and, while it is read, for more than 200
    times the packed size (or 64 MiB, if that is more).

    Whatever gzip, zip and the file system raise comes as it is.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        start = file.peek(8)[:8]
        for mark, name in _OTHER_PACKINGS.items():
            if start.startswith(mark):
                raise InputError(f"{path} is packed with {name}: unpack it first, or pack it with gzip or zip")
        if start.startswith(_UTF_16):
            raise InputError(f"{path} is UTF-16 text; save it as UTF-8")
        if start.startswith(_GZIP):
            yield io.BufferedReader(_Bounded(stack.enter_context(gzip.open(file)), path))
        elif start.startswith(_ZIP):
            archive = stack.enter_context(zipfile.ZipFile(file))
            member = stack.enter_context(archive.open(_only_member(archive, path)))
            yield io.BufferedReader(_Bounded(member, path))
        else:
            yield file


def is_packed(path: Path) -> bool:
    """Whether a file is gzip or zip, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4).startswith(_GZIP + _ZIP)


@contextmanager
def on_disk(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The files that can be read as often as one likes: copies of pipes and devices, of the same name, the others themselves."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = []
        for number, path in enumerate(paths):
            if path.exists() and not path.is_file() and not path.is_dir():
                copy = Path(scratch) / str(number) / path.name
                copy.parent.mkdir()
                with path.open("rb") as stream, copy.open("wb") as held:
                    shutil.copyfileobj(stream, held)
                path = copy
            kept.append(path)
        yield kept


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one file of a zip archive; what macOS adds of its own does not count."""
    members = [each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(each.filename for each in members[:3]) + (", ..." if len(members) > 3 else "")
        raise InputError(
            f"{path} is a zip of {len(members)} files ({names}), not of one: unpack it, and pass each file"
        )
    if members[0].flag_bits & 1:
        raise InputError(f"{path} is a zip with a password: unpack it first")
    return members[0]


class _Bounded(io.RawIOBase):
    """What is unpacked, up to the bound."""

    def __init__(self, unpacking: gzip.GzipFile | IO[bytes], path: Path) -> None:
        self._unpacking, self._path, self._n_bytes = unpacking, path, 0
        self._most = max(_FREE_BYTES, _MOST_TIMES * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._unpacking.read(len(buffer))
        self._n_bytes += len(block)
        if self._n_bytes > self._most:
            raise InputError(
                f"{self._path} has {self._path.stat().st_size:,} bytes, which unpack to more than {self._most:,}: "
                f"no text compresses that well; if the file is genuine, unpack it first"
            )
        buffer[: len(block)] = block
        return len(block)
