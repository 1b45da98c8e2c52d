"""The newest run of a data root: the one whose current version was published last, by the records."""

import logging
from functools import lru_cache
from pathlib import Path

from splat_assets.errors import SplatError
from splat_assets.store.files import FileMark, file_mark
from splat_assets.store.layout import DataRoot, is_name
from splat_assets.store.published.publications import PUBLICATIONS, read_publications
from splat_assets.store.published.publishing import current_version

logger = logging.getLogger(__name__)


def newest_run(root: DataRoot) -> str | None:
    """The default run; None when no run has a published version.

    Two runs of the same number were published at the same moment by machines that did not see each other: the time, then the
    name decides. Runs without a record are older than all others, and the last by name is the newest of them. One whose
    pointer or record cannot be read comes after those.
    """
    ranks = {}
    for name in root.run_names():
        if is_name(name):
            store = root.run(name).store
            pointer = file_mark(store / "CURRENT")
            if pointer is not None:
                ranks[name] = _rank(store, pointer, file_mark(store / PUBLICATIONS))
    return max(ranks, key=lambda name: (*ranks[name], name), default=None)


@lru_cache(maxsize=4_096)
def _rank(store: Path, pointer: FileMark, record: FileMark | None) -> tuple[int, str]:
    """The number and the time of the current version's publication; read once per state of the files that say so."""
    try:
        version = current_version(store)
    except SplatError:
        return -2, ""  # whoever opens it says why
    try:
        publication = read_publications(store).get(version)
    except SplatError as error:
        logger.warning("%s", error)
        return -1, ""
    if publication is None:
        return -1, ""
    return publication.sequence, publication.at.isoformat() if publication.at else ""
