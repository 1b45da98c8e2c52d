"""Labels kept in step with the guide's own file, `consolidated_{model}.json`, where its user has one.

What only the file has is read as if it were in the log; writing a label adds it to the log and rewrites the file. Entries
without a name and unknown fields stay in the file unchanged.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from splat_assets.errors import InputError
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, is_regular, read_json
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import locked, replacing_file, write_json
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import Event, NewEvent
from splat_serving.labels.importing import planned_import
from splat_serving.labels.log import LabelLog, next_event
from splat_serving.labels.upstream import consolidated_entry, read_labels

_CLAIMS = "consolidated.json"
_LOCK = ".consolidated.lock"
_PREFIX = "consolidated_"
_PLACES = ("mechinterp_runs/labels", "labels")
"""Where the guide puts the file: beside the folder of activations."""


class ConsolidatedLog(LabelLog):
    """The events of one SAE, and those that only the guide's file has. Safe for threads and processes."""

    def __init__(self, root: Path, sae: str, file: Path, n_features: int) -> None:
        """root, sae: as `LabelLog`. file: the guide's file. n_features: of the SAE; the file's features are among them."""
        super().__init__(root, sae)
        self.file = file
        self._n_features = n_features
        self._model_type = file.stem.removeprefix(_PREFIX)

    def events(self) -> list[Event]:
        """Everything that was added here, then what only the file has.

        Raises InputError for a file that does not hold labels, FingerprintMismatchError for labels of another SAE.
        """
        events = super().events()
        for event in self._only_in_file(events):
            events.append(next_event(event, events))
        return events

    def append(self, event: NewEvent) -> Event:
        """Add an event, after what only the file has, and write the file; errors as `LabelLog`."""
        with explaining_write_errors("labels", self.folder), locked(self.folder.parent / _LOCK):
            for other in self._only_in_file(super().events()):
                super().append(other)
            self._claim()
            try:
                return super().append(event)
            finally:
                self._write()

    def _only_in_file(self, events: list[Event]) -> Sequence[NewEvent]:
        self._refuse_another_sae()
        if not is_regular(self.file):
            return ()
        book = LabelBook(_Held(events), self._n_features)
        plan = planned_import(book, read_labels(self.file, self._n_features), None, self._model_type)
        return [event for change in plan.changes if not change.why for event in change.events]

    def _write(self) -> None:
        """The file with every current label; what it holds of other features stays."""
        raw = read_json(self.file) if is_regular(self.file) else {}
        current = LabelBook(_Held(super().events()), self._n_features).current()
        raw |= {str(feature): consolidated_entry(event, self._model_type) for feature, event in current.items()}
        text = json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with replacing_file(self.file) as aside:
            aside.write_text(text, encoding="utf-8")

    def _claims(self) -> dict[str, str]:
        path = self.folder.parent / _CLAIMS
        try:
            return {str(name): str(sae) for name, sae in read_json(path).items()}
        except FileNotFoundError:
            return {}
        except (OSError, *WRONG_CONTENT) as error:
            raise InputError(f"{path} does not name the SAE of the guide's label files: {error}") from error

    def _refuse_another_sae(self) -> None:
        sae = self._claims().get(self.file.name, self.sae)
        if sae != self.sae:
            raise FingerprintMismatchError(
                f"the labels in {self.file}",
                self.sae,
                sae,
                "they belong to another SAE with other features: move the file away; `splat label carry` carries labels over",
            )

    def _claim(self) -> None:
        claims = self._claims()
        if self.file.name not in claims:
            write_json(self.folder.parent / _CLAIMS, {**claims, self.file.name: self.sae})


def consolidated_file(folder: Path, model: str | None) -> Path | None:
    """The guide's file of labels for a folder of activations, None where there is none.

    model: the alias of the folder; without one, the only file there is. InputError where there are several.
    """
    places = [folder.absolute().parent / place for place in _PLACES]
    if model is not None:
        return next((path for place in places if (path := place / f"{_PREFIX}{model}.json").is_file()), None)
    files = sorted(
        path for place in places if place.is_dir() for path in place.glob(f"{_PREFIX}*.json") if path.is_file()
    )
    if len(files) > 1:
        names = ", ".join(path.stem.removeprefix(_PREFIX) for path in files)
        raise InputError(
            f"beside {folder} are labels of several models ({names}): `splat alias NAME {folder}` picks one of them by its name"
        )
    return files[0] if files else None


class _Held:
    """Events in memory, for a book that is only read."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def events(self) -> list[Event]:
        """The events."""
        return self._events

    def damaged_lines(self) -> list[int]:
        """None: they were read."""
        return []

    def append(self, event: NewEvent) -> Event:
        """Not supported: these events are read-only."""
        raise TypeError("these events are read-only")
