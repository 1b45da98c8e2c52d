"""Predicted cost of a run: bytes and seconds of each artifact, by a model fitted to measured runs.

Each artifact's cost is a sum of what drives it (samples, activations, features, …) times what one of that took in the measured
runs; `python -m benchmarks.scale` measures, fits, checks the fit on a run that it did not see, and writes `cost_model.json`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_MODEL = Path(__file__).with_name("cost_model.json")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is. n_active: features that fire on a sample, on average. d_in: width of the hook. n_outputs: tokens that
    are predicted. n_seen: samples that training looks at, epochs included."""

    n_samples: float
    n_features: float
    n_active: float
    d_in: float
    n_outputs: float
    n_seen: float
    embeddings: bool = True

    @property
    def drivers(self) -> Mapping[str, float]:
        """The quantities that costs are proportional to."""
        return {
            "one": 1.0,
            "samples": self.n_samples,
            "activations": self.n_samples * self.n_active,
            "features": self.n_features,
            "embedded": self.n_samples * (2 * self.d_in + self.n_outputs) * self.embeddings,
            "products": self.n_samples * self.d_in * self.n_features,
            "trained": self.n_seen * self.d_in * self.n_features,
            "weights": self.d_in * self.n_features,
            "influences": self.n_features * self.n_outputs,
        }


BYTES_BY: Mapping[str, tuple[str, ...]] = {
    "dataset": ("one", "samples"),
    "base_model": ("one",),
    "sae_checkpoint": ("one", "weights"),
    "raw_activations": ("samples", "activations", "embedded"),
    "sparse_activations": ("samples", "activations", "features"),
    "histograms": ("one", "features"),
    "idf": ("one",),
    "influences": ("one", "influences"),
    "examples": ("one", "features"),
    "neighbours": ("one", "features"),
    "feature_map": ("one", "features"),
    "suggested_labels": ("one", "features"),
    "published_store": ("samples", "activations", "features"),
    "batch_zarr": ("samples", "activations", "embedded"),
    "transposed_zarr": ("activations", "features"),
    "neuron_acts": ("activations", "features"),
}
"""What drives the bytes of each artifact."""
SECONDS_BY: Mapping[str, tuple[str, ...]] = {
    "dataset": ("one", "samples"),
    "base_model": ("one",),
    "sae_checkpoint": ("one", "samples", "trained"),
    "raw_activations": ("one", "samples", "products"),
    "sparse_activations": ("one", "activations"),
    "histograms": ("one", "activations", "features"),
    "idf": ("one", "samples"),
    "influences": ("one", "influences"),
    "examples": ("one", "activations", "features"),
    "neighbours": ("one", "activations", "features"),
    "feature_map": ("one", "features"),
    "suggested_labels": ("one", "features", "activations"),
    "published_store": ("one", "activations"),
    "batch_zarr": ("one", "embedded", "activations"),
    "transposed_zarr": ("one", "products"),
    "neuron_acts": ("one", "activations", "features"),
}
"""What drives the seconds of each artifact."""
LINKED = ("published_store",)
"""Artifacts whose bytes are hard links to those of others: they take no room of their own in a folder, and do in a bucket."""


def expected_bytes(artifact: str, size: Size) -> float:
    """The bytes of an artifact."""
    return _sum(_model()["bytes"][artifact], size)


def expected_seconds(artifact: str, size: Size) -> float:
    """The seconds of an artifact on a machine like the one measured: two cores."""
    return _sum(_model()["seconds"][artifact], size)


def base_activation_bytes(size: Size) -> float:
    """Bytes of the activations of the base model, which runs of one model and dataset share: float32, values and logits."""
    return size.n_samples * (size.d_in + size.n_outputs) * 4


@cache
def _model() -> Any:
    return json.loads(_MODEL.read_text(encoding="utf-8"))


def _sum(coefficients: Mapping[str, float], size: Size) -> float:
    drivers = size.drivers
    return sum(value * drivers[name] for name, value in coefficients.items())
