"""How an SAE is trained: every knob with one line of help, and the contradictions that are refused."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from splat_assets.errors import InputError
from splat_assets.model.recipe import setting
from splat_assets.text.wording import counted

TRAINED_ARCHITECTURES = ("batch_topk", "relu_l1")
_LONGEST_SILENCE_ROWS = 250_000
_MOST_FEATURES = 10_000_000


@dataclass(frozen=True, kw_only=True)
class SaeRecipe:
    """Settings of one training. The help of a field is `dataclasses.fields(SaeRecipe)[i].metadata["help"]`.

    Raises:
        InputError: a setting is out of its range, or settings contradict each other.

    Examples:
        >>> recipe = SaeRecipe(expansion_factor=8, k=16).checked_for(64)
        >>> recipe.d_sae, recipe.lr, recipe.aux_k
        (512, 0.0015, 32)
    """

    architecture: str = setting("batch_topk", "batch_topk (k active per row on average) or relu_l1 (L1 penalty)")
    expansion_factor: float = setting(48.0, "features per input dimension; ignored when --d-sae is set")
    d_sae: int | None = setting(None, "number of features, instead of --expansion-factor")
    k: int = setting(64, "batch_topk: active features per row, on average over a batch")
    l1_coeff: float = setting(
        3e-4,
        "relu_l1: weight of the L1 penalty beside the mean squared error, both of inputs scaled to unit variance",
    )
    l1_warmup_fraction: float = setting(0.05, "relu_l1: share of the steps over which the weight rises from 0")
    epochs: int = setting(5, "passes over the training rows, each in a new order")
    batch_size: int = setting(4096, "maximum rows per step; an epoch is split into nearly equal batches")
    lr: float | None = setting(
        None,
        "learning rate of Adam after the warm-up; if not set: 0.024 / k, at most 0.008, for batch_topk, and 0.18 / "
        "sqrt(number of features) for relu_l1",
    )
    lr_warmup_fraction: float = setting(0.05, "share of the steps over which the learning rate rises from 0")
    lr_decay_fraction: float = setting(0.2, "share of the steps, at the end, over which the learning rate falls to 0")
    adam_beta1: float = setting(0.9, "decay of Adam's mean of gradients")
    adam_beta2: float = setting(0.99, "decay of Adam's mean of squared gradients")
    clip_norm: float | None = setting(1.0, "maximum norm of the whole gradient; a very large number turns clipping off")
    aux_k: int | None = setting(
        None, "dead features per row that model the residual; 0 is off; if not set: min(256, d_in // 2, 2 k)"
    )
    aux_coeff: float = setting(1 / 32, "weight of the auxiliary loss of the dead features")
    dead_after_samples: int | None = setting(
        None,
        "rows without an activation after which a feature is dead; if not set: the larger of a quarter of an epoch and 10 "
        "batches, at most 250,000 rows and a tenth of all training rows",
    )
    seed: int = setting(0, "seed of the initial weights and of every shuffle")
    evaluate_every_steps: int | None = setting(
        None, "steps between rows of metrics.parquet; if not set: about 50 rows in all"
    )
    evaluation_rows: int = setting(4096, "maximum number of held-out rows per evaluation, a row of metrics.parquet")
    calibration_rows: int = setting(100_000, "maximum number of held-out rows that calibrate the threshold")
    checkpoint_every_seconds: float = setting(
        30.0, "time between checkpoints of the training state; 0 is after every step"
    )

    def __post_init__(self) -> None:
        _refuse_unless(
            self.architecture in TRAINED_ARCHITECTURES,
            f"SAE architecture {self.architecture!r} is not one of {', '.join(TRAINED_ARCHITECTURES)}",
        )
        for name in ("k", "epochs", "batch_size", "evaluation_rows", "calibration_rows"):
            _refuse_unless(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("expansion_factor", "lr", "clip_norm"):
            value = getattr(self, name)
            _refuse_unless(
                value is None or (math.isfinite(value) and value > 0), f"{name} must be above 0, not {value}"
            )
        for name in ("l1_coeff", "aux_coeff", "checkpoint_every_seconds"):
            value = getattr(self, name)
            _refuse_unless(math.isfinite(value) and value >= 0, f"{name} must be 0 or more, not {value}")
        for name in ("l1_warmup_fraction", "lr_warmup_fraction", "lr_decay_fraction"):
            _refuse_unless(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1, not {getattr(self, name)}")
        for name in ("adam_beta1", "adam_beta2"):
            _refuse_unless(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name, least in (("d_sae", 1), ("aux_k", 0), ("dead_after_samples", 1), ("evaluate_every_steps", 1)):
            value = getattr(self, name)
            _refuse_unless(value is None or value >= least, f"{name} must be at least {least}, not {value}")
        _refuse_unless(self.seed >= 0, f"seed must be 0 or more, not {self.seed}")

    def width(self, d_in: int) -> int:
        """The number of features for inputs of width d_in."""
        return self.d_sae if self.d_sae is not None else max(1, int(d_in * self.expansion_factor))

    def checked_for(self, d_in: int) -> "SaeRecipe":
        """This recipe with d_sae, lr and aux_k filled in for inputs of width d_in.

        Raises:
            InputError: k is larger than the dictionary, or the dictionary is too large.
        """
        d_sae = self.width(d_in)
        _refuse_unless(
            d_sae <= _MOST_FEATURES,
            f"{counted(d_sae, 'features')} are more than the {_MOST_FEATURES:,} an SAE may have; lower the "
            f"expansion factor or d_sae",
        )
        _refuse_unless(
            self.architecture != "batch_topk" or self.k <= d_sae,
            f"k = {self.k} is larger than the dictionary of {counted(d_sae, 'features')} (inputs of width {d_in}); "
            "lower k, or raise the expansion factor or d_sae",
        )
        aux_k = self.aux_k if self.aux_k is not None else min(256, max(1, d_in // 2), 2 * self.k)
        # Found on pooled activations of width 64 with 512 and 2,048 features (docs/results.md): at twice the rate, and at half of
        # it where k is small, many more features die.
        usual_lr = 0.18 / math.sqrt(d_sae) if self.architecture == "relu_l1" else min(0.008, 0.024 / self.k)
        lr = self.lr if self.lr is not None else usual_lr
        return dataclasses.replace(self, d_sae=d_sae, lr=lr, aux_k=min(aux_k, d_sae))

    def n_steps(self, n_train_rows: int) -> int:
        """The steps of a training on so many rows."""
        return self.epochs * -(-n_train_rows // self.batch_size)

    def dead_after(self, n_train_rows: int) -> int:
        """The rows without firing after which a feature counts as dead."""
        if self.dead_after_samples is not None:
            return self.dead_after_samples
        n_batches = -(-n_train_rows // self.batch_size)
        usual = max(n_train_rows // 4, 10 * n_train_rows // n_batches)
        return max(1, min(usual, _LONGEST_SILENCE_ROWS, self.epochs * n_train_rows // 10))

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, without how often a checkpoint is taken: it decides nothing about the result."""
        settings = dataclasses.asdict(self)
        del settings["checkpoint_every_seconds"]
        return settings


def _refuse_unless(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)


def flag_of(name: str) -> str:
    """`d_sae` as `--d-sae`."""
    return "--" + name.replace("_", "-")


FLAGS = {field.name: flag_of(field.name) for field in dataclasses.fields(SaeRecipe)}
FLAGS["batch_size"] = "--sae-batch-size"  # the guide's name
TRAINING_FLAGS = frozenset(FLAGS.values())
"""The options that say how to train an SAE, and mean nothing for one that is ready."""
