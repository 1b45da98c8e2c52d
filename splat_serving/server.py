"""The application as the guide starts it: `uvicorn splat_serving.server:app`, configured by ACTIVATION_* variables.

Importing this module reads and opens nothing; `app` is made when it is first asked for.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from splat_assets.errors import SplatError
from splat_assets.store.documents import in_words, is_folder
from splat_assets.store.layout import DataRoot
from splat_serving.database.aliases import alias_named
from splat_serving.database.catalogue import Catalogue, OpenFolder, Target
from splat_serving.database.folder import Folder
from splat_serving.http.app import ActivationServer, create_app
from splat_serving.http.settings import ServerSettings, settings_from_environment


def app_of(settings: ServerSettings, target: str | None = None) -> ActivationServer:
    """The application for a run or path (or, if None, what the settings name, or else the data root).

    Raises InputError, LayoutError, CorruptStoreError when there is nothing to serve there.
    """
    folders = [path for path in (settings.data_dir, settings.transposed_dir, settings.neuron_acts_dir) if path]
    if target is None and folders and not (len(folders) == 1 and Folder.is_published(folders[0])):
        opened = Folder.open(
            *folders, vocab=settings.vocab_path, weapon_vocab=settings.weapon_vocab_path, examples=settings.examples_dir
        )
        return create_app(Catalogue(Target(OpenFolder(folders[0].resolve().name, opened), None)), settings)
    source = target if target is not None else str(folders[0]) if folders else None
    root = DataRoot.from_environment()
    if (
        source is not None
        and is_folder(source)
        and not alias_named(source, root)
        and not Folder.is_published(Path(source))
    ):
        return app_of(settings.model_copy(update={"data_dir": Path(source)}))
    return create_app(Catalogue(Target.of(source, root)), settings)


def log_to_stderr(settings: ServerSettings) -> None:
    """Write what the server says, and if asked for one JSON line per request, to standard error."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("splat_serving", "splat_assets.store.opening"):
        logging.getLogger(name).setLevel(logging.INFO)
    requests = logging.getLogger("splat_serving.access")
    requests.handlers = [logging.StreamHandler()]
    requests.propagate = False
    requests.setLevel(logging.INFO if settings.log_requests else logging.WARNING)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = settings_from_environment()
        log_to_stderr(settings)
        made = app_of(settings)
    except (SplatError, OSError) as error:
        sys.exit(f"Error: {in_words(error)}")
    globals()["app"] = made
    return made
