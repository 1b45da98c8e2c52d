"""The guide's contract for a custom storage backend."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt


class ActivationLoader(Protocol):
    """The guide's contract for a storage backend. A loader may have a `name`; the default is the name of its class."""

    @property
    def is_available(self) -> bool:
        """Whether this backend can be used. Read once, when a database is opened."""
        ...

    def load(self, feature_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """(indices, activations) of one feature, or None if this backend does not have it.

        indices: int64, shape (n_active,), the samples on which the feature fires, each once, in any order. activations:
        float32, shape (n_active,), every value > 0 and finite.
        """
        ...


LoaderFactory = Callable[[Any], ActivationLoader]
"""Makes a loader for a `StorageConfig`: a class, or a function. One without data sets `is_available` to False."""


def is_loader(candidate: object) -> TypeGuard[ActivationLoader]:
    """Whether this is a loader, and not a class or function that makes one."""
    if isinstance(candidate, type) or not callable(getattr(candidate, "load", None)):
        return False
    return inspect.getattr_static(candidate, "is_available", None) is not None  # looked up without running the property
