"""The canonical sparse matrices: by feature (csc) and by sample (csr), one Zarr group in AnnData's layout."""

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome
from splat_assets.assets.opened import raw_of, sparse_of
from splat_assets.assets.pictures import density_histogram
from splat_assets.runs import Run
from splat_assets.store.published.verify import rows_that_differ, sparse_problems
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.text.progress import Progress


def _make(run: Run, progress: Progress) -> AssetResult:
    raw = raw_of(run)
    target = run.layout.activations_zarr
    scratch = run.layout.store / "segments"
    written = write_sparse_store(raw, target, run.config.store.profile, progress=progress, scratch=scratch)
    n_active = sparse_of(run).feature_n_active
    facts: Facts = {
        "shape": f"{written.n_samples:,} x {written.n_features:,}",
        "nnz": written.nnz,
        "density": written.nnz / max(1, written.n_samples * written.n_features),
        "bytes_per_activation": round(written.size_bytes / max(1, written.nnz), 2),
        "n_dead": int((n_active == 0).sum()),
        "profile": run.config.store.profile,
    }
    return AssetResult([target], facts, picture=density_histogram(n_active, written.n_samples))


def _orientations_hold_the_same(run: Run) -> Outcome:
    sparse = sparse_of(run)
    problems = sparse_problems(sparse)
    return Outcome(not problems, {"nnz": sparse.nnz, "n_problems": len(problems), "problems": "; ".join(problems[:5])})


def _rows_equal_raw(run: Run) -> Outcome:
    raw, sparse = raw_of(run), sparse_of(run)
    wrong = rows_that_differ(sparse, raw)
    same_shape = (raw.n_samples, raw.n_features, raw.nnz) == (sparse.n_samples, sparse.n_features, sparse.nnz)
    return Outcome(same_shape and not wrong, {"n_samples": raw.n_samples, "wrong_samples": ", ".join(map(str, wrong))})


def _comes_from_the_raw_activations(run: Run) -> Outcome:
    source, expected = sparse_of(run).source, raw_of(run).fingerprint
    return Outcome(source == expected, {"made_from": str(source), "raw_activations": expected})


SPARSE_ACTIVATIONS = Asset(
    name="sparse_activations",
    description="Activations by feature and by sample, as AnnData's csc and csr matrices in one Zarr v3 group.",
    group="store",
    kinds=("zarr",),
    deps=("raw_activations",),
    own_inputs=lambda run: {"profile": run.config.store.profile},
    make=_make,
    checks=(
        Check(
            "sparse_comes_from_the_raw_activations",
            "The recorded source matches the raw activations.",
            _comes_from_the_raw_activations,
        ),
        Check(
            "orientations_hold_the_same",
            "Every crc32c holds, and both matrices hold the same activations.",
            _orientations_hold_the_same,
        ),
        Check("sparse_rows_equal_raw", "Every row equals the raw activations exactly.", _rows_equal_raw),
    ),
)
