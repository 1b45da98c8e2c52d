"""Disk space that a run will need: from its inputs and recipe, and from what its finished steps measured."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from splat_assets.assets.asset import Asset, status_of
from splat_assets.assets.opened import base_model_of, contexts_of, hook_of, vocabulary_of
from splat_assets.compute.cost import LINKED, Size, base_activation_bytes, expected_bytes
from splat_assets.data.tokenised import read_tokenised
from splat_assets.errors import InputError
from splat_assets.runs import Run
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.receipts import read_receipt

_MARGIN = 1.1
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes still to be written, and bytes free. needed_bytes: by the model of `compute.cost`, plus a tenth."""

    needed_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the free space is enough."""
        return self.needed_bytes <= self.free_bytes


def expected_size(run: Run) -> Size | None:
    """The expected size of the run; None while the number of active features per sample is unknown (ready-made SAE, L1 penalty).

    Reads the dataset unless its step did.
    """
    config = run.config
    dataset, sae = (read_receipt(run.layout.receipts, name) for name in ("dataset", "sae_checkpoint"))
    k = None if config.inputs.sae_checkpoint is not None or config.sae.architecture != "batch_topk" else config.sae.k
    n_active = sae.facts["l0_mean"] if sae else k
    if n_active is None:
        return None
    vocabulary, contexts = vocabulary_of(run), contexts_of(run)
    if dataset is not None:
        n_builds, tokens_each = int(dataset.facts["n_builds"]), float(dataset.facts["tokens_per_build"])
    else:
        builds = read_tokenised(config.inputs.data.checked("dataset"), vocabulary, contexts)
        n_builds, tokens_each = builds.n_builds, builds.tokens.size / builds.n_builds
    n_items = n_builds * (1 + config.activations.masked_variants) + len(contexts)
    hook = hook_of(run)
    n_samples = n_items * (tokens_each if hook.per_token else 1.0)
    model = read_receipt(run.layout.receipts, "base_model")
    width = (
        int(model.facts["hook_width"]) if model else base_model_of(run).hook_width(hook.target, hook.ff_module_index)
    )
    return Size(
        n_samples=n_samples,
        n_features=float(sae.facts["d_sae"]) if sae else float(config.sae.width(width)),
        n_active=float(n_active),
        d_in=float(width),
        n_outputs=float(len(vocabulary)),
        n_seen=config.sae.epochs * n_samples,
        embeddings=config.activations.embeddings,
    )


def room_for(run: Run, wanted: Sequence[Asset]) -> Room | None:
    """Space for the wanted artifacts that are not made yet, and free space; None where it cannot be estimated."""
    due = [asset for asset in wanted if not status_of(asset, run).is_up_to_date]
    size = expected_size(run) if due else None
    if size is None:
        return None
    linked = LINKED if WorkingCopy.containing(run.root.path) is None else ()
    needed = sum(expected_bytes(asset.name, size) for asset in due if asset.name not in linked)
    if any(asset.name in ("sae_checkpoint", "raw_activations") for asset in due):
        needed += base_activation_bytes(size)
    return Room(int(_MARGIN * needed), shutil.disk_usage(run.layout.root).free)


def refuse_unless_it_fits(run: Run, wanted: Sequence[Asset]) -> None:
    """InputError where the artifacts will not fit."""
    room = room_for(run, wanted)
    if room is not None and not room.fits:
        raise InputError(
            f"run {run.name} will take about {room.needed_bytes / _MIB:,.0f} MiB more, and {run.root.path} has "
            f"{room.free_bytes / _MIB:,.0f} MiB free: free some space, choose fewer artifacts with --select "
            f"(neuron_acts, batch_zarr "
            "and transposed_zarr are exports that nothing else needs), or pass --anyway"
        )
