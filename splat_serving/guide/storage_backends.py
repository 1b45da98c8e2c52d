"""Backends that hold activations by feature: the guide's `ActivationLoader`, the built-in ones, and a user's own.

A user's own backend is registered in `StorageConfig(loaders=…)` or by a package's entry point of the group
`splat.activation_loaders`. The return values of every backend are validated.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.errors import SplatError
from splat_assets.store.activations import ActivationReader, Activations, sample_id_dtype
from splat_assets.store.errors import FeatureNotFoundError, InvalidActivationsError, StoreError
from splat_serving.guide.storage_config import ActivationLoader, StorageConfig, is_loader

ENTRY_POINTS = "splat.activation_loaders"
_log = logging.getLogger(__name__)


class LoaderError(StoreError):
    """A custom backend that cannot be imported, created or called; the text names it and its error."""


def name_of(loader: object) -> str:
    """The name of the loader in messages."""
    return str(getattr(loader, "name", None) or type(loader).__name__)


class ReaderLoader:
    """The loader of a built-in layout: a reader behind the guide's contract."""

    def __init__(self, reader: ActivationReader, name: str) -> None:
        """reader: of an opened layout. name: of the layout."""
        self.reader = reader
        self.name = name

    @property
    def is_available(self) -> bool:
        """True: the reader is open."""
        return True

    def load(self, feature_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(indices, activations) of one feature, in sample order; FeatureNotFoundError, CorruptStoreError."""
        activations = self.reader.read(feature_id)
        return activations.sample_ids.astype(np.int64, copy=False), activations.values


class LoadersReader:
    """Several loaders as one reader by feature: the first one that has a feature returns it, and the arrays are validated."""

    def __init__(self, loaders: Sequence[ActivationLoader], n_features: int, n_samples: int, where: str) -> None:
        """loaders: in the order in which they are tried. where: their model, for messages."""
        self.loaders = tuple(loaders)
        self.n_features = n_features
        self.n_samples = n_samples
        self._where = where

    def read(self, feature_id: int) -> Activations:
        """One feature from the first loader that has it.

        Raises FeatureNotFoundError for an id outside, LoaderError when no loader has the feature or one fails, and
        InvalidActivationsError, naming loader and feature, when one returns invalid activations.
        """
        if not 0 <= feature_id < self.n_features:
            raise FeatureNotFoundError(feature_id, self.n_features, self._where)
        for loader in self.loaders:
            pair = _call_loader(name_of(loader), f"feature {feature_id}", lambda loader=loader: loader.load(feature_id))  # type: ignore[misc]
            if pair is not None:
                return _checked(pair, self.n_samples, f"loader {name_of(loader)}, feature {feature_id}")
        names = ", ".join(name_of(loader) for loader in self.loaders)
        raise LoaderError(f"no loader of {self._where} has feature {feature_id}; tried {names}")


def own_loaders(config: StorageConfig) -> list[ActivationLoader]:
    """The custom loaders that are available: those of the configuration, then those of entry points by name.

    Raises LoaderError, naming it, for a loader or entry point that cannot be imported, created or called.
    """
    made = [_made(f"loaders[{i}]", one, config) for i, one in enumerate(config.loaders)]
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        title = f"entry point {entry.name} = {entry.value}" + (f" of {entry.dist.name}" if entry.dist else "")
        made.append(_made(title, _call_loader(title, "its import", entry.load), config))
    return [loader for loader in made if _is_available(loader)]


def _made(title: str, entry: Any, config: StorageConfig) -> ActivationLoader:
    loader = entry
    if not is_loader(entry):
        if not callable(entry):
            raise LoaderError(f"{title} is {entry!r}, neither an activation loader nor a function that returns one")
        loader = _call_loader(title, "the StorageConfig it was called with", lambda: entry(config))
    if not is_loader(loader):
        raise LoaderError(
            f"{title} returned {loader!r}, which is not an activation loader: it lacks is_available or load(feature_id)"
        )
    return loader


def _is_available(loader: ActivationLoader) -> bool:
    name = name_of(loader)
    available = _call_loader(name, "is_available", lambda: loader.is_available)
    if not isinstance(available, bool | np.bool_):
        raise LoaderError(f"loader {name}: is_available is {available!r}; it must be a property that is True or False")
    _log.info("custom loader %s is %s", name, "tried first" if available else "not available and skipped")
    return bool(available)


def _call_loader(name: str, what: str, ask: Callable[[], Any]) -> Any:
    """Call third-party code; LoaderError, which names it, for any exception."""
    try:
        return ask()
    except SplatError:
        raise
    except Exception as error:
        raise LoaderError(f"{name} failed on {what} with {type(error).__name__}: {error}") from error


def _checked(pair: Any, n_samples: int, where: str) -> Activations:
    """The arrays that a loader returned, validated, copied and sorted by sample; InvalidActivationsError."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, np.ndarray) for part in pair):
        raise InvalidActivationsError(
            f"{where}: a pair of arrays (indices, activations) or None is expected, not {pair!r:.80}"
        )
    if any(isinstance(part, np.ma.MaskedArray) for part in pair):
        raise InvalidActivationsError(f"{where}: masked arrays are not expected; leave the masked samples out")
    given_ids, given_values = pair
    if given_ids.ndim != 1 or given_ids.shape != given_values.shape:
        raise InvalidActivationsError(
            f"{where}: indices have shape {given_ids.shape} and activations {given_values.shape}; one length is expected"
        )
    if given_ids.size and (given_ids.dtype.kind not in "iu" or given_values.dtype.kind != "f"):
        raise InvalidActivationsError(
            f"{where}: indices are {given_ids.dtype} and activations {given_values.dtype}; int64 and float32 are expected"
        )
    outside = (given_ids < 0) | (given_ids >= n_samples)
    if outside.any():
        raise InvalidActivationsError(f"{where}: index {given_ids[outside][0]} is outside samples 0 to {n_samples - 1}")
    ids = given_ids.astype(sample_id_dtype(n_samples))
    with np.errstate(over="ignore"):  # values beyond float32 become infinite or 0, and are rejected
        values = given_values.astype(np.float32)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise InvalidActivationsError(
            f"{where}: the activation of sample {ids[bad][0]} is {given_values[bad][0]}; every one must be finite and > 0"
        )
    if (ids[1:] <= ids[:-1]).any():
        order = np.argsort(ids, kind="stable")
        ids, values = ids[order], values[order]
        twice = ids[1:] == ids[:-1]
        if twice.any():
            raise InvalidActivationsError(f"{where}: sample {ids[1:][twice][0]} occurs more than once")
    return Activations(ids, values)
