"""`SHA256SUMS` beside files: what they held when they were written, in the form that `sha256sum -c` checks.

Text, JSON and safetensors hold no checksum, so a bit that flips in them makes another file of the same kind. What our commands
write for later runs is listed beside it; files that somebody else lists this way are held against their list too.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from splat_assets.errors import InputError, SplatError
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import replacing_file, sha256_of_file

SUMS = "SHA256SUMS"
_LINE = re.compile(r"(?P<sha256>[0-9a-fA-F]{64}) [ *](?:\./)?(?P<name>[^/\\]+)")


def record_sums(folder: Path, names: Sequence[str]) -> None:
    """List the files of these names with their sha256 in the folder's SHA256SUMS; lines of other files stay."""
    ours = {name: f"{sha256_of_file(folder / name)}  {name}" for name in names}
    others = [
        line for line in _lines(folder) if (listed := _LINE.fullmatch(line)) is None or listed["name"] not in ours
    ]
    with replacing_file(folder / SUMS) as aside:
        aside.write_text("".join(f"{line}\n" for line in (*others, *ours.values())), encoding="utf-8")


def recorded_sum(path: Path) -> str | None:
    """The sha256 that SHA256SUMS beside the file lists for it, in hex; None where it is not listed."""
    listed = [match for line in _lines(path.parent) if (match := _LINE.fullmatch(line)) and match["name"] == path.name]
    return listed[-1]["sha256"].lower() if listed else None


@contextmanager
def as_recorded(*paths: Path) -> Iterator[None]:
    """Around the reading of files. Raises FingerprintMismatchError when one differs from what is listed beside it.

    An error from inside comes first, since it says where, with the difference added.
    """
    try:
        yield
    except FingerprintMismatchError:
        raise  # it says already what differs
    except SplatError as error:
        try:
            _refuse_altered(paths)
        except SplatError as altered:
            raise InputError(f"{error}. The cause may be damage: {altered}") from error
        raise
    _refuse_altered(paths)


def _refuse_altered(paths: Sequence[Path]) -> None:
    for path in paths:
        listed = recorded_sum(path) if path.is_file() else None
        if listed is not None and (now := sha256_of_file(path)) != listed:
            raise FingerprintMismatchError(
                f"{path} is damaged or was changed: it is not the file that {SUMS} beside it lists",
                listed,
                now,
                f"copy it again; if the change is intended, remove its line from {path.parent / SUMS}",
            )


def _lines(folder: Path) -> list[str]:
    path = folder / SUMS
    if not path.is_file():
        return []
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
