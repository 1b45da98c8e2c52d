"""A run made of an existing folder of activations, which are not recomputed.

The rows are sorted into the run's own order: builds as in the dataset, one `<NULL>` row per weapon. What the
folder lacks (a `<NULL>` row of a weapon) is computed; the run's checks compare sampled rows with a fresh pass, as for
any run.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import TypeAdapter, ValidationError

from splat_assets.compute.encode import shard_inputs
from splat_assets.compute.harvest import (
    TRAINED_ON,
    BaseModelFiles,
    Shard,
    base_batches,
    harvest_identity,
    recorded_identity,
    shards_of,
)
from splat_assets.compute.items import NULL_ROW, Items, make_items, sample_table
from splat_assets.compute.provenance import hook_for, refuse_other_model
from splat_assets.data.builds import Builds
from splat_assets.data.splits import split_builds
from splat_assets.data.tokenised import read_tokenised, write_tokenised
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import (
    SAE_FILES,
    ActivationsRecipe,
    HookRecipe,
    Limits,
    Run,
    RunConfig,
    SplitRecipe,
    create_run,
    hash_inputs,
)
from splat_assets.store.activations import SparseRows, joined, offsets_of
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import replacing_folder
from splat_assets.store.guide.batches import CONTEXTS, EMBEDDINGS, VOCABULARY
from splat_assets.store.guide.dense_arrays import DenseArray
from splat_assets.store.importing.importing import RAW, import_folder
from splat_assets.store.importing.report import ImportReport
from splat_assets.store.importing.sources import ImportOptions
from splat_assets.store.layout import DataRoot, RunLayout
from splat_assets.store.origin import Origin, read_origin
from splat_assets.store.raw import RawActivations, begin_raw_activations, shard_name, write_shard
from splat_assets.store.sums import as_recorded
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress
from splat_assets.text.wording import counted

if TYPE_CHECKING:
    from splat_assets.model import SplatGPT
    from splat_assets.sae import Sae

_EMBEDDINGS = ("sae_input", "sae_recon", "model_logits")
_Recipe = TypeVar("_Recipe")


@dataclass(frozen=True, slots=True)
class RunImported:
    """The imported run, the defects of the folder, and how many rows it lacked."""

    run: Run
    report: ImportReport
    n_samples: int
    n_computed: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """The opened inputs of the run's rows."""

    model: "SplatGPT"
    model_files: BaseModelFiles
    sae: "Sae"
    sae_path: Path
    hook: HookPoint
    vocabulary: Vocabulary
    contexts: Contexts


def import_run(
    root: DataRoot,
    name: str,
    folder: Path,
    places: Mapping[str, Path],
    options: ImportOptions,
    limits: Limits,
    progress: Progress,
) -> RunImported:
    """Make the run NAME of a folder's activations; nothing is left of it after an error.

    places: where the files of model, SAE and data are (`model_checkpoint`, `sae_checkpoint`, `vocab`, `weapon_vocab`,
    `data`), if the folder does not record them or they were moved. Without a dataset, one is made of the folder's
    rows, in the run's folder. Raises InputError, NotThereError, LayoutError, FingerprintMismatchError.
    """
    layout = root.run(name)
    if layout.root.exists():  # a failure deletes the folder, so it must be this import's own
        raise InputError(f"{layout.root} is there already: choose another name")
    origin = read_origin(folder)
    parts = _opened(folder, origin, places)
    root.checked_writable()
    options = replace(options, vocabulary=parts.vocabulary, contexts=parts.contexts)
    with (
        tempfile.TemporaryDirectory(prefix=".import-", dir=root.path) as scratch,
        _undone_on_failure(layout.root),
    ):
        report = import_folder(folder, Path(scratch), options, progress)
        raw = RawActivations(Path(scratch) / RAW)
        if raw.n_features != parts.sae.d_sae:
            raise InputError(
                f"{folder} has {counted(raw.n_features, 'features')}, the SAE {parts.sae_path} has {parts.sae.d_sae:,}"
            )
        samples = raw.samples()
        data = _dataset(layout, folder, origin, places, samples)
        recipe = _recipe(origin, "activations", ActivationsRecipe, embeddings=False)
        split = _recipe(origin, "split", SplitRecipe)
        with as_recorded(data):
            read = read_tokenised(data, parts.vocabulary, parts.contexts)
        builds = split_builds(read, split.seed, split.validation, split.test)
        items = make_items(builds, parts.vocabulary, parts.contexts, recipe.masked_variants, recipe.seed)
        rows = _rows_of_items(folder, samples, items, parts)
        embeddings = _embeddings_of(folder, rows)
        recipe = replace(recipe, embeddings=bool(embeddings))
        files = parts.model_files
        config = RunConfig(
            inputs=hash_inputs(files.checkpoint, files.vocab, files.weapon_vocab, data, parts.sae_path),
            split=split,
            hook=HookRecipe(parts.hook.target, parts.hook.layer_index, parts.hook.ff_module_index),
            activations=recipe,
            limits=limits,
        )
        run = create_run(root, name, config)
        _write_shards(run, raw, rows, items, parts, recipe, embeddings, progress)
    findings = tuple(finding for finding in report.findings if not (embeddings and finding.where == EMBEDDINGS))
    return RunImported(run, replace(report, findings=findings), int(rows.size), int((rows < 0).sum()))


def _opened(folder: Path, origin: Origin | None, places: Mapping[str, Path]) -> _Parts:
    from splat_assets.model import load_base_model
    from splat_assets.runs import checkpoint_file
    from splat_assets.sae import load_sae

    if origin is not None:
        origin = origin.at(places)
        checkpoint, vocab, weapon_vocab, sae_path = (
            origin.checked_file(name) for name in ("model_checkpoint", "vocab", "weapon_vocab", "sae_checkpoint")
        )
    else:
        missing = [name for name in ("model_checkpoint", "sae_checkpoint") if name not in places]
        if missing:
            wanted = " and ".join(f"--{name.replace('_', '-')} FILE" for name in missing)
            raise InputError(f"{folder} does not record its inputs: pass {wanted}")
        checkpoint, sae_path = checkpoint_file(places["model_checkpoint"]), places["sae_checkpoint"]
        vocab = places.get("vocab", checkpoint.parent / "vocab.json")
        weapon_vocab = places.get("weapon_vocab", checkpoint.parent / "weapon_vocab.json")
    beside_sae = sae_path if sae_path.is_dir() else sae_path.parent
    files = (checkpoint, vocab, weapon_vocab, checkpoint.with_name("model_params.json"))
    with as_recorded(*files, *(beside_sae / name for name in (*SAE_FILES, "cfg.json"))):
        model = load_base_model(checkpoint, vocab_path=vocab, weapon_vocab_path=weapon_vocab)
        sae = load_sae(sae_path)
        vocabulary, contexts = read_vocabulary(vocab), read_contexts(weapon_vocab)
    recorded_hook = HookPoint(*origin.provenance["hook"]) if origin else None
    hook = hook_for(sae, recorded_hook, model.dimensions.num_layers).in_model(model.dimensions.num_layers)
    refuse_other_model(sae, sae_path, model, hook)
    there = {
        "base_model": model.fingerprint,
        "sae": sae.fingerprint,
        "vocabulary": vocabulary.fingerprint,
        "contexts": contexts.fingerprint,
    }
    for what, fingerprint in there.items():
        if origin is not None and origin.provenance[what] != fingerprint:
            raise FingerprintMismatchError(
                f"the {what.replace('_', ' ')} is not what {folder} was made from",
                origin.provenance[what],
                fingerprint,
                "pass the original",
            )
    return _Parts(model, BaseModelFiles(checkpoint, vocab, weapon_vocab), sae, sae_path, hook, vocabulary, contexts)


def _recipe(origin: Origin | None, name: str, kind: type[_Recipe], **defaults: Any) -> _Recipe:
    recorded = origin.recipe.get(name) if origin else None
    if recorded is None:
        return kind(**defaults)
    try:
        return TypeAdapter(kind).validate_python(recorded)
    except (ValidationError, InputError) as error:
        raise InputError(
            f"{origin.folder if origin else ''}: the recorded recipe of its {name} cannot be used: {error}"
        ) from error


def _dataset(
    layout: RunLayout, folder: Path, origin: Origin | None, places: Mapping[str, Path], samples: pl.DataFrame
) -> Path:
    """The dataset that the rows were made from, else one made of the rows themselves."""
    if "data" in places:
        return places["data"]
    if origin is not None:
        return origin.checked_file("data")
    known = samples.filter(~pl.col("is_null") & (pl.col("weapon_id_token") >= 0) & (pl.col("tokens").list.len() > 0))
    if not known.height:
        raise InputError(f"{folder} lacks sample metadata with tokens and weapons: pass --metadata or --data-csv")
    if known["token_position"].max() != -1:
        raise InputError(f"the rows of {folder} are token positions, not builds: pass --data-csv")
    path = layout.root / "imported" / "tokenized_data.parquet"  # not among datasets: those become runs by themselves
    lists = known["tokens"]
    write_tokenised(
        path,
        Builds(
            tokens=lists.explode().to_numpy().astype(np.int32),
            offsets=offsets_of(lists.list.len().to_numpy()),
            weapons=known["weapon_id_token"].to_numpy().astype(np.int32),
            split=np.zeros(known.height, dtype=np.uint8),
            source_row=np.arange(known.height, dtype=np.int64),
        ),
    )
    return path


def _rows_of_items(folder: Path, samples: pl.DataFrame, items: Items, parts: _Parts) -> npt.NDArray[np.int64]:
    """Which row of the folder each sample of the run is, -1 where the folder has none: int64, shape (n_samples,)."""
    per_token = parts.hook.per_token
    expected = sample_table(items, parts.contexts, 0, items.n_items, per_token)
    identity = ["tokens", "weapon_id_token", "token_position"]
    if samples.height == expected.height and samples.select(identity).equals(expected.select(identity)):
        return np.arange(samples.height, dtype=np.int64)
    if per_token:
        raise InputError(
            f"the rows of {folder} are not the token positions of the dataset in its order: pass its own dataset"
        )
    at = samples.with_row_index("row").filter(~pl.col("is_null"))
    builds_only = expected.filter(~pl.col("is_null"))
    same = min(at.height, builds_only.height)
    differ = at.head(same).select("tokens", "weapon_id_token").hash_rows() != (
        builds_only.head(same).select("tokens", "weapon_id_token").hash_rows()
    )
    if at.height != builds_only.height or differ.any():
        first = int(differ.arg_max() or 0) if differ.any() else same
        raise InputError(
            f"the rows of {folder} are not the builds of the dataset in its order: {counted(at.height, 'builds')} against "
            f"{builds_only.height:,}, the first that differs is number {first:,}; leave out --data-csv to make the "
            f"dataset of the folder's rows"
        )
    nulls = samples.with_row_index("row").filter("is_null").unique("weapon_id_token", keep="first")
    null_rows = dict(nulls.select("weapon_id_token", "row").iter_rows())
    rows = np.full(expected.height, -1, dtype=np.int64)
    is_null = items.kind == NULL_ROW
    rows[~is_null] = at["row"].to_numpy()
    rows[is_null] = [null_rows.get(weapon, -1) for weapon in items.builds.weapons[is_null].tolist()]
    return rows


def _embeddings_of(folder: Path, rows: npt.NDArray[np.int64]) -> dict[str, DenseArray]:
    """SAE inputs, outputs and logits, where the folder has all three in the run's order."""
    there = {name: folder / EMBEDDINGS / f"{name}.zarr" for name in _EMBEDDINGS}
    if not all(path.is_dir() for path in there.values()) or not np.array_equal(rows, np.arange(rows.size)):
        return {}
    arrays = {name: DenseArray(path) for name, path in there.items()}
    return arrays if all(array.shape[0] == rows.size for array in arrays.values()) else {}


def _write_shards(
    run: Run,
    raw: RawActivations,
    rows: npt.NDArray[np.int64],
    items: Items,
    parts: _Parts,
    recipe: ActivationsRecipe,
    embeddings: Mapping[str, DenseArray],
    progress: Progress,
) -> None:
    """The run's raw activations, as its own step would write them, so that the step has nothing to do."""
    target, hook = run.layout.raw_activations, parts.hook
    identity = harvest_identity(parts.model.fingerprint, items, hook, recipe.shard_items, recipe.batch_size)
    inputs = shard_inputs(identity, parts.sae, parts.contexts, bool(embeddings))
    shards = shards_of(items, recipe.shard_items, hook.per_token)
    begin_raw_activations(target, int(rows.size), len(shards))
    parts.vocabulary.save(target / VOCABULARY)
    parts.contexts.save(target / CONTEXTS)
    with progress.task("rows of the run", int(rows.size), "rows") as task:
        for shard in shards:
            wanted = rows[shard.first_sample : shard.last_sample]
            block = joined(list(_gathered(raw, wanted, items, shard, parts)))
            samples = sample_table(items, parts.contexts, shard.first_item, shard.last_item, hook.per_token)
            own = slice(shard.first_sample, shard.last_sample)
            vectors = {name: array.read(own, slice(0, array.shape[1])) for name, array in embeddings.items()}
            write_shard(target / shard_name(shard.index), block, samples, vectors, parts.sae.d_sae, inputs)
            task.advance(shard.n_samples)
    left = (parts.sae_path if parts.sae_path.is_dir() else parts.sae_path.parent) / TRAINED_ON
    if recorded_identity(left) == identity:
        kept = run.root.cache / "base_activations" / identity[:16]
        if not kept.exists():
            with replacing_folder(kept) as aside:
                shutil.copytree(left, aside, dirs_exist_ok=True)


def _gathered(
    raw: RawActivations, rows: npt.NDArray[np.int64], items: Items, shard: Shard, parts: _Parts
) -> Iterator[SparseRows]:
    """The rows in this order: consecutive ones are read together, missing ones computed."""
    steps = np.flatnonzero((np.diff(rows) != 1) | (rows[1:] < 0)) + 1
    for first, last in zip([0, *steps.tolist()], [*steps.tolist(), rows.size], strict=True):
        if rows[first] >= 0:
            yield next(raw.rows(last - first, start=int(rows[first])))
            continue
        for at in range(first, last):
            item = shard.first_item + at  # of a pooled hook: others lack no rows
            one = Shard(0, item, item + 1, item, item + 1)
            ((values, _),) = base_batches(items.builds, one, parts.model_files, parts.hook, batch_size=1)
            yield parts.sae.encode_rows(values)


@contextmanager
def _undone_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
