"""What a folder of the guide's formats was made from: `origin.json`, written by generate-activations and carried by later steps.

It holds fingerprints, by which labels and questions know the SAE, and where the files of model, SAE and data were, with their
sha256, so that the model can still be run from a folder that belongs to no run.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError, StoreError
from splat_assets.store.files import replacing_file, sha256_of_file, write_json
from splat_assets.store.scorecard import SCORECARD

ORIGIN = "origin.json"
_FORMAT = "splat.origin/1"
_SHA256 = re.compile("[0-9a-f]{64}")
_FINGERPRINTS = ("base_model", "sae", "data", "vocabulary", "contexts", "raw_activations")
_FILES = {
    "model_checkpoint": ("base model checkpoint", "--model-checkpoint"),
    "model_params": ("model parameters (model_params.json)", "--model-checkpoint"),
    "vocab": ("vocabulary", "--vocab-path"),
    "weapon_vocab": ("weapon vocabulary", "--weapon-vocab-path"),
    "data": ("dataset", "--data-csv"),
    "sae_checkpoint": ("SAE", "--sae-checkpoint"),
    "sae_config": ("configuration of the SAE (cfg.json)", "--sae-checkpoint"),
}
"""Each recorded file: what people call it, and the option that says where it is."""
_OF_MODEL = ("model_checkpoint", "model_params", "vocab", "weapon_vocab", "sae_checkpoint", "sae_config")
_ALWAYS = ("model_checkpoint", "vocab", "weapon_vocab", "sae_checkpoint")
_BESIDE = {"model_checkpoint": ("model_params", "vocab", "weapon_vocab"), "sae_checkpoint": ("sae_config",)}
"""Files to look up beside another one once that has moved."""


class NotThereError(StoreError):
    """A recorded file that is gone or has changed; the message names the option that replaces it."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file that activations were made from: where it was, absolute, and the sha256 it had."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What the activations of a folder were made from.

    folder: the one that holds the record. provenance: as a manifest has it: `base_model, sae, data, vocabulary, contexts,
    raw_activations` (sha256) and `hook` (target, layer, module). files: `model_checkpoint`, `sae_checkpoint` and so on, the names
    of a run's inputs. recipe: `activations` and `split`, the settings that decided the rows.
    """

    folder: Path
    provenance: dict[str, Any]
    files: dict[str, RecordedFile]
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def sae(self) -> str:
        """The SAE's fingerprint."""
        return str(self.provenance["sae"])

    @property
    def labels(self) -> Path:
        """The folder of labels: beside the activations, so that recomputing them deletes none."""
        return self.folder.absolute().parent / "labels"

    @property
    def scorecard(self) -> Path:
        """Where `train-sae` left the SAE's scorecard: beside the SAE."""
        recorded = self.files.get("sae_checkpoint")
        beside = Path(recorded.path) if recorded else self.folder / "sae"
        return (beside if beside.is_dir() else beside.parent) / SCORECARD

    def at(self, places: Mapping[str, Path]) -> "Origin":
        """The same origin with files at other places, by name (`model_checkpoint`, `sae_checkpoint`, `vocab`, `weapon_vocab`).

        A folder stands for the file of the recorded name in it. What is beside the checkpoint or the SAE moves with it.
        """
        files = dict(self.files)
        for name, place in places.items():
            old = files.get(name)
            if old is None:
                continue
            new = (place / Path(old.path).name if place.is_dir() else place).absolute()
            files[name] = replace(old, path=str(new))
            for beside in _BESIDE.get(name, ()):
                if beside in files and beside not in places:
                    files[beside] = replace(files[beside], path=str(new.parent / Path(files[beside].path).name))
        return replace(self, files=files)

    def refuse_missing_files(self) -> None:
        """NotThereError for the first file of model and SAE that is gone; whether one changed is seen when it is read."""
        for name in _OF_MODEL:
            if name in self.files or name in _ALWAYS:
                self._present_file(name)

    def checked_file(self, name: str) -> Path:
        """Where a recorded file is; NotThereError unless it is there and has the recorded content."""
        path, recorded = self._present_file(name), self.files[name]
        actual = sha256_of_file(path)
        if actual != recorded.sha256:
            raise NotThereError(
                f"the {_FILES[name][0]} at {path} is not the one that {self.folder} was made with: expected sha256 "
                f"{recorded.sha256}, found {actual}; restore that file, or {self._remedy(name)}"
            )
        return path

    def _present_file(self, name: str) -> Path:
        recorded, what = self.files.get(name), _FILES[name][0]
        if recorded is None:
            raise NotThereError(f"{self.folder} does not record its {what}; {self._remedy(name)}")
        path = Path(recorded.path)
        if not path.is_file():
            raise NotThereError(
                f"the {what} that {self.folder} was made with is no longer at {path}; {self._remedy(name)}"
            )
        return path

    def _remedy(self, name: str) -> str:
        option = _FILES[name][1]
        return (
            f"pass its path: `splat alias NAME {self.folder} {option} FILE` and ask for NAME, or make a run of "
            f"the folder: "
            f"`splat import {self.folder} --run NAME {option} FILE`"
        )

    def save(self) -> None:
        """Write `origin.json` into the folder."""
        content = {
            "format": _FORMAT,
            "provenance": self.provenance,
            "files": {name: asdict(one) for name, one in self.files.items()},
            "recipe": self.recipe,
        }
        write_json(self.folder / ORIGIN, content)


def read_origin(folder: Path) -> Origin | None:
    """What the folder records of its origin, None where it records nothing; CorruptStoreError for a file that is not a record."""
    path = folder / ORIGIN
    try:
        raw = read_json(path)
        if raw["format"] != _FORMAT:
            raise ValueError(f"its format is {str(raw['format'])[:40]!r}, this program reads {_FORMAT!r}")
        provenance, recipe = dict(raw["provenance"]), {str(key): dict(value) for key, value in raw["recipe"].items()}
        _check_provenance(provenance)
        files = {str(name): _recorded_file(one) for name, one in raw["files"].items()}
    except FileNotFoundError:
        return None
    except (OSError, *WRONG_CONTENT) as error:
        raise CorruptStoreError(
            f"{path} does not say what the activations were made from ({error}); write them again, or delete the "
            f"file: labels and the model then need a run (`splat import`)"
        ) from error
    return Origin(folder, provenance, files, recipe)


def origin_of(folders: Iterable[Path]) -> Origin | None:
    """The origin that folders of one model's activations record.

    Raises FingerprintMismatchError when two of them were made from different things, CorruptStoreError as `read_origin`.
    """
    origins = [origin for folder in folders if (origin := read_origin(folder)) is not None]
    for other in origins[1:]:
        _refuse_other_origin(origins[0], other)
    return origins[0] if origins else None


@contextmanager
def carrying_origin(source: Path, target: Path) -> Iterator[None]:
    """Copy the record of the folder that activations are read from once they are written; the target's old record goes first."""
    (target / ORIGIN).unlink(missing_ok=True)
    yield
    if (source / ORIGIN).is_file():
        with replacing_file(target / ORIGIN) as aside:
            shutil.copyfile(source / ORIGIN, aside)


def _refuse_other_origin(one: Origin, other: Origin) -> None:
    for name in _FINGERPRINTS:
        here, there = one.provenance.get(name), other.provenance.get(name)
        if here != there:
            raise FingerprintMismatchError(
                f"the {name.replace('_', ' ')} of {other.folder} is not that of {one.folder}",
                str(here),
                str(there),
                "pass folders made from the same activations",
            )


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    for name in _FINGERPRINTS:
        value = provenance[name]
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise ValueError(f"{name} is not a sha256: {str(value)[:80]!r}")
    target, layer, module = provenance["hook"]
    if not isinstance(target, str) or type(layer) is not int or type(module) is not int:
        raise ValueError("hook is not [target, layer, module]")


def _recorded_file(raw: Mapping[str, Any]) -> RecordedFile:
    path, sha256 = raw["path"], raw["sha256"]
    if not isinstance(path, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("a file is recorded without path or sha256")
    return RecordedFile(path, sha256)
