"""Base activations: what the base model computes at the hook for every sample, kept in one file per dataset and hook.

The SAE trains on them and is run over them, and runs that differ only in the SAE share them. The file is filled shard by
shard; a shard counts once its receipt is there and its checksums hold, so a killed harvest goes on where it was, and what
was damaged since is computed again.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from splat_assets.compute.items import Items
from splat_assets.compute.shards import ShardRunner
from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.device import CPU, usable_device
from splat_assets.model.hooks import HookPoint
from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.files import (
    FileMark,
    file_mark,
    locked,
    remove_leftovers,
    replacing_file,
    sha256_of_json,
    write_json,
)
from splat_assets.store.npy import NpyFile, NpyWriter, create_npy
from splat_assets.text.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from splat_assets.model import SplatGPT

TRAINED_ON = "base_activations"
"""In the folder of an SAE: what `splat train-sae` trained it on, for later steps to use."""
VALUES_FILE, LOGITS_FILE = "values.npy", "logits.npy"
_DESCRIPTION = "harvest.json"
_PROCESS_BYTES = 600 * 2**20
"""Memory of a process with torch, a base model and the builds loaded."""


@dataclass(frozen=True, slots=True)
class BaseModelFiles:
    """The files that a process needs to load the base model."""

    checkpoint: Path
    vocab: Path
    weapon_vocab: Path


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous range of items and the samples they make."""

    index: int
    first_item: int
    last_item: int
    first_sample: int
    last_sample: int

    def __str__(self) -> str:
        return f"shard {self.index} (builds {self.first_item:,} to {self.last_item - 1:,})"

    @property
    def n_samples(self) -> int:
        """The number of samples in the shard."""
        return self.last_sample - self.first_sample


def shards_of(items: Items, shard_items: int, per_token: bool) -> list[Shard]:
    """Items cut into shards of shard_items."""
    if shard_items < 1:
        raise InputError(f"a shard must hold at least one build, not {shard_items}")
    first_samples = items.first_samples(per_token)
    starts = range(0, items.n_items, shard_items)
    ends = [min(start + shard_items, items.n_items) for start in starts]
    return [
        Shard(index, start, end, int(first_samples[start]), int(first_samples[end]))
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class BaseActivations:
    """A finished harvest.

    values: float32 memory map, shape (n_samples, d). logits: float32 memory map, shape (n_items, n_outputs).
    """

    folder: Path
    fingerprint: str
    values: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def harvest(
    folder: Path,
    items: Items,
    model_files: BaseModelFiles,
    hook: HookPoint,
    shard_items: int,
    batch_size: int,
    runner: ShardRunner | None = None,
    progress: Progress | None = None,
) -> BaseActivations:
    """Compute the base activations of all items into a folder, or resume it, and open the result.

    Args:
        folder: folder of the cache; a finished harvest of the same items, model, hook and sizes is opened as it is.
        items: what is run through the model, in order.
        model_files: the base model's checkpoint and vocabularies.
        hook: where activations are taken.
        shard_items: items per shard, the unit of resuming.
        batch_size: items per forward pass; part of the identity, as it decides the rounding.
        runner: how shards are computed. [default: one after the other in this process]
        progress: where to report progress.

    Returns:
        Memory maps of the hook's values, float32 (n_samples, d_in), and of the logits, float32 (n_items, n_outputs).

    Raises:
        InputError: batch_size is below 1, or the model gives a NaN or an infinity.
        DiskFullError: the disk is full.
        LostWorkersError: workers died too often on a shard.

    Examples:
        Of 100 builds, through a model of width 16 with 140 outputs:

        >>> base = harvest(folder, items, model_files, HookPoint("masked_mean"), shard_items=64, batch_size=32)
        >>> base.values.shape, base.logits.shape, base.values.dtype.name
        ((100, 16), (100, 140), 'float32')
    """
    if batch_size < 1:
        raise InputError(f"a forward pass needs at least one build, not {batch_size}")
    model = _model(model_files)
    shards = shards_of(items, shard_items, hook.per_token)
    identity = harvest_identity(model.fingerprint, items, hook, shard_items, batch_size)
    width, n_outputs = model.hook_width(hook.target, hook.ff_module_index), len(model.output_weight)
    with explaining_write_errors("base activations", folder), locked(folder / ".lock"):
        remove_leftovers(folder)
        _prepare(folder, identity, shards, items, width, n_outputs)
        todo = [shard for shard in shards if not _is_whole(folder, shard)]
        if not todo:
            return open_base_activations(folder, identity)
        items_file = folder / "items.parquet"
        items.builds.save(items_file)
        runner = runner or ShardRunner()
        specs = [
            _HarvestSpec(folder, items_file, model_files, hook, shard, batch_size, runner.device) for shard in todo
        ]
        there = items.n_items - sum(shard.last_item - shard.first_item for shard in todo)
        with (progress or SilentProgress()).task("base activations", items.n_items, "builds", there) as task:
            if runner.backend == "local":
                for spec in specs:
                    _harvest_shard(spec, items.builds, advance=task.advance)
            else:
                runner.run(_harvest_in_process, specs, task.advance, _PROCESS_BYTES, lambda spec: str(spec.shard))
    return open_base_activations(folder, identity)


def harvest_identity(base_model: str, items: Items, hook: HookPoint, shard_items: int, batch_size: int) -> str:
    """The fingerprint of a harvest: everything that decides its bytes (batches too, for they decide the rounding)."""
    return sha256_of_json(
        {
            "base_model": base_model,
            "items": items.builds.fingerprint,
            "hook": [hook.target, hook.layer_index, hook.ff_module_index],
            "shard_items": shard_items,
            "batch_size": batch_size,
        }
    )


def recorded_identity(folder: Path) -> str | None:
    """The fingerprint of the harvest that a folder holds, finished or not; None where it holds none."""
    try:
        recorded = read_json(folder / _DESCRIPTION)["fingerprint"]
    except (OSError, *WRONG_CONTENT):
        return None
    return recorded if isinstance(recorded, str) else None


def open_base_activations(folder: Path, identity: str) -> BaseActivations:
    """Map a finished harvest; InputError when the folder holds another one."""
    try:
        fingerprint = read_json(folder / _DESCRIPTION)["fingerprint"]
    except WRONG_CONTENT as error:
        raise InputError(f"{folder / _DESCRIPTION} cannot be read ({error}); delete {folder} and run again") from error
    if fingerprint != identity:
        raise InputError(f"{folder} holds other base activations ({fingerprint}); delete it and run again")
    values = np.load(folder / VALUES_FILE, mmap_mode="r")
    return BaseActivations(folder, identity, values, np.load(folder / LOGITS_FILE, mmap_mode="r"))


def _is_whole(folder: Path, shard: Shard) -> bool:
    """Whether the shard was finished and its bytes are those that were written."""
    try:
        receipt = read_json(_receipt(folder, shard))
    except (FileNotFoundError, ValueError):
        return False
    return bool(receipt == _checksums(folder, shard))


def _checksums(folder: Path, shard: Shard) -> dict[str, int]:
    values = NpyFile(folder / VALUES_FILE).read(shard.first_sample, shard.last_sample)
    logits = NpyFile(folder / LOGITS_FILE).read(shard.first_item, shard.last_item)
    return {"values_crc32c": crc32c_of_bytes(values), "logits_crc32c": crc32c_of_bytes(logits)}


def base_batches(
    builds: Builds, shard: Shard, model_files: BaseModelFiles, hook: HookPoint, batch_size: int, device: str = CPU
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Hook values (n_samples, d) and logits (n_items, n_outputs) of a shard, a batch at a time, from one forward pass."""
    import torch

    model = _model(model_files, device)
    captured: list[torch.Tensor] = []

    def capture(values: torch.Tensor) -> torch.Tensor:
        captured.append(values)
        return values

    for start in range(shard.first_item, shard.last_item, batch_size):
        rows = np.arange(start, min(start + batch_size, shard.last_item))
        ability_tokens, weapon_token = builds.batch(rows, model.pad_id)
        with torch.inference_mode():
            logits = model.logits_with(
                torch.from_numpy(ability_tokens),
                torch.from_numpy(weapon_token),
                capture,
                hook_target=hook.target,
                layer_index=hook.layer_index,
                ff_module_index=hook.ff_module_index,
            )
        yield captured.pop().float().cpu().numpy(), logits.float().cpu().numpy()


@dataclass(frozen=True, slots=True)
class _HarvestSpec:
    folder: Path
    items_file: Path
    model_files: BaseModelFiles
    hook: HookPoint
    shard: Shard
    batch_size: int
    device: str


def _model(files: BaseModelFiles, device: str = CPU) -> "SplatGPT":
    beside = files.checkpoint.with_name("model_params.json")
    marks = tuple(file_mark(path) for path in (files.checkpoint, files.vocab, files.weapon_vocab, beside))
    return _loaded_model(files, marks, device)


@lru_cache(maxsize=2)
def _loaded_model(files: BaseModelFiles, marks: tuple[FileMark | None, ...], device: str) -> "SplatGPT":
    from splat_assets.model import load_base_model

    where = usable_device(device)
    return load_base_model(files.checkpoint, device=where, vocab_path=files.vocab, weapon_vocab_path=files.weapon_vocab)


@lru_cache(maxsize=1)
def _builds(path: Path, mark: FileMark | None) -> Builds:
    return Builds.load(path)


def _harvest_in_process(spec: _HarvestSpec) -> int:
    return _harvest_shard(spec, _builds(spec.items_file, file_mark(spec.items_file)), advance=lambda n: None)


def _harvest_shard(spec: _HarvestSpec, builds: Builds, advance: Callable[[int], None]) -> int:
    shard = spec.shard
    sample, item = shard.first_sample, shard.first_item
    with (
        closing(NpyWriter(spec.folder / VALUES_FILE)) as values,
        closing(NpyWriter(spec.folder / LOGITS_FILE)) as logits,
    ):
        batches = base_batches(builds, shard, spec.model_files, spec.hook, spec.batch_size, spec.device)
        for batch_values, batch_logits in batches:
            if not np.isfinite(batch_values).all():
                raise InputError(
                    f"the base model gives NaN or infinity for a build among items {item} to {item + len(batch_logits)}"
                )
            values.write(sample, batch_values)
            logits.write(item, batch_logits)
            sample, item = sample + len(batch_values), item + len(batch_logits)
            advance(len(batch_logits))
    write_json(_receipt(spec.folder, shard), _checksums(spec.folder, shard))
    return shard.last_item - shard.first_item


def _receipt(folder: Path, shard: Shard) -> Path:
    return folder / f"shard-{shard.index:05d}.json"


def _prepare(folder: Path, identity: str, shards: list[Shard], items: Items, width: int, n_outputs: int) -> None:
    """Make the two files at full size, once; a folder that holds something else is started over."""
    description = folder / _DESCRIPTION
    n_samples = shards[-1].last_sample if shards else 0
    shapes = {VALUES_FILE: (n_samples, width), LOGITS_FILE: (items.n_items, n_outputs)}
    with suppress(CorruptStoreError):
        if recorded_identity(folder) == identity and all(
            NpyFile(folder / name).shape == shape for name, shape in shapes.items()
        ):
            return
    for old in (description, *folder.glob("shard-*.json")):
        old.unlink(missing_ok=True)
    for name, shape in shapes.items():
        with replacing_file(folder / name) as aside:
            create_npy(aside, shape, np.float32)
    write_json(description, {"fingerprint": identity, "n_samples": n_samples, "width": width, "n_shards": len(shards)})
