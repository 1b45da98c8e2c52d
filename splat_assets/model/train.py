"""Training of a SplatGPT: masked builds in, the full set as target.

From builds to a folder that loads as a base model, which appears whole or not at all. How the weights are moved is in
`epochs`.
"""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.attention import ISAB, PMA, Attention
from splat_assets.model.checkpoint import PARAMS_FILE, VOCAB_FILE, WEAPON_VOCAB_FILE, save_base_model
from splat_assets.model.device import usable_device
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.epochs import EpochMetrics, Training
from splat_assets.model.prediction import PredictionMetrics, prediction_metrics, token_frequency
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.splatgpt import SplatGPT
from splat_assets.store.files import replaceable_folder, replacing_folder, write_json
from splat_assets.store.sums import SUMS, record_sums
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

METRICS_FILE = "training_metrics.json"
FILES = ("model.pth", PARAMS_FILE, METRICS_FILE, VOCAB_FILE, WEAPON_VOCAB_FILE, SUMS)


@dataclass(frozen=True, slots=True)
class TrainedBaseModel:
    """What a training gave: the frozen model, where it is, how it went, and how it predicts held-out builds.

    held_out: scores on the test split, or on the validation split where builds have no test split.
    """

    model: SplatGPT
    folder: Path
    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    stopped_early: bool
    held_out: PredictionMetrics


def train_base_model(
    builds: Builds,
    vocabulary: Vocabulary,
    contexts: Contexts,
    recipe: BaseTrainingRecipe,
    save_dir: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> TrainedBaseModel:
    """Train on the train split and write FILES: the weights, what they are, how it went, both vocabularies, SHA256SUMS.

    Args:
        builds: with a train and a validation split; a test split is used for the final scores where there is one.
        save_dir: appears whole or not at all; a folder that an earlier call wrote is replaced.
        progress: where to report progress, in builds.
        device: where torch computes.

    Raises:
        InputError: the train or validation split is empty, save_dir holds something this does not write, or the loss is not
            finite.

    Examples:
        >>> import tempfile
        >>> from splat_assets.store.vocabulary import Context, Token
        >>> names = ("haunt", "tenacity", "comeback", "<NULL>", "<PAD>")
        >>> vocabulary = Vocabulary(tuple(Token(i, name, name, None) for i, name in enumerate(names)), pad_id=4, null_id=3)
        >>> contexts = Contexts((Context(0, "weapon_id_0", "Sploosh-o-matic"),))
        >>> tokens, offsets, weapons = np.tile(np.int32([0, 1]), 40), np.arange(0, 81, 2), np.zeros(40, dtype=np.int32)
        >>> builds = Builds(tokens, offsets, weapons, np.repeat(np.uint8([0, 1]), (30, 10)), np.arange(40))
        >>> recipe = BaseTrainingRecipe(embedding_dim=4, hidden_dim=8, num_layers=1, num_inducing_points=2, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained = train_base_model(builds, vocabulary, contexts, recipe, Path(folder) / "model")
        >>> len(trained.epochs), trained.held_out.n_builds
        (1, 10)
    """
    replaceable_folder(save_dir, FILES.__contains__)
    for split in ("train", "validation"):
        if not builds.rows_of(split).size:
            raise InputError(
                f"none of the {counted(builds.n_builds, 'builds')} is in the {split} split; split them before training"
            )
    frequency = token_frequency(builds.take(builds.rows_of("train")), len(vocabulary))
    model = initial_model(_dimensions(vocabulary, contexts, recipe), vocabulary.pad_id, frequency, recipe.seed)
    training = Training(model.to(usable_device(device)), builds, vocabulary, recipe)
    training.run(progress or SilentProgress())
    model = training.best_model()
    held_out = builds.rows_of("test") if builds.rows_of("test").size else builds.rows_of("validation")
    scores = prediction_metrics(model, builds, held_out, vocabulary, seed=recipe.seed, skew=recipe.mask_skew)
    trained = TrainedBaseModel(
        model, save_dir, tuple(training.epochs), training.best.epoch, training.stopped_early, scores
    )
    _save(trained, builds, vocabulary, contexts, recipe)
    return trained


def _dimensions(vocabulary: Vocabulary, contexts: Contexts, recipe: BaseTrainingRecipe) -> SplatGPTDimensions:
    return SplatGPTDimensions(
        vocab_size=len(vocabulary),
        weapon_vocab_size=len(contexts),
        embedding_dim=recipe.embedding_dim,
        hidden_dim=recipe.hidden_dim,
        output_dim=len(vocabulary),
        num_layers=recipe.num_layers,
        num_heads=recipe.num_heads,
        num_inducing_points=recipe.num_inducing_points,
        use_layer_norm=recipe.use_layer_norm,
    )


def _save(
    trained: TrainedBaseModel, builds: Builds, vocabulary: Vocabulary, contexts: Contexts, recipe: BaseTrainingRecipe
) -> None:
    metrics = {
        "recipe": asdict(recipe),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "held_out": asdict(trained.held_out),
        "fingerprint": trained.model.fingerprint,
        "inputs": {
            "builds": builds.fingerprint,
            "vocabulary": vocabulary.fingerprint,
            "contexts": contexts.fingerprint,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    with replacing_folder(trained.folder) as aside:
        _write_ids(aside / VOCAB_FILE, {token.name: token.id for token in vocabulary.tokens})
        _write_ids(aside / WEAPON_VOCAB_FILE, {item.key: item.id for item in contexts.items})
        write_json(aside / METRICS_FILE, metrics)
        save_base_model(trained.model, aside)
        record_sums(aside, FILES[:-1])


def _write_ids(path: Path, ids: Mapping[str, int]) -> None:
    """In id order, as such files are."""
    path.write_text(json.dumps(ids, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


_LEAST_FREQUENCY = 1e-5


def initial_model(
    dimensions: SplatGPTDimensions, pad_id: int, frequency: npt.NDArray[np.float64], seed: int
) -> SplatGPT:
    """A SplatGPT with random weights; the same seed gives the same ones.

    frequency: shape (O,), the share of builds that hold each token. The output biases start at its log odds (Lin et al.
    2017, Focal Loss, section 4.1): otherwise the first thousand steps go into learning them, and the rest starts late.

    Linear maps as torch draws them (uniform within 1 / sqrt(inputs)), attention projections and learned points by Glorot
    and Bengio 2010, equation 16, embeddings normal; the embedding of padding is 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):  # the constructors would draw from the global generator
        model = SplatGPT(dimensions, pad_id)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for module in model.modules():
            _fill(module, generator)
        model.ability_embedding.weight[pad_id] = 0
        odds = np.clip(frequency, _LEAST_FREQUENCY, 1 - _LEAST_FREQUENCY)
        model.output_layer.bias.copy_(torch.from_numpy(np.log(odds / (1 - odds))))
    return model


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the parameters that belong to this module itself."""
    if isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        module.weight.uniform_(-bound, bound, generator=generator)
        module.bias.uniform_(-bound, bound, generator=generator)
    elif isinstance(module, nn.LayerNorm):
        module.weight.fill_(1)
        module.bias.zero_()
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(generator=generator)
    elif isinstance(module, Attention):
        nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
        module.in_proj_bias.zero_()
    elif isinstance(module, ISAB):
        nn.init.xavier_uniform_(module.inducing_points, generator=generator)
    elif isinstance(module, PMA):
        nn.init.xavier_uniform_(module.seed_vectors, generator=generator)
