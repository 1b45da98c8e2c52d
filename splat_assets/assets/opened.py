"""Opening the outputs of a run's earlier assets, for later assets and checks."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from splat_assets.analysis.influence import influenced_tokens
from splat_assets.compute.harvest import BaseActivations, BaseModelFiles, Shard, harvest, harvest_identity, shards_of
from splat_assets.compute.items import Items, make_items
from splat_assets.compute.shards import ShardRunner
from splat_assets.data.builds import Builds
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import Run
from splat_assets.store.raw import RawActivations
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress

if TYPE_CHECKING:
    from splat_assets.model import SplatGPT
    from splat_assets.sae import Sae


Value = TypeVar("Value")
_OPEN: ContextVar[dict[Hashable, Any] | None] = ContextVar("inputs of runs that are open", default=None)


@contextmanager
def inputs_opened_once() -> Iterator[None]:
    """Inside, inputs of runs are hashed and read once for all assets and checks; a file that changes is read anew."""
    token = _OPEN.set({})
    try:
        yield
    finally:
        _OPEN.reset(token)


def _kept(what: str, files: list[Path], settings: Hashable, open_it: Callable[[], Value]) -> Value:
    """What `open_it` makes of the files, or made of them earlier in this scope."""
    opened = _OPEN.get()
    if opened is None:
        return open_it()
    key = (what, tuple(map(_signature, files)), settings)
    if key not in opened:
        opened[key] = open_it()
    value: Value = opened[key]
    return value


def _signature(path: Path) -> Hashable:
    """What changes when somebody writes the file."""
    if not path.is_file():
        return str(path)
    stat = path.stat()
    return str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def vocabulary_of(run: Run) -> Vocabulary:
    """The tokens of the run's base model."""
    file = run.config.inputs.vocab
    return _kept("vocabulary", [Path(file.path)], file.sha256, lambda: read_vocabulary(file.checked("vocabulary")))


def contexts_of(run: Run) -> Contexts:
    """The weapons of the run's base model."""
    file = run.config.inputs.weapon_vocab
    return _kept("weapons", [Path(file.path)], file.sha256, lambda: read_contexts(file.checked("weapon vocabulary")))


def model_files_of(run: Run) -> BaseModelFiles:
    """The files the base model is loaded from, checked against the run's fingerprints."""
    inputs = run.config.inputs
    named = [inputs.model_checkpoint, inputs.vocab, inputs.weapon_vocab]
    files = [*named, *([inputs.model_params] if inputs.model_params else [])]

    def check() -> BaseModelFiles:
        if inputs.model_params is not None:
            inputs.model_params.checked("model parameters")
        return BaseModelFiles(
            inputs.model_checkpoint.checked("base model checkpoint"),
            inputs.vocab.checked("vocabulary"),
            inputs.weapon_vocab.checked("weapon vocabulary"),
        )

    return _kept("model files", [Path(file.path) for file in files], tuple(file.sha256 for file in files), check)


def base_model_of(run: Run) -> "SplatGPT":
    """The run's base model."""
    from splat_assets.model import load_base_model

    files = model_files_of(run)
    named = [files.checkpoint, files.vocab, files.weapon_vocab]

    def load() -> "SplatGPT":
        return load_base_model(files.checkpoint, vocab_path=files.vocab, weapon_vocab_path=files.weapon_vocab)

    return _kept("base model", named, run.config.inputs.model_checkpoint.sha256, load)


def hook_of(run: Run) -> HookPoint:
    """Where the run takes activations."""
    return HookPoint(run.config.hook.hook_target, run.config.hook.layer_index, run.config.hook.ff_module_index)


def builds_of(run: Run) -> Builds:
    """The validated dataset with its split."""
    return Builds.load(run.layout.builds)


def unseen_outputs_of(run: Run) -> list[str]:
    """The tokens that features can influence and that no build of the dataset has, in id order."""
    seen = np.bincount(builds_of(run).tokens, minlength=len(vocabulary_of(run))) > 0
    return [token.name for token in influenced_tokens(vocabulary_of(run)) if not seen[token.id]]


def items_of(run: Run) -> Items:
    """What is run through the base model, in order."""
    recipe = run.config.activations

    def make() -> Items:
        return make_items(builds_of(run), vocabulary_of(run), contexts_of(run), recipe.masked_variants, recipe.seed)

    inputs = run.config.inputs
    named = [run.layout.builds, Path(inputs.vocab.path), Path(inputs.weapon_vocab.path)]
    return _kept("items", named, (recipe.masked_variants, recipe.seed, inputs.vocab.sha256), make)


def shards_of_run(run: Run, items: Items) -> list[Shard]:
    """The run's shards."""
    return shards_of(items, run.config.activations.shard_items, hook_of(run).per_token)


def base_activations_of(run: Run, items: Items, progress: Progress) -> BaseActivations:
    """The base activations of all items, from the cache that runs share, or computed now."""
    files, recipe = model_files_of(run), run.config.activations
    model = base_model_of(run)
    hook = hook_of(run).in_model(model.dimensions.num_layers)
    identity = harvest_identity(model.fingerprint, items, hook, recipe.shard_items, recipe.batch_size)
    folder = run.root.cache / "base_activations" / identity[:16]
    runner = ShardRunner.from_environment()
    return harvest(folder, items, files, hook, recipe.shard_items, recipe.batch_size, runner, progress)


def sae_of(run: Run) -> "Sae":
    """The run's SAE."""
    from splat_assets.sae import load_sae

    return load_sae(run.layout.sae)


def raw_of(run: Run) -> RawActivations:
    """The run's raw activations, all shards."""
    return RawActivations(run.layout.raw_activations)


def sparse_of(run: Run) -> SparseReader:
    """The sparse matrices of the run's next version."""
    return SparseReader(run.layout.activations_zarr)
