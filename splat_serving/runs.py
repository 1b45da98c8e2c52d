"""The published versions of every run of a data root, with what is known of their SAEs: to be laid side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from splat_assets.errors import SplatError
from splat_assets.store.layout import DataRoot, is_name
from splat_assets.store.manifest import MANIFEST, VERSION_ID, Manifest
from splat_assets.store.published import current_version
from splat_serving.scorecards import scorecard_of


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a run, or a run without any. published: when, UTC. scorecard: figures of its SAE; empty where they are not
    known, and then `said` says why, as it does where the version cannot be read."""

    run: str
    version: str | None
    current: bool = False
    published: datetime | None = None
    n_samples: int | None = None
    n_features: int | None = None
    n_activations: int | None = None
    scorecard: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""


def published_versions(root: DataRoot) -> list[Published]:
    """Every version of every run, by run and the newest first; a run without one has a single entry that says so."""
    return [one for name in root.run_names() if is_name(name) for one in _of_run(root, name)]


def _of_run(root: DataRoot, name: str) -> list[Published]:
    layout = root.run(name)
    try:
        current = current_version(layout.store)
    except SplatError as error:
        return [Published(name, None, said=str(error))]
    folders = [one for one in (layout.store / "versions").iterdir() if VERSION_ID.fullmatch(one.name)]
    found = [_of_version(root, name, folder, folder.name == current) for folder in folders]
    return sorted(found, key=lambda one: (one.published is not None, one.published), reverse=True)


def _of_version(root: DataRoot, name: str, folder: Path, current: bool) -> Published:
    try:
        manifest = Manifest.load(folder)
        published = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
    except (SplatError, OSError) as error:
        return Published(name, folder.name, current, said=str(error))
    try:
        card, said = scorecard_of(root.run(name), manifest.provenance), ""
    except SplatError as error:
        card, said = {}, str(error)
    return Published(
        name, folder.name, current, published, manifest.n_samples, manifest.n_features, manifest.nnz, card, said
    )
