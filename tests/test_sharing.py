"""A data root in a bucket while a command works on it: what others do are pulled again and again, whatever happens meanwhile."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from splat_assets.store.bucket.bucket import Bucket
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.layout import DataRoot
from splat_assets.store.sharing import synced_root
from tests.s3 import S3, Asked

URL = "s3://lab/data"


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["disk", "bucket"])
def test_changes_of_others_are_pulled_again_after_a_fault_that_is_logged_once(
    fault: str, s3: S3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = WorkingCopy.of(Bucket(URL), {"SPLAT_WORKING_COPY": str(tmp_path / "one")})

    def refuse(asked: Asked) -> None:
        if asked.method == "GET" and fault == "bucket":
            raise ConnectionError

    def faults() -> list[str]:
        return [record.message for record in caplog.records if "cannot be pulled" in record.message]

    with synced_root(DataRoot(copy.root), every_seconds=0.02):
        if fault == "disk":
            (copy.root / "datasets-of-others").write_text("a file where a folder is needed")
        s3.before = refuse
        Bucket(URL).write("datasets-of-others/small/builds.csv", b"rows")
        _wait_until(lambda: bool(faults()))
        n_asked = len(s3.asked)
        _wait_until(lambda: len(s3.asked) > n_asked + 3)  # it goes on trying
        assert len(faults()) == 1
        s3.before = None
        if fault == "disk":
            (copy.root / "datasets-of-others").unlink()

        _wait_until((copy.root / "datasets-of-others" / "small" / "builds.csv").is_file)
        _wait_until(lambda: "are pulled again" in caplog.records[-1].message)
