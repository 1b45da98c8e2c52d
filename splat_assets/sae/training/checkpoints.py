"""Checkpoints of a training under way: one safetensors file, replaced in one step, with its facts as JSON in the header."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from splat_assets.model.tensors import write_safetensors
from splat_assets.sae.training.state import TrainingState
from splat_assets.store.documents import WRONG_CONTENT, json_of, read_json
from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError
from splat_assets.store.files import remove_leftovers, replacing_file, write_json

FOLDER_NAME = "training_state"
_CHECKPOINT = "checkpoint.safetensors"
_FINISHED = "finished.json"
_WHAT_TO_DO = "train into another folder, or start over without resuming"


@dataclass
class Progressed:
    """A training state and what was measured on the way to it.

    metrics: rows of metrics.parquet so far. since: sums since the last of them.
    """

    state: TrainingState
    metrics: list[dict[str, Any]] = field(default_factory=list)
    since: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a training ended in: the fingerprint of its SAE, and its figures."""

    sae: str
    summary: dict[str, Any]


class Checkpoints:
    """The training state below a save_dir, sealed with the fingerprint of recipe, data and provenance."""

    def __init__(self, save_dir: Path, fingerprint: str) -> None:
        self._folder = save_dir / FOLDER_NAME
        self._fingerprint = fingerprint

    def save(self, progressed: Progressed) -> None:
        """Replace the checkpoint; a kill leaves either the one before or this one."""
        facts = {
            "fingerprint": self._fingerprint,
            "step": progressed.state.step,
            "metrics": progressed.metrics,
            "since": progressed.since,
        }
        with replacing_file(self._folder / _CHECKPOINT) as aside:
            write_safetensors(
                progressed.state.to("cpu").tensors(), aside, {"training": json.dumps(facts, allow_nan=False)}
            )

    def restore(self) -> Progressed | None:
        """The last checkpoint, or None; raises FingerprintMismatchError for one of another recipe, data or provenance."""
        remove_leftovers(self._folder)
        path = self._folder / _CHECKPOINT
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as held:
                facts = json_of(held.metadata()["training"])
                tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        except (SafetensorError, *WRONG_CONTENT) as error:
            raise CorruptStoreError(
                f"{path} is not a whole training checkpoint: {error}; delete it to start over"
            ) from error
        self._refuse_other(facts["fingerprint"], path)
        state = TrainingState.of_tensors({n: t.clone() for n, t in tensors.items()}, facts["step"])
        return Progressed(state, facts["metrics"], facts["since"])

    def finish(self, sae_fingerprint: str, summary: dict[str, Any]) -> None:
        """Record that training is over, then drop the checkpoint, which is three times the size of the SAE."""
        write_json(
            self._folder / _FINISHED, {"fingerprint": self._fingerprint, "sae": sae_fingerprint, "summary": summary}
        )
        self.drop()

    def drop(self) -> None:
        """Delete the checkpoint, and what a killed writer left beside it."""
        remove_leftovers(self._folder)
        (self._folder / _CHECKPOINT).unlink(missing_ok=True)

    def finished(self) -> Finished | None:
        """What a training that is over ended in, or None; raises as `restore`."""
        path = self._folder / _FINISHED
        if not path.is_file():
            return None
        try:
            held = read_json(path)
            fingerprint, finished = held["fingerprint"], Finished(held["sae"], dict(held["summary"]))
        except WRONG_CONTENT as error:
            raise CorruptStoreError(f"{path} is not a record of a finished training: {error}") from error
        self._refuse_other(fingerprint, path)
        return finished

    def discard(self) -> None:
        """Forget everything: the next training starts at step 0."""
        self.drop()
        (self._folder / _FINISHED).unlink(missing_ok=True)

    def _refuse_other(self, fingerprint: str, path: Path) -> None:
        if fingerprint != self._fingerprint:
            raise FingerprintMismatchError(
                f"{path} belongs to a training with another recipe, data or origin",
                self._fingerprint,
                fingerprint,
                _WHAT_TO_DO,
            )
