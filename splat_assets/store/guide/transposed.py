"""The guide's transposed array: dense `[features, samples]` Zarr, where one feature over all samples is one chunk.

`<target>/transposed_activations.zarr` and `transposed_metadata.json`. The writer holds one shard of features.
"""

from pathlib import Path

import numpy as np

from splat_assets.store.activations import ActivationReader, Activations, Written
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.errors import FeatureNotFoundError, LayoutError
from splat_assets.store.files import files_below, remove_leftovers, replacing_folder, write_json
from splat_assets.store.guide.dense_arrays import DenseArray, create_dense_array
from splat_assets.text.progress import Progress, SilentProgress

ARRAY = "transposed_activations.zarr"
DESCRIPTION = "transposed_metadata.json"
_FORMAT_VERSION = 1
_FEATURES_PER_SHARD = 64
_SHARD_BYTES = 2**28


def features_per_shard(n_features: int, n_samples: int, memory_limit_bytes: int = _SHARD_BYTES) -> int:
    """How many features a shard holds: 64, or as many as fit into memory_limit_bytes uncompressed, at least 1."""
    fitting = memory_limit_bytes // (4 * max(n_samples, 1))
    return max(1, min(_FEATURES_PER_SHARD, fitting, n_features))


def write_transposed(
    source: ActivationReader,
    target_dir: Path,
    progress: Progress | None = None,
    memory_limit_bytes: int = _SHARD_BYTES,
) -> Written:
    """Write the transposed array and its description under target_dir, replacing existing ones.

    Args:
        source: the activations by feature.
        target_dir: folder of `transposed_activations.zarr` and `transposed_metadata.json`.
        progress: where to report progress, in features.
        memory_limit_bytes: bound of one shard of features, uncompressed; a shard is written whole.

    Returns:
        The numbers of samples, features and activations written, and the size in bytes.

    Raises:
        DiskFullError: the disk is full.

    Examples:
        >>> written = write_transposed(reader, folder)
        >>> TransposedReader(folder).read(1)
        Activations(sample_ids=array([0, 2], dtype=int32), values=array([2.5, 0.5], dtype=float32))
    """
    n_features, n_samples = source.n_features, source.n_samples
    step = features_per_shard(n_features, n_samples, memory_limit_bytes)
    width, nnz = max(n_samples, 1), 0
    remove_leftovers(target_dir)
    with explaining_write_errors("the transposed array", target_dir), replacing_folder(target_dir / ARRAY) as aside:
        array = create_dense_array(
            aside,
            shape=(n_features, n_samples),
            chunks=(1, width),
            shards=(step, width),
            dimension_names=("feature", "sample"),
            attributes={"long_name": "SAE feature activation", "valid_min": 0},
        )
        with (progress or SilentProgress()).task("transposed zarr", n_features, "features") as task:
            for first in range(0, n_features, step):
                shard = np.zeros((min(step, n_features - first), n_samples), dtype=np.float32)
                for i in range(len(shard)):
                    activations = source.read(first + i)
                    shard[i, activations.sample_ids] = activations.values
                    nnz += activations.n_active
                if n_samples:
                    array[first : first + len(shard)] = shard
                task.advance(len(shard))
        (target_dir / DESCRIPTION).unlink(missing_ok=True)
    description = {
        "format_version": _FORMAT_VERSION,
        "n_features": n_features,
        "n_samples": n_samples,
        "source_batches": None,  # upstream's field; the array is not made from batches
        "format": "transposed_zarr",
        "shape": [n_features, n_samples],
        "description": "Activations [features, samples], float32; one chunk is one feature over all samples",
    }
    write_json(target_dir / DESCRIPTION, description)
    size = sum(file.stat().st_size for file in files_below(target_dir / ARRAY))
    return Written(n_samples, n_features, nnz, size)


class TransposedReader:
    """One feature = one row of the array. Opens arrays made elsewhere too, whatever their chunks."""

    def __init__(self, path: Path | str) -> None:
        """Open the array; nothing is decoded yet.

        Args:
            path: the array, or the folder that holds it.

        Raises:
            LayoutError: neither is there.
        """
        location = Path(path)
        self.path = location / ARRAY if (location / ARRAY).is_dir() else location
        if not self.path.is_dir():
            raise LayoutError(f"{location} holds no {ARRAY}")
        self.array = DenseArray(self.path)

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self.array.shape[0]

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return self.array.shape[1]

    def read(self, feature_id: int) -> Activations:
        """One feature; FeatureNotFoundError names the valid range."""
        if not 0 <= feature_id < self.n_features:
            raise FeatureNotFoundError(feature_id, self.n_features, self.path)
        row = self.array.read(slice(feature_id, feature_id + 1), slice(0, self.n_samples)).reshape(-1)
        return Activations.from_dense(row, f"{self.path}, feature {feature_id}")
