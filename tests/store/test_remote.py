"""A published version in a bucket: the same answers as on disk, two requests a feature, and what is damaged is said."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat_assets.store import open_store
from splat_assets.store.bucket.bucket import Bucket
from splat_assets.store.bucket.read_cache import ReadCache
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.errors import CorruptStoreError, NotPublishedError
from splat_assets.store.published.publishing import publish
from splat_assets.store.published.version import Store
from splat_assets.store.sparse.layout import Chunking
from tests.contracts.sources import sparse_random
from tests.s3 import S3
from tests.store.making import SMALL, staged_parts

URL = "s3://lab/data"
N_SAMPLES, N_FEATURES = 200, 12


def _copy(folder: Path) -> WorkingCopy:
    return WorkingCopy.of(Bucket(URL), {"SPLAT_WORKING_COPY": str(folder)})


def _published(folder: Path, profile: str = "raw", chunking: Chunking = SMALL) -> Store:
    """A version in the bucket, as it lies on the disk of the machine that published it."""
    copy = _copy(folder / "publisher")
    store = copy.root / "runs" / "small" / "store"
    dense = sparse_random(N_SAMPLES, N_FEATURES, 0.3, seed=1)
    publish(store, staged_parts(store / "staged", dense, profile, chunking), {"sae": "a" * 64})
    return open_store(store)


def _elsewhere(folder: Path) -> Store:
    """The same, opened on another machine."""
    copy = _copy(folder / "reader")
    copy.pull()
    return open_store(copy.root / "runs" / "small")


@pytest.mark.parametrize("profile", ["raw", "compact"])
def test_every_feature_and_sample_is_the_same_from_the_bucket(profile: str, s3: S3, tmp_path: Path) -> None:
    here = _published(tmp_path, profile)

    there = _elsewhere(tmp_path)

    assert there.version == here.version
    assert not (tmp_path / "reader/runs/small/store/versions" / here.version / "activations.zarr").exists()
    for feature in range(N_FEATURES):
        np.testing.assert_array_equal(there.feature(feature).sample_ids, here.feature(feature).sample_ids)
        np.testing.assert_array_equal(there.feature(feature).values, here.feature(feature).values)
    for sample in range(0, N_SAMPLES, 17):
        np.testing.assert_array_equal(there.sample(sample).feature_ids, here.sample(sample).feature_ids)
        np.testing.assert_array_equal(there.sample(sample).values, here.sample(sample).values)
    assert there.samples.equals(here.samples)
    assert there.verify() == []
    again = pickle.loads(pickle.dumps(there))
    np.testing.assert_array_equal(again.feature(3).values, here.feature(3).values)


def test_a_feature_takes_two_ranged_requests_and_the_second_time_none(s3: S3, tmp_path: Path) -> None:
    here, there = _published(tmp_path, chunking=Chunking()), _elsewhere(tmp_path)
    for feature in (5, 7):
        s3.asked.clear()
        there.feature(feature)
        assert [(one.method, one.range[:6]) for one in s3.asked] == [("GET", "bytes=")] * 2
        names = sorted(one.path.rpartition("/activations.zarr/")[2] for one in s3.asked)
        assert [name.split("/c/")[0] for name in names] == ["X/data", "X/indices"]
        n_bytes = [int(one.range[6:].split("-")[1]) - int(one.range[6:].split("-")[0]) + 1 for one in s3.asked]
        assert sum(n_bytes) == 8 * here.feature(feature).n_active

        s3.asked.clear()
        there.feature(feature)
        assert s3.asked == []


def test_the_store_is_opened_by_its_url_without_a_working_copy(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = _published(tmp_path)
    for url in (f"{URL}/runs/small", f"{URL}/runs/small/store", f"{URL}/runs/small/store/versions/{here.version}"):
        there = open_store(url)
        assert there.version == here.version
        np.testing.assert_array_equal(there.feature(2).values, here.feature(2).values)
    with pytest.raises(NotPublishedError, match=re.escape(f"{URL}/runs/none holds no published store")):
        open_store(f"{URL}/runs/none")


@pytest.mark.parametrize("name", ["X/data/c/0", "X/indices/c/0"])
def test_changed_bytes_are_an_error_that_names_the_feature(name: str, s3: S3, tmp_path: Path) -> None:
    here = _published(tmp_path)
    there = _elsewhere(tmp_path)
    where = f"runs/small/store/versions/{here.version}/activations.zarr/{name}"
    before = Bucket(URL).read(where)
    content = bytearray(before)
    content[:64] = bytes(64)
    Bucket(URL).write(where, bytes(content))

    with pytest.raises(CorruptStoreError, match="feature 0 of .* fails its crc32c"):
        there.feature(0)

    Bucket(URL).write(where, before)  # mended
    np.testing.assert_array_equal(there.feature(0).values, here.feature(0).values)


def test_a_table_with_other_bytes_or_none_is_an_error(s3: S3, tmp_path: Path) -> None:
    here = _published(tmp_path)
    start = f"runs/small/store/versions/{here.version}"
    arrow = Bucket(URL).read(f"{start}/samples.arrow")
    opened = _elsewhere(tmp_path)
    Bucket(URL).write(f"{start}/samples.arrow", arrow[:-1] + b"X")
    with pytest.raises(CorruptStoreError, match="other bytes than were published"):
        _ = opened.samples
    Bucket(URL).write(f"{start}/samples.arrow", arrow)
    assert opened.samples.equals(here.samples)
    Bucket(URL).delete([f"{start}/samples.arrow"])
    with pytest.raises(CorruptStoreError, match=r"samples\.arrow is missing"):
        open_store(tmp_path / "reader" / "runs" / "small")
    assert any("samples.arrow is missing" in problem for problem in opened.verify())


def test_the_cache_stays_below_its_bound(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_CACHE_BYTES", "4000")
    _published(tmp_path)
    there = _elsewhere(tmp_path)
    for feature in range(N_FEATURES):
        there.feature(feature)
        assert ReadCache(tmp_path / "reader" / "read").size_bytes <= 4000


def test_threads_read_side_by_side(s3: S3, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    here, there = _published(tmp_path), _elsewhere(tmp_path)

    def same(feature: Any) -> bool:
        return bool((there.feature(feature).values == here.feature(feature).values).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, [*range(N_FEATURES)] * 8))
