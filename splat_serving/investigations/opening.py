"""From what a user names (a run, a folder, the URL of a server) to the subject of an investigation."""

import os
from pathlib import Path
from typing import Any

from splat_assets.automation.activity import activity
from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot, RunLayout
from splat_serving.catalogue import Catalogue, Target
from splat_serving.client import ActivationClient
from splat_serving.errors import NotComputedError
from splat_serving.investigations.subject import Subject
from splat_serving.labels.remote import RemoteEvents
from splat_serving.labels.shared import label_events
from splat_serving.live_models import live_model_class
from splat_serving.local import LocalDatabase
from splat_serving.model_runner import ModelRunner, RemoteRunner
from splat_serving.runs import published_versions
from splat_serving.scorecards import scorecard_of

SOURCE_VARIABLE = "SPLAT_RUN"


def open_subject(given: str | None = None, token_file: Path | None = None, root: DataRoot | None = None) -> Subject:
    """The subject that a name stands for: a run of the data root, a store or folder of guide formats by path, or a server's URL.

    None: what SPLAT_RUN names, else the run of the data root that was published last. A URL may end with the run,
    `http://127.0.0.1:8765/runs/NAME`. InputError, LayoutError, NotPublishedError, ServerError.
    """
    named = given or os.environ.get(SOURCE_VARIABLE) or None
    if named is not None and named.startswith(("http://", "https://")):
        return _of_server(named, token_file)
    if token_file is not None:
        raise InputError("--token-file is for the URL of a server; a run on this machine needs none")
    found = Catalogue(Target.of(named, root or DataRoot.from_environment())).run()
    database = found.current()
    if found.layout is None:
        return Subject(database, str(named))
    layout = found.layout
    sae = database.about().provenance.get("sae")
    beside = layout.data_root
    labels = (lambda: label_events(beside.labels, sae)) if isinstance(sae, str) else None
    return Subject(
        database,
        found.name,
        lambda: _runner(layout, database),
        labels=labels,
        scorecard=lambda: scorecard_of(layout, database.about().provenance),
        latest=found.current_id,
        published=lambda: published_versions(beside),
        again=lambda: open_subject(str(layout.root.absolute())),
        activity=lambda: activity(beside),
    )


def _runner(layout: RunLayout, database: LocalDatabase) -> ModelRunner:
    """The run's model. torch is imported here, the checkpoints are read at the first question."""
    kind = live_model_class()
    from splat_serving.live_runner import LiveRunner

    return LiveRunner(lambda: kind.of_run(layout, database.about().provenance))


def _of_server(url: str, token_file: Path | None) -> Subject:
    base, _, run = url.partition("/runs/")
    secret = None
    if token_file is not None:
        try:
            secret = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise InputError(f"the token file {token_file} cannot be read: {why}") from error
    named: dict[str, Any] = {"url": base.rstrip("/"), "run": run.strip("/") or None, "token": secret}
    current = ActivationClient(**named)
    try:
        version = current.about().version
    except BaseException:
        current.close()
        raise
    pinned = ActivationClient(**named, version=version)  # every answer of one investigation is of one version
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
    """Whether the server has a place for labels: a store that belongs to no data root has none."""
    try:
        client.label_events()
    except NotComputedError:
        return False
    return True
