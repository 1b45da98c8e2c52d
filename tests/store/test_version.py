import pickle
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.published.publishing import publish
from splat_assets.store.published.version import Store, version_problems
from tests.contracts.sources import VOCABULARY
from tests.store.making import DENSE, SAE, flip_byte, staged_parts, write_sparse


def _version(root: Path) -> Path:
    """The folder of a published version with a table and a vocabulary."""
    parts = staged_parts(root / "staged", DENSE)
    parts["features.parquet"] = root / "staged" / "features.parquet"
    pl.DataFrame({"feature_id": range(4), "mean": [0.5, 0.0, 1.0, 2.0]}).write_parquet(parts["features.parquet"])
    parts["vocabulary.json"] = root / "staged" / "vocabulary.json"
    VOCABULARY.save(parts["vocabulary.json"])
    return root / "store" / "versions" / publish(root / "store", parts, SAE)


@pytest.mark.parametrize("at", [0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["samples.arrow", "features.parquet", "vocabulary.json"])
def test_a_file_whose_bytes_were_changed_is_refused_and_named(name: str, at: float, tmp_path: Path) -> None:
    version = _version(tmp_path)
    flip_byte(version / name, int(at * (version / name).stat().st_size))
    store = Store(version)

    with pytest.raises(CorruptStoreError, match=rf"{name} holds other bytes than were published"):
        _ = (store.take_samples([0]), store.features, store.vocabulary)
    assert store.feature(3).values.tolist() == [0.25, 4.0]


def test_a_file_is_compared_with_the_manifest_when_it_is_first_used(tmp_path: Path) -> None:
    version = _version(tmp_path)
    store = Store(version)
    before = store.table("features")
    flip_byte(version / "vocabulary.json", 0)

    assert store.table("features").equals(before)
    with pytest.raises(CorruptStoreError, match=r"vocabulary\.json"):
        store.vocabulary  # noqa: B018


def _asked(store: Store) -> tuple[object, ...]:
    """What is answered from the files beside the activations."""
    rows = store.rows_of("features", 2)
    return (*store.take_samples([4, 0]).rows(), *rows.rows(), store.vocabulary.fingerprint, store.samples.height)


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
@pytest.mark.parametrize("name", ["samples.arrow", "features.parquet", "vocabulary.json"])
def test_nothing_done_to_a_file_after_its_first_use_is_in_an_answer(name: str, damage: str, tmp_path: Path) -> None:
    version = _version(tmp_path)
    store = Store(version)
    before = _asked(store)
    file = version / name
    file.chmod(0o644)
    with file.open("r+b") as same:  # the same file that was read, not another one in its place
        content = same.read()
        same.seek(0)
        same.write(bytes(byte ^ 1 for byte in content))
        same.truncate(16 if damage == "cut short" else len(content))

    assert _asked(store) == before
    with pytest.raises(CorruptStoreError, match=name):
        _asked(Store(version))


def test_a_store_that_was_sent_elsewhere_is_opened_there_anew(tmp_path: Path) -> None:
    store = Store(_version(tmp_path))
    store.take_samples([0])

    arrived = pickle.loads(pickle.dumps(store))

    assert arrived.feature(3).values.tolist() == [0.25, 4.0]
    assert arrived.take_samples([4]).equals(store.take_samples([4]))
    assert len(pickle.dumps(store)) < 1000


def test_a_removed_version_is_distinguished_from_a_missing_table(tmp_path: Path) -> None:
    version = _version(tmp_path)
    store = Store(version)
    shutil.rmtree(version)

    for name in ("samples", "features", "vocabulary"):
        with pytest.raises(CorruptStoreError, match="was removed or damaged while it was open; open the store again"):
            getattr(store, name)
    with pytest.raises(LayoutError, match=r"idf\.parquet was not computed"):
        store.idf  # noqa: B018


def _put_in_place(version: Path, other: Path, *parts: str) -> None:
    """Replace files of a version's activations with those of another sparse store of the same shape."""
    for part in parts:
        source, target = other / part, version / "activations.zarr" / part
        for path in [one for one in source.rglob("*") if one.is_file()] if source.is_dir() else [source]:
            place = target / path.relative_to(source) if source.is_dir() else target
            assert place.stat().st_size == path.stat().st_size
            place.unlink()
            shutil.copyfile(path, place)


@pytest.mark.parametrize(
    "parts", [("X", "var"), ("X", "var", "layers", "obs"), ("X", "var", "layers", "obs", "zarr.json")]
)
def test_features_that_changed_places_with_their_checksums_are_refused(parts: tuple[str, ...], tmp_path: Path) -> None:
    version = _version(tmp_path)
    swapped = write_sparse(tmp_path / "swapped.zarr", np.ascontiguousarray(DENSE[:, [3, 1, 2, 0]]))
    _put_in_place(version, swapped, *parts)

    with pytest.raises(CorruptStoreError, match=r"holds other bytes than were published"):
        Store(version)
    assert "holds other bytes than were published" in version_problems(version, deep=False)[0]


def test_samples_that_changed_places_with_their_checksums_are_refused(tmp_path: Path) -> None:
    version = _version(tmp_path)
    swapped = write_sparse(tmp_path / "swapped.zarr", np.ascontiguousarray(DENSE[[4, 1, 2, 3, 0]]))
    _put_in_place(version, swapped, "layers", "obs")
    store = Store(version)

    assert store.feature(3).values.tolist() == [0.25, 4.0]
    with pytest.raises(CorruptStoreError, match=r"obs/crc32c/c/0 holds other bytes than were published"):
        store.sample(0)


@pytest.mark.parametrize("name", ["X/indptr", "var/n_active", "var/crc32c"])
def test_offsets_counts_and_checksums_are_compared_with_the_manifest_when_a_version_is_opened(
    name: str, tmp_path: Path
) -> None:
    version = _version(tmp_path)
    flip_byte(version / "activations.zarr" / name / "c" / "0", 1)

    with pytest.raises(CorruptStoreError, match=rf"{name}/c/0 holds other bytes than were published"):
        Store(version)
