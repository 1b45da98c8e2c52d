"""A run: one base checkpoint x dataset x SAE recipe x seed, frozen in `run.toml` with the sha256 of every input.

What belongs here: the description of a run, making one, opening one. What a run's steps do is in `splat_assets.assets`.
"""

import importlib.metadata
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import ConfigDict, TypeAdapter, ValidationError

from splat_assets.distribution import installed_version
from splat_assets.errors import InputError
from splat_assets.model.hooks import HookPoint
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.documents import read_toml
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import replacing_file, sha256_of_file
from splat_assets.store.layout import DataRoot, RunLayout

SHARD_ITEMS = 32_768
BASE_MODEL_FILES = ("model.pth", "model.safetensors")
"""What a base model's weights may be called, in its folder."""
SAE_FILES = ("sae_weights.safetensors", "sae_model_final.pth")
"""What an SAE's weights may be called, in its folder, the first that is there counting."""
_FORBID = ConfigDict(extra="forbid")
_RECORDED_VERSIONS = ("torch", "numpy", "polars", "pyarrow", "zarr", "numcodecs")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a run was made from: where it was and the sha256 it had."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path, what: str) -> "InputFile":
        """Hash a file that must exist."""
        if path.is_dir():
            raise InputError(f"{what}: {path} is a folder; pass the file")
        if path.exists() and not path.is_file():
            raise InputError(
                f"{what}: {path} is a pipe or a device, which cannot be read again; save it as a file, which can be "
                "recorded by its path and sha256"
            )
        if not path.is_file():
            raise InputError(f"{what}: file {path} does not exist; pass the path of one")
        return cls(str(path.absolute()), sha256_of_file(path))

    def checked(self, what: str) -> Path:
        """The path, when the file still has the recorded content; FingerprintMismatchError otherwise."""
        path = Path(self.path)
        actual = InputFile.of(path, what).sha256
        if actual != self.sha256:
            raise FingerprintMismatchError(
                f"{what} {path} is not the file this run was made from",
                self.sha256,
                actual,
                "restore the old file, or make a new run with `splat run new`",
            )
        return path


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The files a run is made from."""

    model_checkpoint: InputFile
    vocab: InputFile
    weapon_vocab: InputFile
    data: InputFile
    model_params: InputFile | None = None
    sae_checkpoint: InputFile | None = None
    """A ready-made SAE to use instead of training one."""
    sae_config: InputFile | None = None
    """The cfg.json beside it, which says how its weights are to be used."""

    def files(self) -> list[InputFile]:
        """Those there are, in the order of the fields."""
        return [one for each in fields(self) if (one := getattr(self, each.name)) is not None]

    def vocabularies(self) -> dict[str, str]:
        """The sha256 of both vocabularies, by field."""
        return {"vocab": self.vocab.sha256, "weapon_vocab": self.weapon_vocab.sha256}

    def refuse_changed(self) -> None:
        """Hash every file again; FingerprintMismatchError for the first that is not what it was, InputError if it is gone."""
        for name in (each.name for each in fields(self)):
            recorded: InputFile | None = getattr(self, name)
            if recorded is not None:
                recorded.checked(name.replace("_", " "))


@dataclass(frozen=True, slots=True)
class SplitRecipe:
    """How builds are divided; equal builds of a weapon always stay together."""

    seed: int = 0
    validation: float = 0.1
    """Share of builds for tuning and calibration."""
    test: float = 0.1
    """Share of builds for the final figures."""

    def __post_init__(self) -> None:
        _refuse_unless(self.seed >= 0, f"split seed must be 0 or more, not {self.seed}")
        for name in ("validation", "test"):
            share = getattr(self, name)
            _refuse_unless(0 < share < 1, f"the {name} share of the split must be between 0 and 1, not {share}")
        _refuse_unless(self.validation + self.test < 1, "the validation and test shares leave no builds to train on")


@dataclass(frozen=True, slots=True)
class HookRecipe:
    """Where in the base model activations are taken."""

    hook_target: str = "masked_mean"
    """masked_mean (the pooled build) or token_ff (each token)."""
    layer_index: int = -1
    """token_ff: which transformer layer."""
    ff_module_index: int = 2
    """token_ff: which module of its feed-forward block (0 and 1 are four times as wide)."""

    def __post_init__(self) -> None:
        HookPoint(self.hook_target, self.layer_index, self.ff_module_index)


@dataclass(frozen=True, slots=True)
class ActivationsRecipe:
    """How the dataset is run through base model and SAE."""

    masked_variants: int = 0
    """Randomly masked copies of every build, besides the build itself."""
    seed: int = 0
    """Seed of the masking."""
    shard_items: int = SHARD_ITEMS
    """Builds per shard, the unit of work and of resuming."""
    batch_size: int = 1_024
    """Builds per forward pass."""
    embeddings: bool = True
    """Keep SAE inputs, reconstructions and base-model logits too."""

    def __post_init__(self) -> None:
        for name, least in (("masked_variants", 0), ("seed", 0), ("shard_items", 1), ("batch_size", 1)):
            value = getattr(self, name)
            _refuse_unless(value >= least, f"{name.replace('_', ' ')} must be at least {least}, not {value}")


@dataclass(frozen=True, slots=True)
class StoreRecipe:
    """How the store is written."""

    profile: Literal["raw", "compact"] = "raw"
    """raw: fastest to read, 8 bytes an activation. compact: pcodec, about half the bytes."""
    batch_rows: int = 500_000
    """Samples per batch of the guide's batch Zarr."""

    def __post_init__(self) -> None:
        _refuse_unless(self.batch_rows >= 1, f"batch rows must be at least 1, not {self.batch_rows}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the SAE must reach for its checks to pass."""

    max_fvu: float = 0.5
    """Largest share of variance left unexplained on held-out rows."""
    max_dead_percent: float = 50.0
    """Largest share of features that never fire on the training rows."""
    min_fidelity: float = 0.5
    """Smallest recovered share of the base model's predictions, 0 being mean-ablation and 1 the untouched model."""

    def __post_init__(self) -> None:
        for name in ("max_fvu", "max_dead_percent", "min_fidelity"):
            value = getattr(self, name)
            _refuse_unless(math.isfinite(value), f"the limit {name} must be a number, not {value}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that decides what a run computes."""

    __pydantic_config__ = _FORBID

    inputs: RunInputs
    sae: SaeRecipe = field(default_factory=SaeRecipe)
    split: SplitRecipe = field(default_factory=SplitRecipe)
    hook: HookRecipe = field(default_factory=HookRecipe)
    activations: ActivationsRecipe = field(default_factory=ActivationsRecipe)
    store: StoreRecipe = field(default_factory=StoreRecipe)
    limits: Limits = field(default_factory=Limits)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run that exists: its data root, folders and frozen description."""

    root: DataRoot
    layout: RunLayout
    config: RunConfig

    @property
    def name(self) -> str:
        """The run's name."""
        return self.layout.name


def hash_inputs(
    model_checkpoint: Path,
    vocab: Path | None,
    weapon_vocab: Path | None,
    data: Path,
    sae_checkpoint: Path | None = None,
) -> RunInputs:
    """Hash the files of a new run.

    Args:
        model_checkpoint: The base model's weights, or the folder that holds them. `model_params.json` beside them counts too.
        vocab: The one beside the checkpoint, if None; so is `weapon_vocab`.
        data: Tokenised builds, a file.
        sae_checkpoint: A ready-made SAE, a file or folder; None for a run that trains its own.

    Returns:
        Absolute paths with the sha256 of each file.

    Raises:
        InputError: A file is missing, or is a folder, a pipe or a device; or a folder holds none or two of the files that
            may be meant.
    """
    checkpoint = checkpoint_file(model_checkpoint)
    beside = checkpoint.parent
    params = beside / "model_params.json"
    sae = _sae_file(sae_checkpoint) if sae_checkpoint else None
    sae_config = sae.with_name("cfg.json") if sae and sae.suffix == ".safetensors" else None
    return RunInputs(
        model_checkpoint=InputFile.of(checkpoint, "base model checkpoint"),
        vocab=InputFile.of(vocab or beside / "vocab.json", "vocabulary"),
        weapon_vocab=InputFile.of(weapon_vocab or beside / "weapon_vocab.json", "weapon vocabulary"),
        data=InputFile.of(data, "dataset"),
        model_params=InputFile.of(params, "model parameters") if params.is_file() else None,
        sae_checkpoint=InputFile.of(sae, "SAE checkpoint") if sae else None,
        sae_config=InputFile.of(sae_config, "SAE configuration") if sae_config else None,
    )


def create_run(root: DataRoot, name: str, config: RunConfig) -> Run:
    """Freeze a new run in `run.toml`; the same description again changes nothing.

    Args:
        name: Letters, digits, `_`, `-` and `.`.
        config: Its `versions` are replaced by those that are installed.

    Returns:
        The run, read back from its file. Nothing is computed yet.

    Raises:
        InputError: A run of that name has another description, the name cannot be one, the data root cannot be written, or an
            input lies outside a data root that is a working copy of a bucket.

    Examples:
        >>> with TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     for file in ("model.pth", "vocab.json", "weapon_vocab.json", "builds.csv"):
        ...         _ = (folder / file).write_text("{}")
        ...     config = RunConfig(hash_inputs(folder, None, None, folder / "builds.csv"), SaeRecipe(k=8))
        ...     made = create_run(DataRoot(folder), "mine", config)
        ...     (made.name, made.layout.config.name, open_run(made.root, "mine").config.sae.k)
        ('mine', 'run.toml', 8)
    """
    layout = root.run(name)
    if layout.config.exists():
        existing = open_run(root, name)
        if _without_versions(existing.config) == _without_versions(config):
            return existing
        raise InputError(f"run {name!r} exists and was made differently: see {layout.config}, or choose another name")
    root.checked_writable()
    layout.root.mkdir(parents=True, exist_ok=True)
    _refuse_inputs_elsewhere(root, config.inputs)
    moved = replace(config, inputs=_with_paths(config.inputs, lambda path: _within(root, path)))
    frozen = _as_toml({**asdict(moved), "versions": recorded_versions()})
    with replacing_file(layout.config) as aside:
        aside.write_text(tomli_w.dumps(frozen), encoding="utf-8")
    return open_run(root, name)


def open_run(root: DataRoot, name: str) -> Run:
    """The run called name, as `run.toml` describes it; its inputs and artifacts are not opened.

    Raises:
        InputError: The run does not exist, and the text lists those that do; or its description cannot be read.

    Examples:
        >>> open_run(DataRoot(Path("/nowhere")), "mine")
        Traceback (most recent call last):
        splat_assets.errors.InputError: run 'mine' does not exist under /nowhere/runs; runs there: none; ...
    """
    layout = root.run(name)
    if not layout.config.exists():
        there = ", ".join(root.run_names()) or "none"
        raise InputError(
            f"run {name!r} does not exist under {root.runs}; runs there: {there}; make one with `splat run new`"
        )
    try:
        raw = read_toml(layout.config)
        config = _CONFIG.validate_python(raw)
        whole = _with_paths(config.inputs, lambda path: str(root.path / path))
        return Run(root, layout, replace(config, inputs=whole))
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{layout.config} does not describe a run: {_first_line(error)}") from error


def _with_paths(inputs: RunInputs, changed: Callable[[str], str]) -> RunInputs:
    """The inputs at other paths."""
    there = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
    return RunInputs(**{name: one and replace(one, path=changed(one.path)) for name, one in there.items()})


def _within(root: DataRoot, path: str) -> str:
    """A path of the data root relative to it, so that the root can be moved, and stand elsewhere on another machine."""
    return Path(path).relative_to(root.path).as_posix() if Path(path).is_relative_to(root.path) else path


def _refuse_inputs_elsewhere(root: DataRoot, inputs: RunInputs) -> None:
    """InputError for a file outside the data root, if that is a working copy of a bucket: no other machine would have it."""
    copy = WorkingCopy.containing(root.path)
    if copy is None:
        return
    for each in fields(inputs):
        one: InputFile | None = getattr(inputs, each.name)
        if one is not None and not Path(one.path).is_relative_to(root.path):
            raise InputError(
                f"{each.name.replace('_', ' ')}: {one.path} is not in {root.path}, the working copy of "
                f"{copy.bucket.url}: "
                "copy it into its saved_models, saved_saes or datasets first, so that every machine has it"
            )


def recorded_versions() -> dict[str, str]:
    """The versions that may change results."""
    return {
        "python": platform.python_version(),
        "splat": installed_version(),
        **{name: importlib.metadata.version(name) for name in _RECORDED_VERSIONS},
    }


_CONFIG: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)


def checkpoint_file(path: Path) -> Path:
    """The weights file: path itself, or the one in the folder path."""
    if not path.is_dir():
        return path
    there = [path / name for name in BASE_MODEL_FILES if (path / name).is_file()]
    if len(there) > 1:
        raise InputError(f"{path} holds both model.pth and model.safetensors; pass the file to use")
    if not there:
        raise InputError(f"{path} holds no base model: neither model.pth nor model.safetensors")
    return there[0]


def _sae_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in SAE_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} holds no SAE: neither sae_weights.safetensors nor sae_model_final.pth")


def _without_versions(config: RunConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key != "versions"}


def _as_toml(value: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is None is left out."""
    return {k: _as_toml(v) if isinstance(v, dict) else v for k, v in value.items() if v is not None}


def _refuse_unless(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
