"""`splat doctor` on what lies outside a run: the bucket, the Ray cluster."""

import socket
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.bucket.bucket import Bucket
from tests.s3 import S3, Asked


def _doctor(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[int, str]:
    monkeypatch.setenv("COLUMNS", "220")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = CliRunner().invoke(main, ["doctor", "--dagster-port", "1"])
    assert "Traceback" not in found.output
    return found.exit_code, " ".join(found.output.split())


def test_a_bucket_that_does_what_publishing_needs_is_content(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = _doctor(monkeypatch, SPLAT_DATA="s3://lab/data")
    assert (code, "s3://lab/data, 0 objects of runs" in said) == (0, True), said
    assert Bucket("s3://lab/data").listed() == {}, "what was tried is gone again"


def test_an_unreachable_bucket_or_missing_credentials_are_reported(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = _doctor(monkeypatch, SPLAT_DATA="s3://nobodys-bucket/data")
    assert code == 1 and "cannot write s3://nobodys-bucket/data" in said, said
    code, said = _doctor(monkeypatch, SPLAT_DATA="s3://lab/data", AWS_ACCESS_KEY_ID="")
    assert code == 1 and "needs credentials" in said, said
    code, said = _doctor(monkeypatch, SPLAT_DATA="s3://UPPER", AWS_ACCESS_KEY_ID="x")
    assert code == 1 and "is not a bucket URL" in said, said


def test_a_bucket_that_refuses_writes_is_reported(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(asked: Asked) -> None:
        if asked.method == "PUT":
            raise ConnectionError

    s3.before = refuse
    code, said = _doctor(monkeypatch, SPLAT_DATA="s3://lab/data")
    assert code == 1 and "not allowed to write it" in said, said


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that the test has none of")
def test_a_device_that_torch_lacks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = _doctor(monkeypatch, SPLAT_DATA=str(tmp_path))
    assert (code, "torch device │ cpu" in said) == (0, True), said
    code, said = _doctor(monkeypatch, SPLAT_DATA=str(tmp_path), SPLAT_DEVICE="cuda")
    assert code == 1 and "SPLAT_DEVICE=cuda" in said and "cannot compute on the device 'cuda'" in said, said


def test_the_ray_cluster_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        code, said = _doctor(monkeypatch, SPLAT_DATA=str(tmp_path), SPLAT_SHARDS=f"ray:127.0.0.1:{port}")
        assert (code, f"127.0.0.1:{port} answers" in said) == (0, True), said
    code, said = _doctor(monkeypatch, SPLAT_DATA=str(tmp_path), SPLAT_SHARDS=f"ray:127.0.0.1:{port}")
    assert code == 1 and "no answer" in said, said
    code, said = _doctor(monkeypatch, SPLAT_DATA=str(tmp_path), SPLAT_SHARDS="ray")
    assert code == 0 and ", local or at RAY_ADDRESS" in said, said
