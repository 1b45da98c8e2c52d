"""A data root in a bucket and its working copies: what is pulled, what is pushed, and what two machines do to each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from splat_assets.errors import InputError
from splat_assets.store import open_store
from splat_assets.store.bucket.bucket import Bucket, BucketError
from splat_assets.store.bucket.working_copy import WorkingCopy, display_location, sharing
from splat_assets.store.files import staging_path
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import read_publications
from splat_assets.store.published.publishing import (
    current_version,
    newest_run,
    pin_version,
    publish,
    remove_old_versions,
)
from splat_assets.store.published.shared_store import PublishedMeanwhileError, SharedStore
from tests.contracts.sources import sparse_random
from tests.s3 import S3, Asked
from tests.store.making import staged_parts

URL = "s3://lab/data"


def _copy(folder: Path) -> WorkingCopy:
    return WorkingCopy.of(Bucket(URL), {"SPLAT_WORKING_COPY": str(folder)})


def _write(copy: WorkingCopy, name: str, text: str) -> None:
    path = copy.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _store(copy: WorkingCopy) -> Path:
    return copy.root / "runs" / "small" / "store"


def _publish(copy: WorkingCopy, seed: int) -> str:
    store = _store(copy)
    dense = sparse_random(40, 5, 0.4, seed=seed)
    return publish(store, staged_parts(copy.root / "cache" / f"{seed}", dense), {"sae": "a" * 64})


def test_a_folder_that_cannot_be_made_is_one_sentence(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"cannot be created \(Not a directory\): choose another in SPLAT_WORKING_COPY"
    ):
        _copy(tmp_path / "file" / "copy")


def test_the_location_shown_is_the_url_in_the_bucket(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    assert display_location(copy.root) == URL
    assert display_location(copy.root / "runs" / "small" / "store") == f"{URL}/runs/small/store"
    assert display_location(tmp_path / "else") == str(tmp_path / "else")


def test_a_file_pushed_here_is_pulled_there(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    _write(one, "saved_models/base/model.json", "weights")
    _write(one, "runs/small/run.toml", "a = 1")
    assert sorted(one.push()) == ["runs/small/run.toml", "saved_models/base/model.json"]
    assert one.push() == []

    assert sorted(other.pull()) == ["runs/small/run.toml", "saved_models/base/model.json"]
    assert other.pull() == []
    assert (other.root / "saved_models/base/model.json").read_text() == "weights"

    _write(other, "runs/small/run.toml", "a = 2, which is longer")
    other.push()
    one.pull()
    assert (one.root / "runs/small/run.toml").read_text() == "a = 2, which is longer"


def test_a_folder_that_is_emptied_costs_nothing_and_is_filled_again(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    for name in (
        "saved_models/base/model.json",
        "runs/a/raw_activations/shard-0/x",
        "runs/a/raw_activations/shard-1/x",
    ):
        _write(copy, name, "x")
    copy.push()
    shutil.rmtree(copy.root / "runs")
    (copy.root / "saved_models/base/model.json").unlink()

    assert copy.push() == []

    assert len(copy.bucket.listed()) == 3
    assert len(copy.pull_run("a")) == 3


def test_what_was_made_anew_takes_the_place_of_what_was_there(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    for name in ("shard-0/x", "shard-1/x"):
        _write(one, f"runs/a/raw_activations/{name}", "x")
    _write(one, "runs/a/neuron_acts/y", "y")
    one.push()
    other.pull_run("a")
    shutil.rmtree(one.root / "runs/a/raw_activations")
    _write(one, "runs/a/raw_activations/shard-0/x", "made anew")

    one.push([one.root / "runs/a/raw_activations"])

    assert sorted(one.bucket.listed()) == ["runs/a/neuron_acts/y", "runs/a/raw_activations/shard-0/x"]
    other.pull_run("a")
    assert [path.read_text() for path in sorted((other.root / "runs/a/raw_activations").rglob("x"))] == ["made anew"]


def test_leftovers_of_a_killed_process_are_removed_when_the_file_is_pulled(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    _write(one, "saved_models/base/model.json", "weights")
    one.push()
    left = staging_path(other.root / "saved_models" / "base" / "model.json")
    left.parent.mkdir(parents=True)
    left.write_text("wei")

    other.pull()

    assert [path.name for path in left.parent.iterdir()] == ["model.json"]


def test_what_the_bucket_lost_goes_here_too(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    _write(copy, "saved_models/base/model.json", "x")
    copy.push()
    copy.bucket.delete(["saved_models/base/model.json"])
    copy.pull()
    assert not (copy.root / "saved_models/base/model.json").exists()


def test_what_was_changed_here_and_not_sent_stays(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    _write(one, "automation.toml", "keep_versions = 1")
    one.push()
    other.pull()
    _write(other, "automation.toml", "keep_versions = 22")
    _write(one, "automation.toml", "keep_versions = 333")
    one.push()

    other.pull()

    assert (other.root / "automation.toml").read_text() == "keep_versions = 22"


def _copied(copy: WorkingCopy, folder: Path) -> WorkingCopy:
    """The working copy at another place, as `cp -r` makes it: every file has another time."""
    shutil.copytree(copy.root, folder, copy_function=shutil.copyfile)
    return _copy(folder)


def test_a_working_copy_that_was_copied_sends_nothing_again_and_overwrites_nothing_newer(
    s3: S3, tmp_path: Path
) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    _write(one, "automation.toml", "keep_versions = 1")
    _write(one, "datasets/d", "rows")
    one.push()
    other.pull()
    moved = _copied(one, tmp_path / "moved")
    _write(other, "automation.toml", "keep_versions = 2")
    other.push()

    assert moved.push() == []

    assert moved.pull() == ["automation.toml"]
    assert (moved.root / "automation.toml").read_text() == "keep_versions = 2"


def test_what_is_gone_from_the_bucket_goes_from_a_copied_working_copy_too(s3: S3, tmp_path: Path) -> None:
    one = _copy(tmp_path / "one")
    _write(one, "saved_models/base/model.json", "x")
    one.push()
    moved = _copied(one, tmp_path / "moved")
    one.bucket.delete(["saved_models/base/model.json"])

    moved.pull()

    assert not (moved.root / "saved_models/base/model.json").exists()


def test_other_content_of_the_same_size_and_time_is_sent(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    _write(copy, "automation.toml", "keep_versions = 1")
    copy.push()
    facts = (copy.root / "automation.toml").stat()
    _write(copy, "automation.toml", "keep_versions = 2")
    os.utime(copy.root / "automation.toml", ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert copy.push() == ["automation.toml"]
    assert copy.bucket.read("automation.toml") == b"keep_versions = 2"


def test_what_an_older_program_wrote_down_of_a_working_copy_still_holds(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    _write(copy, "automation.toml", "keep_versions = 1")
    _write(copy, "datasets/d", "rows")
    copy.push()
    state = copy.root / ".brought.json"
    known = {
        name: [fact[0], (result := (copy.root / name).stat()).st_size, result.st_mtime_ns]
        for name, fact in json.loads(state.read_text()).items()
    }
    state.write_text(json.dumps(known))
    _write(copy, "datasets/d", "other rows")

    assert copy.push() == ["datasets/d"]
    assert copy.push() == []


def test_a_file_that_goes_while_files_are_sent_stops_nothing(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    for name in ("datasets/a", "runs/r/run.toml"):
        _write(copy, name, "x")

    def remove(requested: Asked) -> None:
        if requested.method == "PUT":
            (copy.root / "runs/r/run.toml").unlink(missing_ok=True)

    s3.before = remove

    copy.push()

    assert list(copy.bucket.listed()) == ["datasets/a"]


def test_only_what_is_shared_is_sent(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    for name in (
        "cache/a",
        "dagster/b",
        "labels/c",
        "read/d",
        ".hidden",
        "runs/.staging-x/y",
        "runs/small/.lock",
        "datasets/e",
    ):
        _write(copy, name, "x")
    assert copy.push() == ["datasets/e"]


def test_heavy_parts_are_pulled_only_with_their_run(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    for name in (
        "runs/a/raw_activations/x",
        "runs/a/store/staged/y",
        "runs/b/raw_activations/z",
        "datasets/d",
        "runs/a/sae/w",
    ):
        _write(one, name, "x")
    one.push()

    assert other.pull() == ["runs/a/sae/w"]
    assert sorted(other.pull_run("a")) == ["datasets/d", "runs/a/raw_activations/x", "runs/a/store/staged/y"]


def test_names_that_would_leave_the_folder_are_not_pulled(s3: S3, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3.url)
    for name in ("data/.bucket", "data/cache/x", "data/runs/.hidden/x", "data/fine"):
        client.put_object(Bucket="lab", Key=name, Body=b"x")
    copy = _copy(tmp_path / "one")
    assert copy.pull() == ["fine"]
    assert (copy.root / ".bucket").read_text() == f"{URL}\n"
    client.put_object(Bucket="lab", Key="data/../escaped", Body=b"x")
    with pytest.raises(BucketError, match="cannot list s3://lab/data"):
        copy.pull()
    assert not (tmp_path / "escaped").exists()


def test_a_folder_stands_for_one_bucket(s3: S3, tmp_path: Path) -> None:
    _copy(tmp_path / "one")
    with pytest.raises(InputError, match="is the working copy of another bucket than s3://lab/else"):
        WorkingCopy.of(Bucket("s3://lab/else"), {"SPLAT_WORKING_COPY": str(tmp_path / "one")})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        _copy(tmp_path / "full")


def test_what_failed_inside_is_sent_all_the_same(s3: S3, tmp_path: Path) -> None:
    copy = _copy(tmp_path / "one")
    with pytest.raises(ZeroDivisionError), sharing(copy.root):
        _write(copy, "datasets/half", "x")
        _ = 1 / 0
    assert "datasets/half" in copy.bucket.listed()


def test_a_version_published_here_is_the_current_one_there(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    version = _publish(one, 1)
    other.pull()
    assert current_version(_store(other)) == version == SharedStore(other, _store(other)).pointer().version
    assert open_store(_store(other)).verify() == []
    assert _publish(one, 1) == version  # the same content again


def test_of_two_publishers_at_once_one_wins_and_the_other_gets_an_error(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    first = _publish(one, 1)
    other.pull()
    published: list[str] = []

    def meanwhile(requested: Asked) -> None:
        if requested.method == "PUT" and requested.path.endswith("/manifest.json") and not published:
            published.append("now")
            published[0] = _publish(one, 2)

    s3.before = meanwhile
    with pytest.raises(
        PublishedMeanwhileError, match=r"was published by another writer while \w+ was being made"
    ) as message:
        _publish(other, 3)

    theirs = published[0]
    assert theirs in str(message.value)
    assert SharedStore(other, _store(other)).pointer().version == theirs
    assert current_version(_store(other)) == first  # until the next look
    other.pull()
    assert open_store(_store(other)).version == theirs
    third = _publish(other, 3)  # again, after theirs
    one.pull()
    assert open_store(_store(one)).version == third


_KILLED = """
import os, sys
from pathlib import Path
from splat_assets.store.bucket.bucket import Bucket
from tests.store.test_working_copy import _copy, _publish
write = Bucket.write
def dying(self, name, content):
    if name.endswith(sys.argv[2]):
        os._exit(9)
    return write(self, name, content)
Bucket.write = dying
replace = Bucket.replace
def dying_pointer(self, name, content, tag):
    if name.endswith(sys.argv[2]):
        os._exit(9)
    return replace(self, name, content, tag)
Bucket.replace = dying_pointer
_publish(_copy(Path(sys.argv[1])), 2)
"""


@pytest.mark.parametrize("at", ["samples.arrow", "manifest.json", "publications.json", "CURRENT"])
def test_a_writer_killed_while_publishing_leaves_the_old_version_current(at: str, s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    old = _publish(one, 1)

    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(one.root), at], cwd=Path(__file__).parents[2], env=os.environ
    )

    assert killed.returncode == 9
    other.pull()
    assert open_store(_store(other)).version == old
    assert open_store(_store(other)).verify() == []
    assert current_version(_store(one)) == old
    new = _publish(one, 2)
    other.pull()
    assert open_store(_store(other)).version == new != old


def test_a_bucket_that_refuses_leaves_what_was_current(s3: S3, tmp_path: Path) -> None:
    one = _copy(tmp_path / "one")
    old = _publish(one, 1)

    def refuse(requested: Asked) -> None:
        if requested.method == "PUT" and requested.path.endswith("/CURRENT"):
            raise ConnectionError

    s3.before = refuse
    with pytest.raises(BucketError, match="not allowed to write it"):
        _publish(one, 2)
    s3.before = None
    assert current_version(_store(one)) == old == SharedStore(one, _store(one)).pointer().version


def test_old_versions_go_here_and_there_but_never_pinned_ones(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    versions = [_publish(one, seed) for seed in range(4)]
    pin_version(_store(one), versions[0])
    one.push()
    other.pull()

    removed = remove_old_versions(_store(other), 1)

    assert removed == sorted(versions[1:3])
    assert SharedStore(other, _store(other)).versions() == {versions[0], versions[3]}
    names = other.bucket.listed("runs/small/store/versions")
    assert not any(version in name for version in removed for name in names)
    assert open_store(_store(other)).verify() == []


def test_old_versions_in_the_bucket_go_in_the_order_of_publication(s3: S3, tmp_path: Path) -> None:
    parts = staged_parts(tmp_path / "staged", sparse_random(40, 5, 0.4, seed=1))
    ids = {publish(tmp_path / "elsewhere", parts, {"fact": fact}): fact for fact in ("a", "b", "c")}
    one = _copy(tmp_path / "one")
    versions = [publish(_store(one), parts, {"fact": ids[version]}) for version in sorted(ids, reverse=True)]
    for name in [name for name in one.bucket.listed() if versions[0] in name]:
        one.bucket.write(name, one.bucket.read(name))  # as when a bucket is copied: the oldest was written last

    assert remove_old_versions(_store(one), 2) == [versions[0]]


def test_a_run_published_by_another_machine_meanwhile_counts_when_the_next_is_numbered(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    for copy, run in ((one, "b"), (other, "a")):
        _write(copy, f"runs/{run}/run.toml", "")
        copy.push()
    for copy, run, seed in (
        (one, "b", 1),
        (one, "b", 2),
        (other, "a", 1),
    ):  # the other never looked at what was published
        store = copy.root / "runs" / run / "store"
        publish(store, staged_parts(copy.root / "cache" / str(seed), sparse_random(40, 5, 0.4, seed=seed)), {})

    one.pull()

    assert newest_run(DataRoot(one.root)) == newest_run(DataRoot(other.root)) == "a"
    assert [one.sequence for one in read_publications(one.root / "runs/a/store").values()] == [3]


def test_a_pointer_in_the_bucket_that_is_no_id_is_replaced_and_not_recorded(s3: S3, tmp_path: Path) -> None:
    one = _copy(tmp_path / "one")
    one.bucket.write("runs/small/store/CURRENT", b"nonsense")

    version = _publish(one, 1)

    assert list(SharedStore(one, _store(one)).publications()[0]) == [version]


def test_records_of_two_who_publish_at_once_are_both_kept(s3: S3, tmp_path: Path) -> None:
    one, other = _copy(tmp_path / "one"), _copy(tmp_path / "other")
    _publish(one, 1)
    other.pull()
    published: list[str] = []

    def meanwhile(requested: Asked) -> None:
        if requested.method == "PUT" and requested.path.endswith("/publications.json") and not published:
            published.append("now")
            published[0] = _publish(one, 2)

    s3.before = meanwhile
    with pytest.raises(PublishedMeanwhileError):
        _publish(other, 3)

    known = SharedStore(one, _store(one)).publications()[0]
    assert sorted(publication.sequence for publication in known.values()) == [1, 2, 3]
    assert known[published[0]].sequence == 2
