"""Base activations in, sparse rows out: the SAE run over every sample, one shard at a time, each with a receipt.

Only a band of features of a block of samples is ever dense. Sample metadata and, if wanted, the SAE's input, its
reconstruction and the base model's logits are written beside the rows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.rounding import same_activations
from splat_assets.compute.harvest import (
    LOGITS_FILE,
    VALUES_FILE,
    BaseActivations,
    BaseModelFiles,
    Shard,
    base_batches,
)
from splat_assets.compute.items import Items, sample_table
from splat_assets.compute.shards import ShardRunner
from splat_assets.model.device import CPU, usable_device
from splat_assets.model.hooks import HookPoint
from splat_assets.store.activations import SampleFeatures
from splat_assets.store.files import FileMark, file_mark, remove_leftovers
from splat_assets.store.guide.batches import CONTEXTS, VOCABULARY
from splat_assets.store.raw import RawActivations, begin_raw_activations, shard_is_valid, shard_name, write_shard
from splat_assets.store.tables import spot_check_ids
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from splat_assets.sae import Sae

_PROCESS_BYTES = 400 * 2**20
"""Memory of a process with torch and the compiled functions loaded."""


@dataclass(frozen=True, slots=True)
class EncodeSpec:
    """The input of a process that encodes one shard."""

    target: Path
    sae: Path
    base_folder: Path
    embeddings: bool
    inputs: dict[str, str]
    device: str
    shard: Shard
    samples: pl.DataFrame
    items_of_samples: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedShards:
    """The result of a pass over all shards."""

    n_done: int
    n_skipped: int
    seconds: float


def encode(
    target: Path,
    items: Items,
    vocabulary: Vocabulary,
    contexts: Contexts,
    shards: Sequence[Shard],
    base: BaseActivations,
    sae: Path,
    *,
    per_token: bool,
    embeddings: bool,
    runner: ShardRunner | None = None,
    progress: Progress | None = None,
) -> EncodedShards:
    """Write the missing shards of raw activations; valid shards of the same inputs are kept.

    Args:
        target: folder of the shards.
        items: what was run through the base model, in order.
        vocabulary: tokens of the base model; saved beside the shards.
        contexts: weapons of the base model; saved beside the shards.
        shards: ranges of items and samples, together all of them.
        base: base activations of all items, float32, shape (n_samples, d_in).
        sae: file or folder of the SAE.
        per_token: a sample is one token position (`token_ff`) instead of a whole build (`masked_mean`).
        embeddings: also keep the SAE's inputs, its outputs and the base model's logits, dense float32 per sample.
        runner: how shards are encoded. [default: one after the other in this process]
        progress: where to report progress, in samples.

    Returns:
        The numbers of shards written and kept, and the seconds.

    Raises:
        InputError: the SAE cannot be loaded, or does not fit the activations.
        DiskFullError: the disk is full.
        LostWorkersError: workers died too often on a shard.

    Examples:
        Of 100 builds in shards of 64:

        >>> base = harvest(folder / "base", items, model_files, HookPoint("masked_mean"), shard_items=64, batch_size=32)
        >>> shards = shards_of(items, 64, per_token=False)
        >>> sizes = {"per_token": False, "embeddings": False}
        >>> encode(folder / "raw", items, vocabulary, contexts, shards, base, sae, **sizes).n_done
        2
        >>> encode(folder / "raw", items, vocabulary, contexts, shards, base, sae, **sizes).n_skipped
        2
    """
    began = time.monotonic()
    inputs = shard_inputs(base.fingerprint, _sae(sae), contexts, embeddings)
    todo = shards_to_encode(target, shards, inputs)
    remove_leftovers(target)
    begin_raw_activations(target, base.values.shape[0], len(shards))
    vocabulary.save(target / VOCABULARY)
    contexts.save(target / CONTEXTS)

    runner = runner or ShardRunner()
    shared = (target, sae, base.folder, embeddings, inputs, runner.device)
    specs = (EncodeSpec(*shared, shard, *_samples_of(items, contexts, shard, per_token)) for shard in todo)
    n_samples = base.values.shape[0]
    there = n_samples - sum(shard.n_samples for shard in todo)
    with (progress or SilentProgress()).task("SAE activations", n_samples, "samples", there) as task:
        needed = _bytes_of_a_shard(_sae(sae), todo, base.logits.shape[1] if embeddings else 0)
        runner.run(encode_shard, specs, task.advance, needed, lambda spec: str(spec.shard))
    return EncodedShards(len(todo), len(shards) - len(todo), time.monotonic() - began)


def shard_inputs(base_activations: str, sae: "Sae", contexts: Contexts, embeddings: bool) -> dict[str, str]:
    """The inputs in the receipt of a shard: fingerprints by name."""
    return {
        "base_activations": base_activations,
        "sae": sae.fingerprint,
        "contexts": contexts.fingerprint,
        "embeddings": "kept" if embeddings else "left out",
    }


def shards_to_encode(target: Path, shards: Sequence[Shard], inputs: dict[str, str]) -> list[Shard]:
    """The shards that are not below target, whole and made from these inputs."""
    return [
        shard
        for shard in shards
        if not shard_is_valid(target / shard_name(shard.index), shard.first_sample, shard.n_samples, inputs)
    ]


def encode_shard(spec: EncodeSpec) -> int:
    """Encode one shard and write it; returns its number of samples."""
    shard = spec.shard
    sae = _sae(spec.sae, spec.device)
    x = np.array(np.load(spec.base_folder / VALUES_FILE, mmap_mode="r")[shard.first_sample : shard.last_sample])
    rows = sae.encode_rows(x)
    embeddings = {}
    if spec.embeddings:
        logits = np.load(spec.base_folder / LOGITS_FILE, mmap_mode="r")
        embeddings = {
            "sae_input": x,
            "sae_recon": sae.decode_rows(rows),
            "model_logits": np.ascontiguousarray(logits[spec.items_of_samples]),
        }
    folder = spec.target / shard_name(shard.index)
    write_shard(folder, rows, spec.samples, embeddings, sae.d_sae, spec.inputs)
    return shard.n_samples


def rows_differing_from_recompute(
    raw: RawActivations,
    items: Items,
    model_files: BaseModelFiles,
    hook: HookPoint,
    sae: "Sae",
    n_sampled: int = 64,
    seed: int = 0,
) -> list[int]:
    """Samples of n_sampled seeded items whose stored row is not what base model and SAE give for the item today.

    Other batch sizes round differently: see `analysis.rounding`.
    """
    first_samples = items.first_samples(hook.per_token)
    wrong = []
    for item in spot_check_ids(items.n_items, n_sampled, seed):
        shard = Shard(0, item, item + 1, int(first_samples[item]), int(first_samples[item + 1]))
        (values, _), *_ = base_batches(items.builds, shard, model_files, hook, batch_size=1)
        fresh = sae.encode_rows(values)
        stored = next(raw.rows(shard.n_samples, start=shard.first_sample))
        for offset in range(shard.n_samples):
            if not is_same_row(stored.row(offset), fresh.row(offset), sae, values[offset]):
                wrong.append(shard.first_sample + offset)
    return wrong


def is_same_row(stored: SampleFeatures, fresh: SampleFeatures, sae: "Sae", x: npt.NDArray[np.float32]) -> bool:
    """Whether two rows of features of x, shape (d_in,), differ by rounding only."""
    dense = np.zeros((2, sae.d_sae), dtype=np.float32)
    dense[0, stored.feature_ids] = stored.values
    dense[1, fresh.feature_ids] = fresh.values
    lengths = sae.encoder.norm(dim=1).numpy() * float(np.linalg.norm(x) + sae.b_dec.norm())
    return bool(same_activations(dense[0], dense[1], lengths, sae.threshold.numpy()).all())


def _bytes_of_a_shard(sae: "Sae", shards: Sequence[Shard], n_outputs: int) -> int:
    """Memory that encoding the largest shard takes, at most a tenth of the features active. n_outputs: 0 without embeddings."""
    n_rows = max((shard.n_samples for shard in shards), default=0)
    dense = 4 * (sae.d_in * (3 if n_outputs else 1) + n_outputs)
    sparse = 2 * 8 * max(64, sae.d_sae // 10)
    return _PROCESS_BYTES + 2 * 4 * 2 * sae.d_in * sae.d_sae + n_rows * (dense + sparse)


def _samples_of(
    items: Items, contexts: Contexts, shard: Shard, per_token: bool
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    chosen = np.arange(shard.first_item, shard.last_item, dtype=np.int64)
    of_samples = np.repeat(chosen, items.n_tokens()[chosen]) if per_token else chosen
    return sample_table(items, contexts, shard.first_item, shard.last_item, per_token), of_samples


def _sae(path: Path, device: str = CPU) -> "Sae":
    weights = path / "sae_weights.safetensors" if path.is_dir() else path
    return _loaded_sae(path, (file_mark(weights), file_mark(weights.with_name("cfg.json"))), device)


@lru_cache(maxsize=2)
def _loaded_sae(path: Path, marks: tuple[FileMark | None, ...], device: str) -> "Sae":
    from splat_assets.sae import load_sae

    return load_sae(path).to(usable_device(device))
