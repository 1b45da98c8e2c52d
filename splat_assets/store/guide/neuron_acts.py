"""The guide's per-feature files: `neuron_0000/acts.npy` (float32 values) and `idxs.npy` (int64 sample ids).

Two files a feature say nothing of a dead last feature or of samples after the last active one, so
`neuron_acts_metadata.json` beside them holds both numbers. Folders without it are read by what they show, and the assumptions
are stated.
"""

import logging
import re
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.store.activations import ActivationReader, Activations, Written, first_invalid, sample_id_dtype
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, entries, read_json
from splat_assets.store.errors import CorruptStoreError, FeatureNotFoundError, InvalidActivationsError, LayoutError
from splat_assets.store.files import remove_leftovers, replaceable_folder, replacing_folder, write_json
from splat_assets.store.npy import NpyFile
from splat_assets.store.origin import ORIGIN
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import agreeing, counted

DESCRIPTION = "neuron_acts_metadata.json"
_FORMAT_VERSION = 1
_FOLDER = re.compile(r"neuron_(\d{4,})")
_MANY_FEATURES = 2**20
_MANY_SAMPLES = 10_000_000
_log = logging.getLogger(__name__)


def feature_folder_name(feature_id: int) -> str:
    """`neuron_0007`; ids from 10,000 on take as many digits as they need."""
    return f"neuron_{feature_id:04d}"


def write_neuron_acts(source: ActivationReader, target_dir: Path, progress: Progress | None = None) -> Written:
    """Write every feature and the description, replacing target_dir in one step.

    Args:
        source: the activations by feature; dead features become empty files.
        target_dir: folder of `neuron_0000/acts.npy` (float32), `neuron_0000/idxs.npy` (int64), and so on.
        progress: where to report progress, in features.

    Returns:
        The numbers of features, samples and activations written, and the size in bytes.

    Raises:
        InputError: target_dir holds anything but neuron_acts.
        DiskFullError: the disk is full.
    """
    replaceable_folder(target_dir, lambda name: name in (DESCRIPTION, ORIGIN) or bool(_FOLDER.fullmatch(name)))
    nnz = size_bytes = 0
    remove_leftovers(target_dir.parent, target_dir.name)
    with explaining_write_errors("neuron_acts", target_dir.parent), replacing_folder(target_dir) as aside:
        with (progress or SilentProgress()).task("neuron_acts", source.n_features, "features") as task:
            for feature_id in range(source.n_features):
                activations = source.read(feature_id)
                folder = aside / feature_folder_name(feature_id)
                folder.mkdir()
                size_bytes += _save(folder / "acts.npy", activations.values.astype(np.float32, copy=False))
                size_bytes += _save(folder / "idxs.npy", activations.sample_ids.astype(np.int64, copy=False))
                nnz += activations.n_active
                task.advance(1)
        description = {"n_features": source.n_features, "n_samples": source.n_samples, "nnz": nnz}
        write_json(aside / DESCRIPTION, {"format_version": _FORMAT_VERSION, **description})
    return Written(source.n_samples, source.n_features, nnz, size_bytes)


class NeuronActsReader:
    """One feature = two small files.

    assumptions: sentences on what is not known for certain; empty when `neuron_acts_metadata.json` is there or
    n_features and n_samples were passed.
    """

    def __init__(self, folder: Path | str, n_features: int | None = None, n_samples: int | None = None) -> None:
        """Check the folders.

        Args:
            folder: the folder of `neuron_0000` and so on.
            n_features: number of features, including dead ones. [default: as described, else as the folders show]
            n_samples: number of samples. [default: as described, else as the files show]

        Raises:
            LayoutError: folders of features, or a required one, are missing, numbers disagree, or an id is far above all
                others and neither the description nor the caller confirms it.
        """
        self.folder = Path(folder)
        present = _feature_ids(self.folder)
        described = _description(self.folder)
        for key, requested in (("n_features", n_features), ("n_samples", n_samples)):
            if requested is not None and described.get(key, requested) != requested:
                raise LayoutError(
                    f"{self.folder / DESCRIPTION} says {key} = {described[key]}, but {requested} was requested"
                )
        self.assumptions: tuple[str, ...] = ()
        known_features = n_features if n_features is not None else described.get("n_features")
        known_samples = n_samples if n_samples is not None else described.get("n_samples")
        if not present and known_features is None:
            raise LayoutError(f"{self.folder} holds no folder {feature_folder_name(0)} or other")
        self._present = present
        self._n_features = known_features if known_features is not None else self._least_features()
        if present and max(present) >= self._n_features:
            raise LayoutError(
                f"{self.folder} has {feature_folder_name(max(present))}; expected "
                f"{counted(self._n_features, 'features')}"
            )
        self._n_absent = self._n_features - len(present)
        if self._n_absent and "n_features" in described:
            raise LayoutError(
                f"{self.folder} has lost {self._first_absent()} ({self._n_absent} missing); extract it again"
            )
        self._n_samples = known_samples if known_samples is not None else self._least_samples()
        self._say_what_is_assumed(known_features is None, known_samples is None)

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included (see assumptions)."""
        return self._n_features

    @property
    def n_samples(self) -> int:
        """The number of samples (see assumptions)."""
        return self._n_samples

    def read(self, feature_id: int) -> Activations:
        """One feature; FeatureNotFoundError names the valid range, InvalidActivationsError the file that breaks a promise."""
        if not 0 <= feature_id < self._n_features:
            raise FeatureNotFoundError(feature_id, self._n_features, self.folder)
        dtype = sample_id_dtype(self._n_samples)
        if not self.has_files(feature_id):
            return Activations(np.empty(0, dtype), np.empty(0, np.float32))
        sample_ids, values = self.read_files(feature_id)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite or 0, and is refused
            single = values.astype(np.float32, copy=False)
        _check(sample_ids, single, self._n_samples, self.folder / feature_folder_name(feature_id))
        return Activations(sample_ids.astype(dtype), single)

    def has_files(self, feature_id: int) -> bool:
        """Whether the feature has a folder; one without is taken as dead (see assumptions)."""
        return feature_id in self._present

    def read_files(self, feature_id: int) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.floating[Any]]]:
        """The content of a feature's two files, checked only for integers and floats of one length."""
        folder = self.folder / feature_folder_name(feature_id)
        sample_ids, values = NpyFile(folder / "idxs.npy").read_all(), NpyFile(folder / "acts.npy").read_all()
        if sample_ids.dtype.kind not in "iu" or values.dtype.kind != "f" or sample_ids.shape != values.shape:
            raise CorruptStoreError(
                f"{folder}: idxs.npy holds {sample_ids.dtype} {sample_ids.shape} and acts.npy {values.dtype} {values.shape}; "
                "integers and floats of one length were expected"
            )
        return sample_ids.reshape(-1), values.reshape(-1)

    def _least_features(self) -> int:
        """One more than the number of the last folder."""
        last, n_present = max(self._present), len(self._present)
        if last >= max(_MANY_FEATURES, 2 * n_present):
            raise LayoutError(
                f"{self.folder / feature_folder_name(last)} implies {counted(last + 1, 'features')} for "
                f"{counted(n_present, 'folders')}: move it elsewhere, or pass --n-features"
            )
        return last + 1

    def _least_samples(self) -> int:
        """One more than the largest sample id in any file."""
        least = nnz = 0
        for feature_id in sorted(self._present):
            ids, _ = self.read_files(feature_id)
            nnz += ids.size
            least = max(least, int(ids.max()) + 1 if ids.size else 0)
        if least >= max(_MANY_SAMPLES, nnz):
            raise LayoutError(
                f"{self.folder} would have {counted(least, 'samples')} for {counted(nnz, 'activations')}: fix the "
                f"sample id that is too large, or pass --n-samples"
            )
        return least

    def _first_absent(self) -> str:
        return feature_folder_name(next(i for i in count() if i not in self._present))

    def _say_what_is_assumed(self, features_unknown: bool, samples_unknown: bool) -> None:
        sentences = []
        if features_unknown:
            sentences.append(
                f"n_features is taken as {self._n_features}: dead features after the last folder cannot be seen"
            )
        if self._n_absent:
            sentences.append(
                f"{counted(self._n_absent, 'features')} without a folder ({self._first_absent()} first) "
                f"{agreeing(self._n_absent, 'are')} taken as dead"
            )
        if samples_unknown:
            sentences.append(
                f"n_samples is taken as {self._n_samples}: samples after the last active one cannot be seen"
            )
        self.assumptions = tuple(f"{self.folder} lacks {DESCRIPTION}; {sentence}" for sentence in sentences)
        for sentence in self.assumptions:
            _log.warning("%s", sentence)


def _save(path: Path, array: npt.NDArray[Any]) -> int:
    with path.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
        return handle.tell()


def _check(
    ids: npt.NDArray[np.integer[Any]], values: npt.NDArray[np.floating[Any]], n_samples: int, folder: Path
) -> None:
    i = first_invalid(np.array([0, ids.size]), ids, values, n_samples)
    if i is not None:
        raise InvalidActivationsError(
            f"{folder}: entry {i} is {float(values[i])} on sample {int(ids[i])}; values must be finite and > 0 as float32, "
            f"and sample ids strictly increasing within 0 to {n_samples - 1}"
        )


def _feature_ids(folder: Path) -> set[int]:
    if not folder.is_dir():
        raise LayoutError(f"the folder {folder} does not exist")
    return {_feature_id(path) for path in entries(folder) if re.match("neuron_[0-9]", path.name)}


def _feature_id(folder: Path) -> int:
    match = _FOLDER.fullmatch(folder.name)
    if match is None or folder.name != feature_folder_name(int(match[1])):
        raise LayoutError(
            f"{folder} is not numbered like {feature_folder_name(0)}: rename it, or move it elsewhere if it does "
            f"not belong here"
        )
    return int(match[1])


def _description(folder: Path) -> dict[str, int]:
    path = folder / DESCRIPTION
    try:
        raw = read_json(path)
        return {key: int(raw[key]) for key in ("n_features", "n_samples")}
    except FileNotFoundError:
        return {}
    except WRONG_CONTENT as error:
        raise CorruptStoreError(f"{path} does not describe neuron_acts: {error}") from error
