"""Opening the subject of an investigation from a name: a run, a folder, or the URL of a server."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat_assets.automation.activity import activity
from splat_assets.errors import InputError
from splat_assets.store.documents import read_text
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.layout import DataRoot
from splat_assets.store.origin import NotThereError, Origin
from splat_assets.store.published.publishing import newest_run
from splat_serving.client import ActivationClient
from splat_serving.database.aliases import alias_named, read_aliases
from splat_serving.database.catalogue import Catalogue, OpenFolder, Run, Target, folder_of
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import Home, scorecard_of
from splat_serving.database.local import LocalDatabase
from splat_serving.database.runs import published_versions
from splat_serving.investigations.subject import Subject
from splat_serving.labels.opening import labels_of
from splat_serving.labels.remote import RemoteEvents
from splat_serving.model.runner import ModelRunner, RemoteRunner, live_model_class

SOURCE_VARIABLE = "SPLAT_RUN"


def open_subject(source: str | None = None, token_file: Path | None = None, root: DataRoot | None = None) -> Subject:
    """The subject of a run, folder, server or alias, at the version that is current now.

    Args:
        source: A run of the data root, the path of a store or folder of guide formats, a server's URL (which may end with the
            run, `http://127.0.0.1:8765/runs/NAME`), or an alias. None: the value of SPLAT_RUN, else the run of the data root
            that was published last, else the only alias.
        token_file: File with the token of a server that requires one.
        root: The data root; from the environment if None.

    Raises:
        InputError: For an unknown source, or a token for something other than a server.
        NotPublishedError: When nothing is published, or several aliases are possible.
        LayoutError: For a folder without a readable store.
        ServerError: When the server does not answer.

    Examples:
        >>> with open_subject("small", root=root) as subject:
        ...     print(subject.about.name)
        small
    """
    root = root or DataRoot.from_environment()
    named = source or os.environ.get(SOURCE_VARIABLE) or _only_alias(root)
    if named is not None and (alias := alias_named(named, root)) is not None and alias.is_url:
        named = alias.target
    if named is not None and named.startswith(("http://", "https://")):
        return _of_server(named, token_file)
    if token_file is not None:
        raise InputError("--token-file applies to a server's URL only; a run on this machine needs no token")
    return subject_of(Catalogue(Target.of(named, root)).run(), str(named))


def _only_alias(root: DataRoot) -> str | None:
    """The only alias, if nothing is published in the root; else None. NotPublishedError names several aliases."""
    if newest_run(root) is not None:
        return None
    aliases = list(read_aliases())
    if len(aliases) > 1:
        raise NotPublishedError(
            f"nothing is published in {root.path}, and several aliases exist ({', '.join(aliases)}): choose one with --model"
        )
    return aliases[0] if aliases else None


def open_folder(path: Path, parts: Mapping[str, Path | None]) -> Subject:
    """The subject of a folder of the guide's formats, with its parts as in `catalogue.folder_of`."""
    return subject_of(OpenFolder(path.resolve().name, folder_of(path, parts)), str(path))


def subject_of(run: Run, source: str) -> Subject:
    """The subject of a run in a catalogue. source: the name that the user gave, for messages about a folder."""
    database, home = run.current(), run.home
    if home is None:
        return Subject(database, source)
    sae = database.about().provenance.get("sae")
    no_model = _why_no_model(home)
    parts: dict[str, Any] = {
        "model": None if no_model else lambda: _runner(home, database),
        "no_model": no_model,
        "labels": (lambda: labels_of(run, database)) if isinstance(sae, str) else None,
        "scorecard": lambda: scorecard_of(home, database.about().provenance),
    }
    layout = run.layout
    if layout is None:
        return Subject(database, source, **parts)
    beside = layout.data_root
    return Subject(
        database,
        run.name,
        **parts,
        latest=run.current_id,
        published=lambda: published_versions(beside),
        again=lambda: open_subject(str(layout.root.absolute())),
        activity=lambda: activity(beside),
    )


def _why_no_model(home: Home) -> str:
    """Why the model of a folder cannot be run; empty if its files exist, and for a run, where loading the model reports it."""
    if isinstance(home, Origin):
        try:
            home.refuse_missing_files()
        except NotThereError as error:
            return str(error)
    return ""


def _runner(home: Home, database: LocalDatabase) -> ModelRunner:
    """The model of a run or folder. torch is imported here, the checkpoints are read at first use."""
    kind = live_model_class()
    from splat_serving.model.local_runner import LiveRunner

    return LiveRunner(lambda: kind.of(home, database.about().provenance))


def _of_server(url: str, token_file: Path | None) -> Subject:
    base, _, run = url.partition("/runs/")
    secret = None
    if token_file is not None:
        try:
            secret = read_text(token_file).strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"the token file {token_file} cannot be read: {why}") from error
    named: dict[str, Any] = {"url": base.rstrip("/"), "run": run.strip("/") or None, "token": secret}
    current = ActivationClient(**named)
    try:
        version = current.about().version
    except BaseException:
        current.close()
        raise
    pinned = ActivationClient(**named, version=version)  # all results of an investigation are of one version
    hook = pinned.about().provenance.get("hook")
    runner = (lambda: RemoteRunner(pinned.live, hook[0] == "token_ff")) if hook else None
    events = RemoteEvents(pinned.label_events)
    labels = (lambda: events) if _has_labels(pinned) else None

    def close() -> None:
        pinned.close()
        current.close()

    latest = lambda: current.about().version  # noqa: E731
    return Subject(
        pinned,
        url,
        runner,
        close,
        labels,
        pinned.scorecard,
        latest,
        pinned.published,
        again=lambda: _of_server(url, token_file),
    )


def _has_labels(client: ActivationClient) -> bool:
    """Whether the server stores labels: a store outside a data root has none."""
    try:
        client.label_events()
    except NotComputedError:
        return False
    return True
