"""Locations of the activations of one model, and the guide's contract for custom backends: a frozen value, validated when built.

Folders are opened in `efficient_fs_database`, backends are called in `storage_backends`.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError
from splat_assets.store.errors import LayoutError
from splat_assets.store.opening import Layout, layouts_at

_log = logging.getLogger(__name__)
_TRANSPOSED = (Layout.TRANSPOSED,)
_NEURON_ACTS = (Layout.NEURON_ACTS, Layout.NEURON_ACTS_UNDESCRIBED)


class ActivationLoader(Protocol):
    """The guide's contract for a storage backend. A loader may have a `name`; the default is the name of its class.

    A loader guarantees that the same feature has the same activations for as long as the database is open, and that `load`
    may be called from several threads at once if the database is. Its exceptions are raised as LoaderError, which names it; a
    SplatError is raised as it is. It need not be picklable.

    Examples:
        >>> import numpy as np
        >>> class OneFeature:
        ...     is_available = True
        ...
        ...     def load(self, feature_id):
        ...         return (np.array([0, 2]), np.array([1.5, 0.25], dtype=np.float32)) if feature_id == 7 else None
        >>> from splat_serving.storage_config import StorageConfig
        >>> config = StorageConfig("demo", "data/runs/demo/activations_efficient", loaders=[OneFeature()])
        >>> from splat_serving.efficient_fs_database import EfficientFSDatabase
        >>> database = EfficientFSDatabase(config=config)
        >>> database.loaders
        ('OneFeature', 'batch tree')
        >>> database.get_example_activations(0, top_k=0)
        []
        >>> database.get_feature_activations(7)["index"].to_list()
        [0, 2]
    """

    @property
    def is_available(self) -> bool:
        """Whether this backend can be used. Read once, when a database is opened."""
        ...

    def load(self, feature_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """(indices, activations) of one feature, or None if this backend does not have it.

        Returns:
            indices: int64, shape (n_active,), the samples on which the feature fires, each once, in any order. activations:
            float32, shape (n_active,), every value > 0 and finite. Both are copied.
        """
        ...


LoaderFactory = Callable[[Any], ActivationLoader]
"""Makes a loader for a `StorageConfig`: a class, or a function. One without data sets `is_available` to False."""


def is_loader(candidate: object) -> TypeGuard[ActivationLoader]:
    """Whether this is a loader, and not a class or function that makes one."""
    if isinstance(candidate, type) or not callable(getattr(candidate, "load", None)):
        return False
    return inspect.getattr_static(candidate, "is_available", None) is not None  # looked up without running the property


@dataclass(frozen=True, slots=True, init=False)
class StorageConfig:
    """The folders of one model's activations, and custom backends."""

    model_type: str
    data_dir: Path
    examples_dir: Path | None
    transposed_dir: Path | None
    neuron_acts_dir: Path | None
    loaders: tuple[ActivationLoader | LoaderFactory, ...]
    n_features: int | None

    def __init__(
        self,
        model_type: str,
        data_dir: Path | str,
        examples_dir: Path | str | None = None,
        transposed_dir: Path | str | None = None,
        neuron_acts_dir: Path | str | None = None,
        loaders: Sequence[ActivationLoader | LoaderFactory] = (),
        n_features: int | None = None,
    ) -> None:
        """Validate everything.

        Args:
            model_type: Any name of the model, for messages.
            data_dir: A batch tree (`activations_efficient`), a run, a published store, or any folder in the guide's formats.
            examples_dir: Accepted because the guide has it, but ignored: examples are taken from the activations.
            transposed_dir: A further format of the same activations; the fastest of all is read.
            neuron_acts_dir: Another one.
            loaders: Custom backends, tried first, in this order: each a loader, or a function or class that returns one when
                called with this configuration.
            n_features: Number of features, required only if custom backends alone hold the activations.

        Raises:
            LayoutError: Names a folder that is missing or in another format.
            InputError: For any other invalid value.
        """
        if not model_type:
            raise InputError("model_type is empty: name the model")
        if n_features is not None and n_features < 0:
            raise InputError(f"n_features is {n_features}: it must be 0 or more")
        for one in loaders:
            if not is_loader(one) and not callable(one):
                raise InputError(
                    f"loaders: {one!r} is not an activation loader: it needs is_available and load(feature_id), or to be a "
                    "function that returns one for a StorageConfig"
                )
        values = {
            "model_type": model_type,
            "data_dir": _folder("data_dir", data_dir),
            "examples_dir": _unread("examples_dir", examples_dir),
            "transposed_dir": _folder_of("transposed_dir", transposed_dir, _TRANSPOSED),
            "neuron_acts_dir": _folder_of("neuron_acts_dir", neuron_acts_dir, _NEURON_ACTS),
            "loaders": tuple(loaders),
            "n_features": n_features,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that activations are read from."""
        folders = (self.data_dir, self.transposed_dir, self.neuron_acts_dir)
        return tuple(folder for folder in folders if folder is not None)


def _folder(name: str, location: Path | str) -> Path:
    path = Path(location)
    if not path.is_dir():
        raise LayoutError(f"{name}: folder {path} does not exist")
    return path


def _folder_of(name: str, location: Path | str | None, expected: tuple[Layout, ...]) -> Path | None:
    """The folder, which must have one of the expected layouts."""
    if location is None:
        return None
    path = _folder(name, location)
    layouts = list(layouts_at(path))
    if not any(layout in expected for layout in layouts):
        there = " and ".join(layout.title for layout in layouts) or "no activations"
        raise LayoutError(f"{name}: {path} holds {there} instead of the {expected[0].title}")
    return path


def _unread(name: str, location: Path | str | None) -> Path | None:
    if location is None:
        return None
    path = Path(location)
    if not path.is_dir():
        _log.warning("%s: folder %s does not exist; examples are taken from the activations instead", name, path)
    return path
