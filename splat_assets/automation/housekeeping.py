"""Nightly: verify each published store and remove old versions, never the current or pinned ones."""

from dataclasses import dataclass

from splat_assets.automation.activity import record_activity
from splat_assets.automation.settings import read_settings
from splat_assets.errors import SplatError
from splat_assets.store.documents import in_words
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import open_store, remove_old_versions
from splat_assets.text.progress import Progress, SilentProgress


@dataclass(frozen=True, slots=True)
class Kept:
    """The result for a run's store.

    version: the current one, which was verified. problems: its defects; nothing is removed while there are any.
    removed: ids of the removed versions.
    """

    run: str
    version: str
    problems: tuple[str, ...]
    removed: tuple[str, ...]


def verify_and_prune(root: DataRoot, progress: Progress | None = None) -> list[Kept]:
    """Verify the current version of every run and remove its old versions; by run.

    Runs without a published version are skipped. Raises InputError when `automation.toml` is invalid.
    """
    settings, progress = read_settings(root), progress or SilentProgress()
    results: list[Kept] = []
    removed: tuple[str, ...]
    for name in root.run_names():
        store_folder = root.runs / name / "store"
        version, removed = "", ()
        try:
            store = open_store(store_folder)
            version = store.version
            with progress.step(f"verifying {name}, version {version}"):
                problems = tuple(store.verify(deep=True))
            if not problems:
                removed = tuple(remove_old_versions(store_folder, settings.keep_versions))
        except NotPublishedError:
            continue
        except (SplatError, OSError) as error:
            problems = (in_words(error),)
        results.append(Kept(name, version, problems, removed))
        if problems:
            record_activity(root, "failed", name, f"its store differs from what was published: {problems[0]}")
        elif removed:
            record_activity(
                root, "removed", name, f"old versions: {', '.join(removed)}; {settings.keep_versions} are kept"
            )
    return results
