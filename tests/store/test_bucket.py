"""A bucket: objects, ranges, conditions, and faults that are sentences. The server is moto's, on this machine."""

import pickle
import re
import threading
from pathlib import Path

import pytest

from splat_assets.errors import InputError
from splat_assets.store.bucket.bucket import (
    Bucket,
    BucketError,
    MissingFileError,
    MissingObjectError,
    PreconditionFailedError,
    bucket_of,
)
from splat_assets.store.errors import StoreError
from tests.s3 import S3


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket("s3://lab/some/data")


def test_objects_are_written_read_listed_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    tag = bucket.write("a/one.txt", b"hello")
    bucket.write("a/two.txt", tmp_path / "file")

    assert bucket.read_tagged("a/one.txt") == (b"hello", tag)
    assert bucket.read_range("a/one.txt", 1, 3) == b"ell"
    assert bucket.fetch("a/two.txt", tmp_path / "back") and (tmp_path / "back").read_bytes() == b"from a file"
    assert {name: one.size_bytes for name, one in bucket.listed().items()} == {"a/one.txt": 5, "a/two.txt": 11}
    assert bucket.listed("a").keys() == bucket.listed().keys() and bucket.listed("b") == {}
    assert bucket.below("a").read("one.txt") == b"hello"
    assert pickle.loads(pickle.dumps(bucket)).read("a/one.txt") == b"hello"
    bucket.delete(["a/one.txt", "never/was"])
    assert list(bucket.listed()) == ["a/two.txt"]


def test_a_conditional_write_happens_only_if_nobody_was_faster(bucket: Bucket) -> None:
    first = bucket.create("pointer", b"1")
    with pytest.raises(PreconditionFailedError, match="changed by another writer meanwhile"):
        bucket.create("pointer", b"2")

    second = bucket.replace("pointer", b"2", first)
    with pytest.raises(PreconditionFailedError):
        bucket.replace("pointer", b"3", first)

    assert bucket.read_tagged("pointer") == (b"2", second)


def test_of_many_writers_at_once_one_gets_in(bucket: Bucket) -> None:
    tag = bucket.create("pointer", b"0")
    got_in: list[int] = []

    def write(number: int) -> None:
        try:
            bucket.replace("pointer", str(number).encode(), tag)
        except PreconditionFailedError:
            return
        got_in.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(got_in) == 1
    assert bucket.read("pointer") == str(got_in[0]).encode()


def test_what_is_not_there_or_not_allowed_is_one_sentence(bucket: Bucket, s3: S3) -> None:
    with pytest.raises(MissingObjectError, match=re.escape("s3://lab/some/data/none is not there")):
        bucket.read("none")
    with pytest.raises(BucketError, match="cannot list s3://nobodys-bucket/x:"):
        Bucket("s3://nobodys-bucket/x").listed()

    def refuse(_: object) -> None:
        raise ConnectionError

    s3.before = refuse
    with pytest.raises(BucketError, match="not allowed to write it; check AWS_ACCESS_KEY_ID") as message:
        bucket.write("a", b"")
    assert "\n" not in str(message.value)


def test_a_missing_local_file_is_not_taken_for_a_missing_bucket_or_object(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none, to be pushed to s3://lab/some/data/a, does not exist"):
        bucket.write("a", tmp_path / "none")
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        bucket.write("a", tmp_path)
    bucket.write("a", b"content")
    with pytest.raises(FileNotFoundError, match="below"):
        bucket.fetch("a", tmp_path / "below" / "a")


def test_a_file_that_goes_in_parts_arrives_whole(bucket: Bucket, tmp_path: Path) -> None:
    content = bytes(range(256)) * (25 * 2**12)
    (tmp_path / "large").write_bytes(content)

    bucket.write("large", tmp_path / "large")
    bucket.fetch("large", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize(
    "url", ["s3://", "s3://A", "s3://lab/../x", "s3://key:secret@lab/x", "s3://lab/a?b", "s3://lab/a b"]
)
def test_what_is_no_bucket_is_refused_and_no_secret_repeated(url: str, s3: S3) -> None:
    with pytest.raises(InputError, match="is not a bucket URL: write s3://BUCKET") as message:
        Bucket(url)
    assert "secret" not in str(message.value)


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1", "https://", "http://a b", "https://x/?y"])
def test_an_address_that_is_none_is_refused(address: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL is .*: write https://HOST"):
        bucket.listed()


def test_plain_http_leaves_the_machine_only_when_allowed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(InputError, match="AWS_ALLOW_HTTP=true where the network is trusted"):
        bucket.listed()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert bucket.objects is not None


@pytest.mark.parametrize("url", ["gs://lab/data", "https://user:secret@lab/data", "S3://lab/data"])
def test_other_kinds_of_urls_are_not_taken_for_folders(url: str) -> None:
    with pytest.raises(InputError, match="set it to a folder, or to a bucket as s3://") as refusal:
        bucket_of({"SPLAT_DATA": url})
    assert "secret" not in str(refusal.value)


def test_credentials_come_from_the_environment_alone(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InputError, match="the environment has none: set AWS_ACCESS_KEY_ID"):
        Bucket("s3://lab")
    assert s3.asked == []
