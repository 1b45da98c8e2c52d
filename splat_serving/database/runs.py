"""The published versions of every run of a data root, with the scorecards of their SAEs."""

from datetime import datetime
from pathlib import Path

from splat_assets.errors import SplatError
from splat_assets.store.documents import entries, in_words
from splat_assets.store.layout import DataRoot, is_name
from splat_assets.store.manifest import VERSION_ID, Manifest
from splat_assets.store.published.publications import publication_order, read_publications
from splat_assets.store.published.publishing import current_version
from splat_serving.database.home import scorecard_of
from splat_serving.database.protocol import Published


def published_versions(root: DataRoot) -> list[Published]:
    """Every version of every run, by run and the newest first; a run without versions has a single entry."""
    return [one for name in root.run_names() if is_name(name) for one in _of_run(root, name)]


def _of_run(root: DataRoot, name: str) -> list[Published]:
    layout = root.run(name)
    try:
        current = current_version(layout.store)
        publications = read_publications(layout.store)
        folders = [one for one in entries(layout.store / "versions") if VERSION_ID.fullmatch(one.name)]
    except SplatError as error:
        return [Published(name, None, said=str(error))]
    order = publication_order(publications)
    versions = []
    for folder in sorted(folders, key=lambda one: order(one.name), reverse=True):
        known = publications.get(folder.name)
        versions.append(_of_version(root, name, folder, folder.name == current, known.at if known else None))
    return versions


def _of_version(root: DataRoot, name: str, folder: Path, current: bool, published: datetime | None) -> Published:
    try:
        manifest = Manifest.load(folder)
    except (SplatError, OSError) as error:
        return Published(name, folder.name, current, published, said=in_words(error))
    try:
        card, said = scorecard_of(root.run(name), manifest.provenance), ""
    except SplatError as error:
        card, said = {}, str(error)
    return Published(
        name, folder.name, current, published, manifest.n_samples, manifest.n_features, manifest.nnz, card, said
    )
