"""Options that several commands share (a base model, a dataset, a hook, recipes), and opening all of it with one call."""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from rich.console import Console

from splat_assets.errors import InputError
from splat_assets.model.device import CPU, DEVICE
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.runs import SHARD_ITEMS, Limits, RunConfig, RunInputs, checkpoint_file
from splat_assets.sae.recipe import FLAGS, TRAINED_ARCHITECTURES, SaeRecipe, flag_of
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.sums import SUMS, as_recorded, recorded_sum
from splat_assets.text.numerals import number, number_type, whole
from splat_assets.text.progress import Progress, progress_for
from splat_assets.text.wording import counted

if TYPE_CHECKING:
    from splat_assets.compute.harvest import BaseModelFiles
    from splat_assets.data.builds import Builds
    from splat_assets.model import SplatGPT
    from splat_assets.model.hooks import HookPoint
    from splat_assets.sae import Sae
    from splat_assets.store.vocabulary import Contexts, Vocabulary

Command = TypeVar("Command", bound=Callable[..., Any])
Value = TypeVar("Value")
FILE = click.Path(readable=False, path_type=Path)
FOLDER = click.Path(readable=False, path_type=Path, file_okay=False)
_ONLY_FOR = {"k": "batch_topk", "l1_coeff": "relu_l1"}
_FEW_STEPS = 500

_CHECKPOINT = click.option("--model-checkpoint", type=FILE, required=True, help="The base model's file or folder.")
_VOCABULARIES = (
    click.option("--vocab-path", type=FILE, help="vocab.json. [default: the one beside the checkpoint]"),
    click.option("--weapon-vocab-path", type=FILE, help="weapon_vocab.json. [default: the one beside the checkpoint]"),
)
_DATA = click.option("--data-csv", type=FILE, required=True, help="Tokenised builds: tab-separated text, or .parquet.")
_HOOK = (
    click.option("--hook-target", help="masked_mean: the pooled build. token_ff: each token.  [default: masked_mean]"),
    click.option("--hook-layer-index", type=whole(), help="token_ff: which layer, -1 is the last.  [default: -1]"),
    click.option("--hook-ff-module-index", type=whole(), help="token_ff: which module of the block.  [default: 2]"),
)
_MASKED_VARIANTS = click.option(
    "--masked-variants", default=0, type=whole(), show_default=True, help="Randomly masked copies to add per build."
)
_SPLIT_SEED = click.option(
    "--split-seed",
    default=0,
    type=whole(),
    show_default=True,
    help="Seed of the split into train, validation and test.",
)
_BATCH_SIZE = click.option(
    "--batch-size", default=1_024, type=whole(), show_default=True, help="Builds per forward pass of the base model."
)
_SHARD_ITEMS = click.option(
    "--shard-items", default=SHARD_ITEMS, type=whole(), show_default=True, help="Builds per shard."
)
_EMBEDDINGS = click.option(
    "--embeddings/--no-embeddings", default=True, show_default=True, help="Keep SAE inputs, outputs and logits."
)

device_option = click.option(
    "--device",
    envvar=DEVICE,
    default=CPU,
    show_default=True,
    show_envvar=True,
    help="Where torch computes: cpu, cuda, cuda:1.",
)

sae_checkpoint_option = click.option(
    "--sae-checkpoint", type=FILE, required=True, help="sae_model_final.pth, or a folder with cfg.json."
)


def limit_options(command: Command) -> Command:
    """Add an option for each of the run's `Limits`, with their defaults."""
    limits = {
        "max_fvu": "largest unexplained share of variance.",
        "max_dead_percent": "largest share of features that never fire.",
        "min_fidelity": "smallest recovered share of predictions.",
    }
    for name, meaning in reversed(limits.items()):
        default = getattr(Limits(), name)
        help = f"Check: {meaning}"
        command = click.option(flag_of(name), default=default, type=number(), show_default=True, help=help)(command)
    return command


def _adding(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator that adds the options to a command, in this order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


checkpoint_options = _adding(_CHECKPOINT, *_VOCABULARIES)
"""The guide's options for a base model alone."""
model_options = _adding(_CHECKPOINT, _DATA, *_VOCABULARIES, *_HOOK, _MASKED_VARIANTS, _SPLIT_SEED, _BATCH_SIZE)
"""The guide's options for a base model and a dataset, and how one is run over the other; a hook left out is None."""
shard_options = _adding(_SHARD_ITEMS, _EMBEDDINGS)
"""How the rows are written."""


def take_hook(options: dict[str, Any]) -> "HookPoint | None":
    """Remove the hook's values from options: the hook, or None when none is named; layer and module have defaults."""
    from splat_assets.model.hooks import HookPoint

    target, layer, module = (options.pop(f"hook_{name}") for name in ("target", "layer_index", "ff_module_index"))
    if target is None:
        if layer is not None or module is not None:
            raise InputError(
                "--hook-layer-index and --hook-ff-module-index choose a module of token_ff: pass --hook-target too"
            )
        return None
    return HookPoint(target, -1 if layer is None else layer, 2 if module is None else module)


def progress_here() -> Progress:
    """Progress on standard error; results go to standard output."""
    return progress_for(Console(stderr=True))


def target_apart_from(source: Path, target: Path) -> Path:
    """The writable target folder; InputError when it is the source or lies in it."""
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target} is inside the source folder {source}; choose a folder outside it")
    return writable_folder(target)


def writable_folder(folder: Path) -> Path:
    """The folder, or InputError when it lies in a run, or neither it nor the nearest folder above that exists can be written."""
    owner = next(
        (place for place in (folder.resolve(), *folder.resolve().parents) if (place / "run.toml").is_file()), None
    )
    if owner is not None:
        raise InputError(f"{folder} belongs to the run {owner.name}; choose a folder outside {owner}")
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{folder} cannot be written: {there} is not a folder; name another")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".writable-", dir=there))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {there} takes no new folders ({error.strerror}); name another folder"
        ) from error
    return folder


@dataclasses.dataclass(frozen=True, slots=True)
class OpenedModel:
    """A base model with its vocabularies, and their files."""

    model: "SplatGPT"
    model_files: "BaseModelFiles"
    vocabulary: "Vocabulary"
    contexts: "Contexts"

    def read_builds(self, data: Path) -> "Builds":
        """The validated dataset."""
        from splat_assets.data.tokenised import read_tokenised

        return read_tokenised(data, self.vocabulary, self.contexts)


@dataclasses.dataclass(frozen=True, slots=True)
class TriedInputs:
    """What a run will be made from: its builds in their splits, and how many samples will train the SAE."""

    builds: "Builds"
    n_train_samples: int


def try_inputs(config: RunConfig) -> TriedInputs:
    """Open all inputs of such a run and check that they match; raises what the run would raise.

    And FingerprintMismatchError for a file that differs from what SHA256SUMS beside it lists.
    """
    inputs = config.inputs
    with as_recorded(*(Path(each.path) for each in (inputs.data, inputs.sae_checkpoint, inputs.sae_config) if each)):
        return _tried(config)


def _tried(config: RunConfig) -> TriedInputs:
    from splat_assets.compute.fit import SampleSplits
    from splat_assets.compute.items import make_items
    from splat_assets.compute.provenance import hook_for, refuse_other_model
    from splat_assets.data.splits import split_builds
    from splat_assets.model.hooks import HookPoint

    inputs, split = config.inputs, config.split
    opened = open_model(Path(inputs.model_checkpoint.path), Path(inputs.vocab.path), Path(inputs.weapon_vocab.path))
    hook = HookPoint(config.hook.hook_target, config.hook.layer_index, config.hook.ff_module_index)
    hook.layer_of(opened.model.dimensions.num_layers)
    if inputs.sae_checkpoint is None:
        config.sae.checked_for(opened.model.hook_width(hook.target, hook.ff_module_index))
    else:
        from splat_assets.sae import load_sae

        where = Path(inputs.sae_checkpoint.path)
        sae = load_sae(where)
        refuse_other_model(sae, where, opened.model, hook_for(sae, hook, opened.model.dimensions.num_layers))
    builds = split_builds(opened.read_builds(Path(inputs.data.path)), split.seed, split.validation, split.test)
    recipe = config.activations
    items = make_items(builds, opened.vocabulary, opened.contexts, recipe.masked_variants, recipe.seed)
    return TriedInputs(builds, SampleSplits.of(items, hook.per_token).train.size)


def say_what_lacks_checksums(inputs: RunInputs) -> None:
    """Warn of input files without a checksum: text, JSON and the like that no SHA256SUMS lists."""
    from splat_assets.model.tensors import has_checksums

    weights = {each.path for each in (inputs.model_checkpoint, inputs.sae_checkpoint) if each is not None}
    paths = [Path(each.path) for each in inputs.files()]
    bare = [
        path.name for path in paths if recorded_sum(path) is None and not (str(path) in weights and has_checksums(path))
    ]
    if bare:
        click.echo(
            f"note: no checksum is known of {', '.join(bare)}, so damage would not be detected; "
            f"run `sha256sum {' '.join(bare)} > {SUMS}` at their source and copy {SUMS} beside them"
        )


def trained_on_others(checkpoint: Path, builds: "Builds") -> bool:
    """Whether a base model was trained on other builds than these, or on these in other splits.

    By what `splat train-base` recorded beside the checkpoint; False without such a record.
    """
    try:
        record = read_json(checkpoint.parent / "training_metrics.json")
        return bool(record["inputs"]["builds"] != builds.fingerprint)
    except (FileNotFoundError, NotADirectoryError, *WRONG_CONTENT):
        return False


def warn_of_other_builds(checkpoint: Path, builds: "Builds") -> None:
    """Warn on standard error where training builds of the base model may be among the test builds of its SAE."""
    if trained_on_others(checkpoint, builds):
        click.echo(
            "warning: the base model was trained on other builds or another split, so its training builds may be "
            "among the test builds; if it was trained on this dataset, pass the --split-seed of `splat train-base`",
            err=True,
        )


def open_model(model_checkpoint: Path, vocab_path: Path | None, weapon_vocab_path: Path | None) -> OpenedModel:
    """Load a base model; vocabularies default to those beside the checkpoint.

    Raises FingerprintMismatchError for a file that differs from what SHA256SUMS beside it lists.
    """
    from splat_assets.compute.harvest import BaseModelFiles
    from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
    from splat_assets.model import load_base_model

    checkpoint = checkpoint_file(model_checkpoint)
    vocab = vocab_path or checkpoint.parent / "vocab.json"
    weapon_vocab = weapon_vocab_path or checkpoint.parent / "weapon_vocab.json"
    beside = [checkpoint.with_name(name) for name in ("model_params.json", "training_metrics.json")]
    with as_recorded(checkpoint, vocab, weapon_vocab, *beside):
        vocabulary, contexts = read_vocabulary(vocab), read_contexts(weapon_vocab)
        model = load_base_model(checkpoint, vocab_path=vocab, weapon_vocab_path=weapon_vocab)
    return OpenedModel(model, BaseModelFiles(checkpoint, vocab, weapon_vocab), vocabulary, contexts)


def open_sae(path: Path) -> "Sae":
    """Load an SAE from its file or folder; raises as `open_model` for what differs from its list."""
    from splat_assets.sae import load_sae

    folder = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else [folder / name for name in ("sae_weights.safetensors", "sae_model_final.pth")]
    with as_recorded(*files, folder / "cfg.json"):
        return load_sae(path)


def base_options(command: Command) -> Command:
    """Add an option for every field of BaseTrainingRecipe, under the field's name."""
    for field in reversed(dataclasses.fields(BaseTrainingRecipe)):
        flag, kind = flag_of(field.name), number_type(type(field.default))
        if isinstance(field.default, bool):
            flag = f"{flag}/--no-{flag[2:]}"
        help = _sentence(field.metadata["help"])
        command = click.option(flag, field.name, default=field.default, type=kind, show_default=True, help=help)(
            command
        )
    return command


def sae_options(command: Command) -> Command:
    """Add an option for every field of SaeRecipe; values arrive as `sae_<field>`, None if left out."""
    for field in reversed(dataclasses.fields(SaeRecipe)):
        kind = number_type(int if "int" in str(field.type) else float)
        if field.name == "architecture":
            kind = click.Choice(TRAINED_ARCHITECTURES)
        help = _sentence(field.metadata["help"])
        if field.default is not None:
            help += f"  [default: {field.default}]"
        command = click.option(FLAGS[field.name], f"sae_{field.name}", type=kind, help=help)(command)
    return command


def _sentence(text: str) -> str:
    """The help of a setting as a sentence; names of architectures stay as they are typed."""
    begins_with_a_name = text.startswith(TRAINED_ARCHITECTURES)
    return f"{text if begins_with_a_name else text[0].upper() + text[1:]}."


def take_recipe(options: dict[str, Any]) -> SaeRecipe:
    """Remove the `sae_*` values from options and make a recipe of them.

    `--l1-coeff` alone means the guide's relu_l1, `--k` alone batch_topk; InputError when they contradict the architecture.
    """
    names = [field.name for field in dataclasses.fields(SaeRecipe)]
    values = {name: options.pop(f"sae_{name}") for name in names}
    values = {name: value for name, value in values.items() if value is not None}
    implied = {_ONLY_FOR[name] for name in values if name in _ONLY_FOR}
    architecture = values.get("architecture")
    if len(implied | ({architecture} if architecture else set())) > 1:
        flags = " and ".join(f"{FLAGS[name]} (for {_ONLY_FOR[name]})" for name in values if name in _ONLY_FOR)
        chosen = f" with --architecture {architecture}" if architecture else ""
        raise InputError(f"{flags} cannot be combined{chosen}: choose one architecture")
    if implied and not architecture:
        values["architecture"] = implied.pop()
    return SaeRecipe(**values)


def picked(kind: type[Value], options: dict[str, Any], **more: Any) -> Value:
    """A dataclass of the options that have the names of its fields."""
    names = {field.name for field in dataclasses.fields(cast(Any, kind))}
    return kind(**{name: value for name, value in (options | more).items() if name in names})


def warn_of_few_steps(recipe: SaeRecipe, n_train_rows: int) -> None:
    """Warn on standard error when the SAE would be trained for too few steps."""
    n_steps = recipe.n_steps(n_train_rows)
    if n_steps < _FEW_STEPS:
        click.echo(
            f"warning: the SAE will be trained for {counted(n_steps, 'steps')} only "
            f"({counted(n_train_rows, 'rows')} in batches of "
            f"{recipe.batch_size:,}, {counted(recipe.epochs, 'epochs')}); {_FEW_STEPS:,} or more are usual: raise "
            f"--epochs, or lower --sae-batch-size",
            err=True,
        )
