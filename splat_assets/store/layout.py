"""Paths: the folders of a data root and of one run. Names are checked here before they become paths."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from splat_assets.errors import InputError
from splat_assets.store.bucket.bucket import bucket_of
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.documents import entries
from splat_assets.store.scorecard import SCORECARD

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def checked_name(name: str, what: str) -> str:
    """The name itself, when it is safe as a folder name; InputError says what is allowed otherwise."""
    if not is_name(name):
        raise InputError(
            f"{name!r} cannot be the name of a {what}: use 1 to 100 letters, digits, '_', '-' or '.', "
            "starting with a letter or digit"
        )
    return name


def is_name(text: str) -> bool:
    """Whether a text is safe as a folder name."""
    return _NAME.fullmatch(text) is not None and ".." not in text


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The folders of one run."""

    root: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def data_root(self) -> "DataRoot":
        """The data root that the run lies in."""
        return DataRoot(self.root.absolute().parent.parent)

    @property
    def labels(self) -> Path:
        """The folder of labels, which all runs of the data root share."""
        return self.data_root.labels

    @property
    def config(self) -> Path:
        """The frozen description of the run."""
        return self.root / "run.toml"

    @property
    def receipts(self) -> Path:
        """Receipts: the inputs and outputs of each finished step."""
        return self.root / "receipts"

    @property
    def builds(self) -> Path:
        """The validated dataset with its split."""
        return self.root / "dataset" / "builds.parquet"

    @property
    def base_model(self) -> Path:
        """The base model's dimensions and fingerprint."""
        return self.root / "base_model"

    @property
    def sae(self) -> Path:
        """The trained SAE, its metrics and scorecard."""
        return self.root / "sae"

    @property
    def scorecard(self) -> Path:
        """The quality metrics of the SAE."""
        return self.sae / SCORECARD

    @property
    def raw_activations(self) -> Path:
        """Sparse rows, shard by shard."""
        return self.root / "raw_activations"

    @property
    def store(self) -> Path:
        """The store: CURRENT, versions/, and staged/ for what the next version is made of."""
        return self.root / "store"

    @property
    def staged(self) -> Path:
        """Finished parts of the next version; readers never look here."""
        return self.store / "staged"

    @property
    def activations_zarr(self) -> Path:
        """The sparse matrices of the next version."""
        return self.staged / "activations.zarr"

    @property
    def efficient(self) -> Path:
        """The guide's `activations_efficient` tree."""
        return self.root / "activations_efficient"

    @property
    def precomputed(self) -> Path:
        """The guide's `precomputed` folder."""
        return self.efficient / "precomputed"

    @property
    def transposed(self) -> Path:
        """The guide's `activations_transposed` folder."""
        return self.root / "activations_transposed"

    @property
    def neuron_acts(self) -> Path:
        """The guide's `neuron_acts` folder."""
        return self.root / "neuron_acts"

    @property
    def written(self) -> tuple[Path, ...]:
        """Folders in which files are written aside and renamed: where a killed writer may leave something."""
        return (
            self.root,
            self.receipts,
            self.builds.parent,
            self.base_model,
            self.sae,
            self.raw_activations,
            self.store,
            self.staged,
            self.efficient,
            self.precomputed,
            self.transposed,
        )


@dataclass(frozen=True, slots=True)
class DataRoot:
    """The folder that holds all data: models, datasets, runs, labels. Naming a path creates nothing.

    Examples:
        >>> DataRoot(Path("data")).run("demo").store.as_posix()
        'data/runs/demo/store'
    """

    path: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "DataRoot":
        """The folder SPLAT_DATA names, or ./data; absolute. Of a bucket (`s3://…`) its working copy here; InputError."""
        bucket = bucket_of(environment)
        if bucket is not None:
            return cls(WorkingCopy.of(bucket).root)
        return cls(Path(environment.get("SPLAT_DATA") or "data").absolute())

    @property
    def models(self) -> Path:
        """Base models, one folder each."""
        return self.path / "saved_models"

    @property
    def datasets(self) -> Path:
        """Datasets, one folder each."""
        return self.path / "datasets"

    @property
    def saes(self) -> Path:
        """Ready-made SAEs, one folder each."""
        return self.path / "saved_saes"

    @property
    def activity(self) -> Path:
        """The activity log, one event per line."""
        return self.path / "activity.jsonl"

    @property
    def arrivals(self) -> Path:
        """The records of all incoming inputs."""
        return self.path / "arrivals.json"

    @property
    def runs(self) -> Path:
        """Runs, one folder each."""
        return self.path / "runs"

    @property
    def labels(self) -> Path:
        """Labels of features, one folder per SAE. No run rebuilds or deletes it."""
        return self.path / "labels"

    @property
    def cache(self) -> Path:
        """Data shared between runs that can be recomputed; safe to delete when no run is being made."""
        return self.path / "cache"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state."""
        return self.path / "dagster"

    def run(self, name: str) -> RunLayout:
        """The layout of the run called name, whether or not it exists; InputError for a name that is unsafe as a folder's."""
        return RunLayout(self.runs / checked_name(name, "run"))

    def run_names(self) -> list[str]:
        """The names of all runs, sorted; one that may not be looked into is among them. AccessDeniedError."""
        folders = [folder for folder in entries(self.runs) if not folder.name.startswith(".")]
        return [folder.name for folder in folders if _has(folder, "run.toml")]

    def checked_writable(self) -> "DataRoot":
        """The root itself, created if need be; InputError when it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"the data root {self.path} cannot be written ({error.strerror}); set SPLAT_DATA to a writable folder"
            ) from error
        return self


def _has(folder: Path, name: str) -> bool:
    """Whether a folder holds something of that name, as far as can be seen."""
    try:
        (folder / name).lstat()
    except PermissionError:
        return True  # who opens it says why it cannot be read
    except OSError:
        return False
    return True
