"""Training an SAE on base activations and writing its scorecard: the one path behind the asset and `splat train-sae`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from splat_assets.compute.harvest import BaseActivations
from splat_assets.compute.items import NULL_ROW, Items
from splat_assets.data.splits import refuse_too_few
from splat_assets.errors import InputError
from splat_assets.model.device import CPU, usable_device
from splat_assets.model.hooks import HookPoint
from splat_assets.sae.training.schedule import evenly_spaced_rows
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.files import write_json
from splat_assets.store.samples import SPLITS as SPLIT_NAMES
from splat_assets.store.scorecard import SCORECARD
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

if TYPE_CHECKING:
    from splat_assets.model.protocol import BaseModel
    from splat_assets.sae import Sae, SaeRecipe

NOT_COMPUTED = "not computed"
"""Shown for a figure that is null in the scorecard."""
_FIDELITY_BUILDS = 4_096
_MEAN_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class SampleSplits:
    """The samples that train, calibrate and test an SAE: int64 row numbers each. `<NULL>` rows train."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    @classmethod
    def of(cls, items: Items, per_token: bool) -> "SampleSplits":
        """By the split of each sample's build."""
        per_item = items.split_names()
        split = np.repeat(per_item, items.n_tokens()) if per_token else per_item
        train = np.flatnonzero((split == SPLIT_NAMES.index("train")) | (split == SPLIT_NAMES.index("none")))
        splits = cls(train, np.flatnonzero(split == 1), np.flatnonzero(split == 2))
        if not splits.validation.size or not splits.test.size:
            raise InputError(
                f"the split leaves {splits.validation.size} validation and "
                f"{counted(splits.test.size, 'test samples')}; use more builds or larger shares"
            )
        return splits


def fit_sae(
    items: Items,
    base: BaseActivations,
    recipe: "SaeRecipe",
    hook: HookPoint,
    model: "BaseModel",
    save_dir: Path,
    progress: Progress,
    resume: bool = True,
    device: str = CPU,
) -> dict[str, Any]:
    """Train, save below save_dir, and return the scorecard that was written beside it. device: where torch computes the steps."""
    from splat_assets.sae import train_sae

    where = usable_device(device)
    refuse_too_few(items.builds)
    splits = SampleSplits.of(items, hook.per_token)
    provenance = {
        "base_model": model.fingerprint,
        "base_activations": base.fingerprint,
        "hook_target": hook.target,
        "layer_index": hook.layer_index,
        "ff_module_index": hook.ff_module_index,
    }
    with explaining_write_errors("the SAE", save_dir):
        trained = train_sae(
            base.values, splits.train, splits.validation, recipe, save_dir,
            provenance=provenance, progress=progress, resume=resume, device=str(where),
        )  # fmt: skip
        return write_scorecard(trained.sae, items, base, hook, model, splits, save_dir, trained.summary)


def write_scorecard(
    sae: "Sae",
    items: Items,
    base: BaseActivations,
    hook: HookPoint,
    model: "BaseModel",
    splits: SampleSplits,
    save_dir: Path,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Measure the SAE and write `scorecard.json`.

    Reconstruction is measured on the test split, fidelity on at most 4,096 of its builds and masked variants, evenly spread;
    dead features, dense features and gamma over the training samples. n_train_samples, n_test_samples and n_fidelity_builds
    say on how many. All of it on the processor, wherever the SAE was trained: checks measure it again there.
    """
    card = {
        "architecture": sae.architecture,
        "trained_as": str(sae.metadata.get("trained_as", "not recorded")),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "sae_sha256": sae.fingerprint,
        **_measured(sae, items, base, hook, model, splits),
        "training": training,
    }
    write_json(save_dir / SCORECARD, card)
    return card


def mismatched_figures(
    card: Mapping[str, Any], sae: "Sae", items: Items, base: BaseActivations, hook: HookPoint, model: "BaseModel"
) -> list[str]:
    """The figures of a scorecard that differ from a new measurement by more than a thousandth; of the training, L0."""
    from splat_assets.sae.evaluate import reconstruction_metrics
    from splat_assets.sae.training.training import calibration_rows

    splits = SampleSplits.of(items, hook.per_token)
    fresh = _measured(sae, items, base, hook, model, splits)
    wrong = [name for name, value in fresh.items() if not _is_close(card.get(name, np.nan), value)]
    held_out = card.get("training", {}).get("held_out")
    if held_out is not None:
        on_validation = reconstruction_metrics(sae, base.values, calibration_rows(splits.validation, sae))
        if not _is_close(held_out.get("l0_mean", np.nan), on_validation["l0_mean"]):
            wrong.append("training.held_out.l0_mean")
    return wrong


def _is_close(stated: float | None, fresh: float | None) -> bool:
    if stated is None or fresh is None:
        return stated is fresh
    return bool(np.isclose(stated, fresh, rtol=1e-3))


def _measured(
    sae: "Sae", items: Items, base: BaseActivations, hook: HookPoint, model: "BaseModel", splits: SampleSplits
) -> dict[str, float | None]:
    from splat_assets.sae.evaluate import downstream_fidelity, reconstruction_metrics

    on_train = reconstruction_metrics(sae, base.values, splits.train)
    on_test = reconstruction_metrics(sae, base.values, splits.test)
    fidelity = downstream_fidelity(
        model, sae.reconstruct, items.builds, fidelity_items(items), mean=_mean_of_rows(base.values, splits.train),
        hook_target=hook.target, layer_index=hook.layer_index, ff_module_index=hook.ff_module_index,
    )  # fmt: skip
    return {
        "n_train_samples": int(splits.train.size),
        "n_test_samples": int(splits.test.size),
        **{name: on_train[name] for name in _SHOWN_OF_TRAIN},
        **{name: on_test[name] for name in _SHOWN_OF_TEST},
        **fidelity,
    }


def fidelity_items(items: Items) -> npt.NDArray[np.int64]:
    """The items that fidelity is measured on: builds and masked variants of the test split, at most 4,096, evenly spread."""
    test = np.flatnonzero((items.builds.split == SPLIT_NAMES.index("test")) & (items.kind != NULL_ROW))
    return evenly_spaced_rows(test, _FIDELITY_BUILDS)


def _mean_of_rows(values: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Block by block: the rows together may not fit into memory."""
    total = np.zeros(values.shape[1])
    for start in range(0, rows.size, _MEAN_BLOCK_ROWS):
        total += values[rows[start : start + _MEAN_BLOCK_ROWS]].sum(axis=0, dtype=np.float64)
    mean: npt.NDArray[np.float32] = (total / rows.size).astype(np.float32)
    return mean


_SHOWN_OF_TRAIN = ("dead_percent", "dense_percent", "gamma")
_SHOWN_OF_TEST = (
    "fvu",
    "explained_variance",
    "l0_mean",
    "l0_q05",
    "l0_q50",
    "l0_q95",
    "cosine",
    "l2_ratio",
    "relative_bias",
)
