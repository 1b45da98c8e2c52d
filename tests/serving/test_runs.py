"""Versions of all runs side by side: when each was published is what the store recorded."""

import os
import shutil

from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import PUBLICATIONS, read_publications
from splat_assets.store.published.publishing import publish
from splat_serving.database.runs import published_versions


def _listed(root: DataRoot) -> list[tuple[str, str | None, bool, object]]:
    return [(one.run, one.version, one.current, one.published) for one in published_versions(root)]


def test_versions_are_listed_with_their_recorded_time_the_newest_first_also_of_a_copy(own_root: DataRoot) -> None:
    store = own_root.run("small").store
    (first,) = read_publications(store)
    staged = {path.name: path for path in (store / "versions" / first).iterdir() if path.name != "manifest.json"}
    second = publish(store, staged, {"fact": "second"})
    known = read_publications(store)
    listed = _listed(own_root)
    copy = own_root.path.with_name("copy")
    shutil.copytree(own_root.path, copy, copy_function=shutil.copyfile)
    for at, path in enumerate(sorted(copy.rglob("manifest.json"))):
        os.utime(path, (4e9 + at, 4e9 + at))

    assert listed == [("small", second, True, known[second].at), ("small", first, False, known[first].at)]
    assert _listed(DataRoot(copy)) == listed


def test_a_version_without_a_record_has_no_time_and_an_unreadable_record_is_reported(own_root: DataRoot) -> None:
    record = own_root.run("small").store / PUBLICATIONS
    record.unlink()
    (one,) = published_versions(own_root)
    assert (one.current, one.published) == (True, None)

    record.write_text("[")
    (one,) = published_versions(own_root)
    assert one.version is None
    assert "does not say when versions were published" in one.said
