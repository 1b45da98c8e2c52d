"""The version of a folder of guide formats: a copy has the same, other content has another, no kept answer outlives a change."""

import os
import shutil
from pathlib import Path

import pytest

from splat_assets.store.guide.batches import write_batches
from splat_assets.store.layout import DataRoot
from splat_serving.database.folder import Folder
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random
from tests.serving.conftest import client_of

LARGE = 200_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A batch tree with a large file beside it."""
    folder = tmp_path / "efficient"
    write_batches(DenseSource(sparse_random(30, 4, 0.5)), sample_table(30), None, VOCABULARY, folder, 10)
    (folder / "large.bin").write_bytes(bytes(LARGE))
    return folder


def _change(path: Path, offset: int) -> None:
    """Change a byte; size and time of writing stay."""
    facts = path.stat()
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_copy_of_a_folder_is_the_same_version(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        os.utime(path, (4e9, 4e9))

    assert Folder.open(copy).version == Folder.open(folder).version


@pytest.mark.parametrize("offset", [0, 20_000, LARGE - 1])
def test_other_content_of_the_same_size_and_time_is_another_version(offset: int, folder: Path) -> None:
    before = Folder.open(folder).version

    _change(folder / "large.bin", offset)

    assert Folder.open(folder).version != before


def test_an_answer_that_a_client_kept_is_not_good_for_a_folder_that_changed_where_nobody_looks(
    folder: Path, tmp_path: Path
) -> None:
    with client_of(str(folder), DataRoot(tmp_path)) as client:
        version = client.get("/version").json()["version"]
        first = client.get(f"/v/{version}/activations/1")
        kept = {"If-None-Match": first.headers["etag"]}
        assert client.get(f"/v/{version}/activations/1", headers=kept).status_code == 304
    _change(folder / "large.bin", LARGE // 2)

    with client_of(str(folder), DataRoot(tmp_path)) as client:
        assert client.get("/version").json()["version"] == version
        assert client.get(f"/v/{version}/activations/1", headers=kept).status_code == 200
    assert first.headers["cache-control"] == "no-cache"
