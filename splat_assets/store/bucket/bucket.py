"""A prefix of an S3 bucket: whole objects, ranges of bytes, and conditional writes.

Credentials come from the environment and from nowhere else (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`,
`AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, `AWS_REGION`, or the files that `AWS_WEB_IDENTITY_TOKEN_FILE` and its like name).
Every error has a one-sentence message.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from splat_assets.errors import InputError
from splat_assets.store.errors import StoreError

SCHEME = "s3://"
_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[A-Za-z0-9!_.*'()/-]*))?")
_IDENTITIES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/?")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[^\s?#]*)?")
_ALLOWED = "AWS_ALLOW_HTTP"
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


class BucketError(StoreError):
    """The bucket refused, did not answer, or lacks the object."""


class MissingObjectError(BucketError):
    """An object of that name does not exist."""


class PreconditionFailedError(BucketError):
    """The object changed between reading and writing it: nothing was written."""


class MissingFileError(StoreError):
    """The file to push does not exist."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object's entry in a listing."""

    size_bytes: int
    tag: str


class Bucket:
    """Objects below a prefix, by their names relative to it. Safe for threads; sent to another process, it connects there."""

    def __init__(self, url: str) -> None:
        """url: `s3://bucket/prefix`. Nothing is sent yet. InputError for no such URL, and where no credentials are set."""
        match = _URL.fullmatch(url.rstrip("/"))
        if match is None or ".." in url:
            raise InputError(
                f"{_without_secrets(url)!r} is not a bucket URL: write s3://BUCKET or s3://BUCKET/PREFIX, with "
                f"only the characters that S3 calls safe in the prefix: letters, digits, / ! - _ . * ' ( )"
            )
        if not any(os.environ.get(name) for name in _IDENTITIES):
            raise InputError(
                f"{url} needs credentials, and the environment has none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                "(and AWS_ENDPOINT_URL for a bucket that is not Amazon's)"
            )
        self.url = url.rstrip("/")
        self.name = match["bucket"]
        self.prefix = (match["prefix"] or "").strip("/")

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        return Bucket, (self.url,)

    def __repr__(self) -> str:
        return f"<Bucket {self.url}>"

    def below(self, prefix: str) -> "Bucket":
        """The bucket below a longer prefix."""
        return Bucket(f"{self.url}/{prefix}")

    @cached_property
    def objects(self) -> Any:
        """The obstore of the prefix, for libraries that take one."""
        from obstore.store import S3Store

        endpoint = _endpoint()
        options: Any = {"allow_http": True} if endpoint.startswith("http://") else {}
        more: Any = {"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else {}
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return S3Store(
            self.name, prefix=self.prefix or None, region=region, client_options=options, retry_config=_RETRIES, **more
        )

    def read(self, name: str) -> bytes:
        """A whole object; MissingObjectError, BucketError."""
        return self.read_tagged(name)[0]

    def read_tagged(self, name: str) -> tuple[bytes, str]:
        """A whole object and its tag, which `replace` wants; errors as `read`."""
        with self._explained("read", name):
            got = self.objects.get(name)
            return bytes(got.bytes()), str(got.meta["e_tag"])

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """length bytes of an object from start on, in one request; errors as `read`."""
        with self._explained("read", name):
            return bytes(self.objects.get_range(name, start=start, length=length))

    def fetch(self, name: str, path: Path) -> str:
        """Write a whole object to a new file, piece by piece, and return its tag; errors as `read`."""
        with self._explained("read", name):
            got = self.objects.get(name)
        with path.open("wb") as file:  # its faults are this machine's and not the bucket's
            for piece in self._pieces(got, name):
                file.write(piece)
        return str(got.meta["e_tag"])

    def _pieces(self, got: Any, name: str) -> Iterator[bytes]:
        with self._explained("read", name):
            yield from got.stream(min_chunk_size=8 * 2**20)

    def listed(self, prefix: str = "") -> dict[str, Object]:
        """Every object below a prefix, by name; BucketError."""
        with self._explained("list", prefix):
            pages = self.objects.list(prefix=prefix or None, chunk_size=1_000)
            return {str(one["path"]): Object(int(one["size"]), str(one["e_tag"])) for page in pages for one in page}

    def write(self, name: str, content: bytes | Path) -> str:
        """Write an object, whatever was there, and return its tag; large files go in parts. BucketError.

        MissingFileError when the file to push does not exist, StoreError when it cannot be read.
        """
        if isinstance(content, bytes):
            return self._put(name, content)
        try:
            file = content.open("rb")
        except FileNotFoundError as error:
            raise MissingFileError(f"{content}, to be pushed to {self.url}/{name}, does not exist") from error
        except OSError as error:
            raise StoreError(
                f"{content}, to be pushed to {self.url}/{name}, cannot be read: {error.strerror}"
            ) from error
        with file:
            return self._put(name, file)

    def _put(self, name: str, content: bytes | BinaryIO) -> str:
        with self._explained("write", name):
            return str(self.objects.put(name, content)["e_tag"])

    def create(self, name: str, content: bytes) -> str:
        """Write an object that must not exist yet, and return its tag; PreconditionFailedError where it does."""
        with self._explained("write", name):
            return str(self.objects.put(name, content, mode="create", use_multipart=False)["e_tag"])

    def replace(self, name: str, content: bytes, tag: str) -> str:
        """Write an object that must still be the one with this tag, and return the new one; PreconditionFailedError."""
        with self._explained("write", name):
            mode: Any = {"e_tag": tag}
            return str(self.objects.put(name, content, mode=mode, use_multipart=False)["e_tag"])

    def delete(self, names: list[str]) -> None:
        """Remove objects; those that are gone already are not an error."""
        if names:
            with self._explained("delete", names[0]):
                self.objects.delete(names)

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        from obstore import exceptions as faults

        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except (FileNotFoundError, faults.NotFoundError) as error:
            if verb == "write":
                raise BucketError(f"cannot write {where}: the bucket {self.name!r} does not exist") from error
            raise MissingObjectError(f"{where} is not there") from error
        except (faults.AlreadyExistsError, faults.PreconditionError) as error:
            raise PreconditionFailedError(f"{where} was changed by another writer meanwhile") from error
        except (faults.PermissionDeniedError, faults.UnauthenticatedError) as error:
            raise BucketError(
                f"{where}: not allowed to {verb} it; check AWS_ACCESS_KEY_ID and its permissions"
            ) from error
        except faults.BaseError as error:
            raise BucketError(f"cannot {verb} {where}: {_short(error)}") from error


def bucket_of(environment: Mapping[str, str] = os.environ) -> Bucket | None:
    """The bucket that SPLAT_DATA names; None where it names a folder. InputError for a URL of another kind."""
    url = environment.get("SPLAT_DATA") or ""
    if url.startswith(SCHEME):
        return Bucket(url)
    if _OTHER_SCHEME.match(url):
        raise InputError(
            f"SPLAT_DATA is {_without_secrets(url)!r}: set it to a folder, or to a bucket as s3://BUCKET/PREFIX"
        )
    return None


def _endpoint() -> str:
    """The endpoint of the bucket, empty for Amazon's; InputError for an invalid URL, and for plain HTTP to another machine."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3") or ""
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise InputError(
            f"AWS_ENDPOINT_URL is {_without_secrets(endpoint)!r}: write https://HOST, or http://127.0.0.1:PORT"
        )
    is_plain = endpoint.startswith("http://")
    if is_plain and not _LOCAL.fullmatch(endpoint) and os.environ.get(_ALLOWED, "").lower() != "true":
        raise InputError(
            f"AWS_ENDPOINT_URL is {endpoint!r}: plain HTTP is not encrypted; write https://, or set "
            f"{_ALLOWED}=true where the network is trusted"
        )
    return endpoint


def _short(error: BaseException) -> str:
    """The first line of the reason, without debugging output."""
    text = str(error).partition("\n\nDebug source")[0].strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300]


def _without_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)[:200]
