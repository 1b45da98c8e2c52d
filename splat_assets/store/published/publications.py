"""Publication records of a store's versions: a sequence number and a time, written when `CURRENT` is switched.

    store/publications.json   per version its last publication: {"version", "sequence", "at"}

What is newest is read here and never off file times, which every copy changes. The sequence alone decides, because clocks go
back: each publication has a number above those of every store of the data root, as far as the publisher sees them. A version
without a record, of a store that an older program wrote, is older than all that have one; such versions are ordered by id.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.files import FileMark, file_mark, replacing_file
from splat_assets.store.layout import RunLayout
from splat_assets.store.manifest import VERSION_ID

logger = logging.getLogger(__name__)

PUBLICATIONS = "publications.json"
_FORMAT = ("splat-publications", 1)
_BEFORE_RECORDS = 0
_UNRECORDED = -1


@dataclass(frozen=True, slots=True)
class Publication:
    """The last publication of a version. sequence: 0 for one that was current before publications were recorded; then at is None.

    at: UTC, to be read by people.
    """

    version: str
    sequence: int
    at: datetime | None


Publications = Mapping[str, Publication]
"""By version."""


def read_publications(store: Path) -> Publications:
    """The publications of a store's versions, empty where none is recorded; CorruptStoreError when the record cannot be read."""
    path = store / PUBLICATIONS
    mark = file_mark(path)
    if mark is not None:
        return _read(path, mark)
    if os.path.lexists(path):
        raise CorruptStoreError(f"{path} is not a file: move it away")
    return {}


def publication_order(publications: Publications) -> Callable[[str], tuple[int, str]]:
    """What versions of one store are sorted by: those that were published later are greater."""

    def order(version: str) -> tuple[int, str]:
        known = publications.get(version)
        return (known.sequence if known else _UNRECORDED, version)

    return order


def stores_beside(store: Path) -> list[Path]:
    """The stores of all runs of the data root that a run's store lies in, its own included; for a store by itself that one."""
    layout = RunLayout(store.absolute().parent)
    if layout.store != store.absolute() or not layout.config.is_file():
        return [store]
    return [path.parent for path in layout.data_root.runs.glob(f"*/{layout.store.name}/{PUBLICATIONS}")]


def highest_sequence(stores: Iterable[Path]) -> int:
    """The highest number in the records of stores, 0 for none; the log names a record that cannot be read."""
    highest = _BEFORE_RECORDS
    for store in stores:
        try:
            highest = max([highest, *(one.sequence for one in read_publications(store).values())])
        except CorruptStoreError as error:
            logger.warning("%s", error)
    return highest


def with_publication(publications: Publications, version: str, current: str | None, highest: int) -> Publications:
    """The publications after a version became the current one; unchanged when it is that already.

    current: the version before, None for none. highest: see `highest_sequence`.
    """
    if version == current and version in publications:
        return publications
    known = dict(publications)
    if current is not None and current not in known:
        known[current] = Publication(current, _BEFORE_RECORDS, None)
    sequence = 1 + max([highest, *(one.sequence for one in known.values())])
    known[version] = Publication(version, sequence, datetime.now(UTC).replace(microsecond=0))
    return known


def encoded_publications(publications: Publications) -> bytes:
    """The content of `publications.json`."""
    rows = [
        {"version": one.version, "sequence": one.sequence, "at": one.at.isoformat() if one.at else None}
        for one in sorted(publications.values(), key=lambda one: (one.sequence, one.version))
    ]
    content = {"format": _FORMAT[0], "format_version": _FORMAT[1], "publications": rows}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def parsed_publications(content: bytes, path: Path | str) -> Publications:
    """The publications in the content of a file; CorruptStoreError names path."""
    try:
        raw = json.loads(content)
        form = (raw["format"], raw["format_version"])
        if form != _FORMAT:
            raise ValueError(f"it is of format {form[0]} {form[1]}, and this program reads {_FORMAT[0]} {_FORMAT[1]}")
        return {one.version: one for one in map(_publication, raw["publications"])}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise CorruptStoreError(
            f"{path} does not say when versions were published ({why[:200]}): restore the file, or move it away; "
            "without it the versions there are count as older than all that are published from now on"
        ) from error


def write_publications(store: Path, publications: Publications) -> None:
    """Write `publications.json`, where it does not say that already."""
    content = encoded_publications(publications)
    path = store / PUBLICATIONS
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing_file(path) as aside:
        aside.write_bytes(content)


@lru_cache(maxsize=512)
def _read(path: Path, mark: FileMark) -> Publications:
    """As parsed once per state of the file: a server asks at every request which run is the newest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptStoreError(f"{path} cannot be read: {error.strerror}") from error
    return parsed_publications(content, path)


def _publication(row: Any) -> Publication:
    version, sequence, at = row["version"], row["sequence"], row["at"]
    if not VERSION_ID.fullmatch(version):
        raise ValueError(f"{version[:40]!r} is not the id of a version")
    if type(sequence) is not int or sequence < _BEFORE_RECORDS:
        raise ValueError(f"the sequence of version {version} is not a whole number of 0 or more")
    return Publication(version, sequence, None if at is None else datetime.fromisoformat(at).astimezone(UTC))
