"""The published store: everything a reader needs as one immutable, verified version, and CURRENT switched to it."""

from collections.abc import Iterator
from pathlib import Path

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome, Row
from splat_assets.assets.opened import base_model_of, contexts_of, raw_of, sae_of, vocabulary_of
from splat_assets.runs import Run
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.manifest import ManifestFile
from splat_assets.store.published.publishing import current_version, open_store, publish
from splat_assets.store.receipts import Output, read_receipt, sha256_of_tree
from splat_assets.store.samples import write_samples
from splat_assets.text.progress import Progress

_TABLES = ("features", "histograms", "idf", "influences", "examples", "neighbours", "feature_map", "suggested_labels")
_DEPS = ("raw_activations", "sparse_activations", *_TABLES[1:])


def _make(run: Run, progress: Progress) -> AssetResult:
    staged = run.layout.staged
    write_samples(raw_of(run).samples(), staged)
    vocabulary_of(run).save(staged / "vocabulary.json")
    contexts_of(run).save(staged / "contexts.json")
    version = publish(run.layout.store, dict(_parts(staged)), _provenance(run), progress)
    store = open_store(run.layout.store)
    facts: Facts = {
        "shape": f"{store.n_samples:,} x {store.n_features:,}",
        "version": version,
        "n_files": len(store.manifest.files),
    }
    table: list[Row] = [
        {"file": file.path, "bytes": file.bytes, "sha256": file.sha256[:16]} for file in store.manifest.files
    ]
    return AssetResult([run.layout.store / "versions" / version, run.layout.store / "CURRENT"], facts, table[:200])


def _parts(staged: Path) -> Iterator[tuple[str, Path]]:
    """Each part of the version by name; influences do not exist for every hook."""
    names = ["activations.zarr", "samples.parquet", "samples.arrow", "vocabulary.json", "contexts.json"]
    for name in [*names, *(f"{table}.parquet" for table in _TABLES)]:
        if name != "influences.parquet" or (staged / name).exists():
            yield name, staged / name


def _provenance(run: Run) -> dict[str, object]:
    """The version's origin: fingerprints only, so that the same content is the same version."""
    inputs, hook = run.config.inputs, run.config.hook
    return {
        "base_model": base_model_of(run).fingerprint,
        "sae": sae_of(run).fingerprint,
        "data": inputs.data.sha256,
        "vocabulary": vocabulary_of(run).fingerprint,
        "contexts": contexts_of(run).fingerprint,
        "raw_activations": raw_of(run).fingerprint,
        "hook": [hook.hook_target, hook.layer_index, hook.ff_module_index],
    }


def _current_is_this_version(run: Run) -> Outcome:
    receipt = read_receipt(run.layout.receipts, "published_store")
    made = str(receipt.facts["version"]) if receipt else "none"
    current = current_version(run.layout.store)
    return Outcome(made == current, {"current": current, "made": made})


def _version_is_sound(run: Run) -> Outcome:
    problems = open_store(run.layout.store).verify(deep=True)
    return Outcome(not problems, {"n_problems": len(problems), "problems": "; ".join(problems[:5])})


def _fingerprints_agree(run: Run) -> Outcome:
    stated, expected = open_store(run.layout.store).manifest.provenance, _provenance(run)
    differ = [name for name, value in expected.items() if stated.get(name) != value]
    if differ:
        name = differ[0]
        raise CorruptStoreError(f"the version was made from {name} {stated.get(name)}, the run has {expected[name]}")
    return Outcome(True, {name: str(value) for name, value in expected.items()})


def _holds_what_was_checked(run: Run) -> Outcome:
    """Each part of the version has the sha256 of its step's receipt."""
    store = open_store(run.layout.store)
    by_part: dict[str, list[ManifestFile]] = {}
    for file in store.manifest.files:
        by_part.setdefault(file.path.split("/")[0], []).append(file)
    wrong = []
    for output in _staged_outputs(run):
        part = Path(output.path).name
        files = by_part.get(part, [])
        of_folder = sha256_of_tree((file.path.removeprefix(f"{part}/"), file.sha256) for file in files)
        if output.sha256 not in (of_folder, *(file.sha256 for file in files if file.path == part)):
            wrong.append(part)
    same = {
        "samples": store.samples.equals(raw_of(run).samples()),
        "vocabulary": store.vocabulary.fingerprint == vocabulary_of(run).fingerprint,
        "contexts": store.contexts.fingerprint == contexts_of(run).fingerprint,
    }
    wrong += [name for name, holds in same.items() if not holds]
    return Outcome(not wrong, {"n_parts": len(by_part), "wrong_parts": ", ".join(wrong)})


def _staged_outputs(run: Run) -> Iterator[Output]:
    """The outputs of the earlier steps that go into the version, as in their receipts."""
    staged = run.layout.staged.relative_to(run.layout.root).as_posix()
    for dep in _DEPS:
        receipt = read_receipt(run.layout.receipts, dep)
        for output in receipt.outputs if receipt else ():
            if output.path.startswith(f"{staged}/"):
                yield output


PUBLISHED_STORE = Asset(
    name="published_store",
    description="One immutable version of the store, verified and made current: what servers and dashboards read.",
    group="store",
    kinds=("zarr", "parquet"),
    deps=_DEPS,
    own_inputs=lambda run: run.config.inputs.vocabularies(),
    make=_make,
    checks=(
        Check("current_is_this_version", "CURRENT names the version that was made.", _current_is_this_version),
        Check("version_is_sound", "Manifest complete, every sha256 and crc32c holds.", _version_is_sound),
        Check(
            "version_holds_what_was_checked",
            "Every part of the version is the one that its step wrote and checked.",
            _holds_what_was_checked,
        ),
        Check("fingerprints_agree", "The version was made from this run's model, SAE and data.", _fingerprints_agree),
    ),
    code_version="3",
)
