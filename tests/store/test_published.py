import errno
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.errors import InputError
from splat_assets.store import open_store
from splat_assets.store.errors import CorruptStoreError, LayoutError, NotPublishedError
from splat_assets.store.files import staging_path
from splat_assets.store.published.publishing import current_version, publish, remove_old_versions
from splat_assets.store.published.version import Store
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.sources import VOCABULARY, sample_table, sparse_random
from tests.store.making import DENSE, SAE, Dense, bytes_below, staged_parts


def _published(root: Path, dense: Dense = DENSE, facts: dict[str, str] = SAE) -> str:
    return publish(root / "store", staged_parts(root / "staged", dense), facts)


def test_what_was_published_is_what_is_read(tmp_path: Path) -> None:
    version = _published(tmp_path)

    store = open_store(tmp_path)

    assert store.version == version == current_version(tmp_path / "store")
    assert (store.n_samples, store.n_features) == DENSE.shape
    assert store.feature(3).sample_ids.tolist() == [3, 4]
    assert store.feature(3).values.tolist() == [0.25, 4.0]
    assert store.sample(3).feature_ids.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(np.concatenate([block.to_dense(4) for block in store.rows(2)]), DENSE)
    assert store.take_samples([4, 0]).equals(sample_table(5)[[4, 0]])
    assert store.samples.equals(sample_table(5))
    assert store.manifest.provenance == SAE
    assert store.verify() == []


def test_a_store_opens_from_the_run_the_store_folder_or_a_version(tmp_path: Path) -> None:
    version = _published(tmp_path)

    places = (tmp_path, tmp_path / "store", tmp_path / "store" / "versions" / version)

    assert {open_store(str(place)).version for place in places} == {version}


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match="holds no published store"):
        open_store(tmp_path)
    with pytest.raises(NotPublishedError, match="does not have a published version yet"):
        current_version(tmp_path)


def test_publishing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    first = _published(tmp_path)
    before = bytes_below(tmp_path / "store")
    inode = (tmp_path / "store" / "versions" / first / "manifest.json").stat().st_ino

    shutil.rmtree(tmp_path / "staged")
    again = _published(tmp_path)

    assert again == first
    assert bytes_below(tmp_path / "store") == before
    assert (tmp_path / "store" / "versions" / first / "manifest.json").stat().st_ino == inode


def test_other_content_or_other_facts_make_another_version(tmp_path: Path) -> None:
    versions = {
        _published(tmp_path),
        _published(tmp_path, facts={"sae": "b" * 64}),
        _published(tmp_path, DENSE[:4]),
    }

    assert len(versions) == 3
    assert {path.name for path in (tmp_path / "store" / "versions").iterdir()} == versions


def test_an_open_store_goes_on_reading_its_own_version(tmp_path: Path) -> None:
    first = _published(tmp_path)
    before = open_store(tmp_path)

    second = _published(tmp_path, DENSE * 2)

    assert (before.version, open_store(tmp_path).version) == (first, second)
    assert before.feature(3).values.tolist() == [0.25, 4.0]
    assert open_store(tmp_path).feature(3).values.tolist() == [0.5, 8.0]


def test_an_open_store_outlives_its_version(tmp_path: Path) -> None:
    first = _published(tmp_path)
    before = open_store(tmp_path)
    _published(tmp_path, DENSE * 2)

    assert remove_old_versions(tmp_path / "store", keep_last=1) == [first]

    assert before.feature(3).values.tolist() == [0.25, 4.0]


def test_the_version_before_can_be_made_current_again(tmp_path: Path) -> None:
    first = _published(tmp_path)
    second = _published(tmp_path, DENSE * 2)

    assert _published(tmp_path) == first
    assert current_version(tmp_path / "store") == first
    assert remove_old_versions(tmp_path / "store", keep_last=1) == [second]


def test_old_versions_go_and_the_last_ones_stay_whatever_the_times_of_their_files(tmp_path: Path) -> None:
    versions = [_published(tmp_path, DENSE * factor) for factor in (1, 2, 3, 4)]
    for age, version in enumerate(versions):  # the oldest seems the newest, as after a copy in another order
        for file in (tmp_path / "store" / "versions" / version).rglob("*"):
            os.utime(file, (4e9 - age, 4e9 - age))

    removed = remove_old_versions(tmp_path / "store", keep_last=2)

    assert removed == sorted(versions[:2])
    assert {path.name for path in (tmp_path / "store" / "versions").iterdir()} == set(versions[2:])
    with pytest.raises(InputError, match="at least the current version"):
        remove_old_versions(tmp_path / "store", keep_last=0)


def test_published_files_are_not_copied(tmp_path: Path) -> None:
    version = _published(tmp_path)

    staged = tmp_path / "staged" / "activations.zarr" / "X" / "data" / "c" / "0"
    assert staged.samefile(tmp_path / "store" / "versions" / version / "activations.zarr" / "X" / "data" / "c" / "0")


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    parts = staged_parts(tmp_path / "staged", DENSE)
    linked = publish(tmp_path / "linked", parts, SAE)
    monkeypatch.setattr(os, "link", refuse)

    copied = publish(tmp_path / "copied", parts, SAE)

    assert copied == linked
    assert open_store(tmp_path / "copied").verify() == []


def test_tables_that_were_not_computed_say_so(tmp_path: Path) -> None:
    _published(tmp_path)
    store = open_store(tmp_path)

    for name in ("features", "histograms", "idf", "influences", "examples", "neighbours"):
        with pytest.raises(LayoutError, match=rf"{name}\.parquet was not computed"):
            getattr(store, name)
    with pytest.raises(LayoutError, match=r"vocabulary\.json was not computed"):
        store.vocabulary  # noqa: B018
    assert not store.has("idf.parquet")


def test_tables_and_vocabulary_come_back_as_they_were(tmp_path: Path) -> None:
    parts = staged_parts(tmp_path / "staged", DENSE)
    features = _features(parts)
    features.write_parquet(tmp_path / "features.parquet")
    VOCABULARY.save(tmp_path / "vocabulary.json")

    publish(
        tmp_path / "store",
        {**parts, "features.parquet": tmp_path / "features.parquet", "vocabulary.json": tmp_path / "vocabulary.json"},
        SAE,
    )

    store = open_store(tmp_path)
    assert store.features.equals(features)
    assert store.vocabulary == VOCABULARY
    assert store.verify() == []


def _features(parts: dict[str, Path]) -> pl.DataFrame:
    reader = SparseReader(parts["activations.zarr"])
    return pl.DataFrame({"feature_id": range(4), "n_active": reader.feature_n_active, "crc32c": reader.feature_crc32c})


def _expect_refusal(root: Path, parts: dict[str, Path], complaint: str) -> None:
    """Publishing the parts fails with this complaint, and the version published before is untouched and current."""
    before = bytes_below(root / "store")
    with pytest.raises((CorruptStoreError, LayoutError, InputError), match=complaint):
        publish(root / "store", parts, SAE)
    assert bytes_below(root / "store") == before
    assert open_store(root).verify() == []


def test_statistics_of_another_store_are_refused(tmp_path: Path) -> None:
    _published(tmp_path)
    parts = staged_parts(tmp_path / "staged", DENSE * 2)
    _features(staged_parts(tmp_path / "other", DENSE)).write_parquet(tmp_path / "features.parquet")

    parts["features.parquet"] = tmp_path / "features.parquet"

    _expect_refusal(tmp_path, parts, r"crc32c does not match the activations beside it \(feature 0, 2, 3\)")


def test_histograms_of_another_store_are_refused(tmp_path: Path) -> None:
    _published(tmp_path)
    parts = staged_parts(tmp_path / "staged", DENSE * 2)
    counts = pl.DataFrame({"feature_id": range(4), "counts": [[1, 1], [0, 0], [4, 0], [2, 0]]})
    counts.write_parquet(tmp_path / "histograms.parquet")

    parts["histograms.parquet"] = tmp_path / "histograms.parquet"

    _expect_refusal(tmp_path, parts, r"counts does not match the activations beside it \(feature 2\)")


def test_a_table_of_another_number_of_features_is_refused(tmp_path: Path) -> None:
    _published(tmp_path)
    parts = staged_parts(tmp_path / "staged", DENSE * 2)
    pl.DataFrame({"feature_id": range(3)}).write_parquet(tmp_path / "influences.parquet")

    parts["influences.parquet"] = tmp_path / "influences.parquet"

    _expect_refusal(tmp_path, parts, "rows are not features 0 to 3")


def test_samples_of_another_dataset_are_refused(tmp_path: Path) -> None:
    _published(tmp_path)
    parts = staged_parts(tmp_path / "staged", DENSE * 2)
    other = staged_parts(tmp_path / "other", sparse_random(9, 4, 0.5))

    _expect_refusal(
        tmp_path,
        {**parts, "samples.parquet": other["samples.parquet"], "samples.arrow": other["samples.arrow"]},
        r"samples\.parquet has 9 rows for 5 samples",
    )
    _expect_refusal(tmp_path, {**parts, "samples.arrow": other["samples.arrow"]}, "other rows than samples.parquet")


def test_activations_are_needed_and_missing_parts_are_named(tmp_path: Path) -> None:
    _published(tmp_path)
    parts = staged_parts(tmp_path / "staged", DENSE * 2)

    _expect_refusal(tmp_path, {"samples.parquet": parts["samples.parquet"]}, "write the sparse store first")
    _expect_refusal(tmp_path, {**parts, "idf.parquet": tmp_path / "idf.parquet"}, "run the step that writes it")
    _expect_refusal(tmp_path, {**parts, "../escape": parts["samples.parquet"]}, "cannot be the name of a part")


def test_a_version_that_was_damaged_is_replaced_by_publishing_again(tmp_path: Path) -> None:
    version = _published(tmp_path)
    shard = tmp_path / "store" / "versions" / version / "activations.zarr" / "X" / "data" / "c" / "0"
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.unlink()
    shard.write_bytes(content)

    assert _published(tmp_path) == version

    assert open_store(tmp_path).verify() == []


def test_leftovers_of_a_killed_publisher_are_removed_and_never_opened(tmp_path: Path) -> None:
    version = _published(tmp_path)
    left = staging_path(tmp_path / "store" / "versions" / "version")
    left.mkdir()
    (left / "part").write_text("half of something")

    assert open_store(tmp_path).version == version
    _published(tmp_path, DENSE * 2)

    assert not left.exists()


def test_publishers_take_turns(tmp_path: Path) -> None:
    parts = [staged_parts(tmp_path / f"staged{i}", DENSE * (i + 1)) for i in range(4)]
    result: list[str] = []

    threads = [
        threading.Thread(target=lambda part=part: result.append(publish(tmp_path / "store", part, SAE)))
        for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {path.name for path in (tmp_path / "store" / "versions").iterdir()} == set(result)
    assert len(set(result)) == 4
    assert current_version(tmp_path / "store") in result


def test_the_manifest_lists_every_file_and_holds_no_times(tmp_path: Path) -> None:
    version = _published(tmp_path)
    folder = tmp_path / "store" / "versions" / version

    manifest = json.loads((folder / "manifest.json").read_text())

    assert {file["path"] for file in manifest["files"]} == bytes_below(folder).keys() - {"manifest.json"}
    assert manifest["dtypes"] == {"sample_id": "int32", "feature_id": "uint16", "value": "float32", "indptr": "int64"}
    assert (manifest["n_samples"], manifest["n_features"], manifest["nnz"], manifest["profile"]) == (5, 4, 9, "raw")
    assert set(manifest) == {
        "format", "format_version", "n_samples", "n_features", "nnz", "profile", "dtypes", "provenance", "files",
    }  # fmt: skip


def test_a_version_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "versions" / _published(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 7}))

    with pytest.raises(LayoutError, match="splat-store 7; this program reads splat-store 1"):
        Store(folder)


def test_the_compact_profile_publishes_too(tmp_path: Path) -> None:
    publish(tmp_path / "store", staged_parts(tmp_path / "staged", DENSE, "compact"), SAE)

    store = open_store(tmp_path)

    assert store.manifest.profile == "compact"
    assert store.feature(3).values.tolist() == [0.25, 4.0]
    assert store.verify() == []


@pytest.mark.parametrize("content", ["../../other/versions/0123456789abcdef", "/etc", "", "ÄÖ", "f" * 5_000, "F" * 16])
def test_a_pointer_that_is_no_id_of_a_version_is_refused(content: str, tmp_path: Path) -> None:
    _published(tmp_path)
    (tmp_path / "store" / "CURRENT").write_text(content, encoding="utf-8")

    with pytest.raises(CorruptStoreError, match="which is not a version id"):
        open_store(tmp_path)


def _changed_manifest(root: Path, **values: object) -> None:
    path = open_store(root).folder / "manifest.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    path.write_text(json.dumps({**held, **values}), encoding="utf-8")


def test_a_manifest_that_was_changed_does_not_open(tmp_path: Path) -> None:
    _published(tmp_path)
    _changed_manifest(tmp_path, provenance={"sae": "c" * 64})

    with pytest.raises(CorruptStoreError, match="was changed: the version's id is the hash of its content"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", [{"path": "../../CURRENT", "bytes": 1, "sha256": "0"}]),
        ("files", [{"path": "/etc/hostname", "bytes": 1, "sha256": "0"}]),
        ("files", [{"path": 7, "bytes": 1, "sha256": "0"}]),
        ("files", [7]),
        ("n_samples", "5"),
        ("nnz", -1),
        ("provenance", {"share": float("nan")}),
    ],
)
def test_a_manifest_with_strange_content_is_refused(key: str, value: object, tmp_path: Path) -> None:
    _published(tmp_path)
    _changed_manifest(tmp_path, **{key: value})

    with pytest.raises(CorruptStoreError, match=r"manifest\.json"):
        open_store(tmp_path)
