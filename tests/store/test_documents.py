"""Small files of every kind of damage: a value, or one error that says what is wrong with them."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from splat_assets.errors import SplatError
from splat_assets.store.documents import DEEPEST, entries, json_of, kind_of, read_bytes, read_json, read_toml, toml_of
from tests.nobody import as_nobody

NO_JSON = {
    "nothing": (b"", "Expecting value"),
    "arrays without end": (b"[" * 100_000, "nested more than"),
    "objects without end": (b'{"a":' * 100_000, "nested more than"),
    "more levels than anybody writes": (b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2), "nested more than"),
    "no text": (b"\xff" * 100, "UTF-8"),
    "half a surrogate pair": (rb'{"a": "\ud800"}', "surrogate"),
    "a number of too many digits": (b"9" * 5_000, "digits"),
}


@pytest.mark.parametrize(("content", "why"), NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_a_value_error_that_says_why(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(ValueError, match=why):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "größer"]}, [], 2**70, "text"])
def test_json_is_read_with_and_without_a_byte_order_mark(value: Any, tmp_path: Path) -> None:
    text = json.dumps(value)
    (tmp_path / "a.json").write_bytes(text.encode("utf-8-sig"))

    assert read_json(tmp_path / "a.json") == json_of(text) == value


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a" + ".a" * 500 + " = 1", "a = {", "a = 1\na = 2"])
def test_what_is_no_toml_is_a_value_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)

    with pytest.raises(ValueError):
        toml_of(text)
    with pytest.raises(ValueError):
        read_toml(tmp_path / "a.toml")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))

    for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a named pipe"), (tmp_path / "socket", "a socket"),
                       (Path("/dev/zero"), "a device")):  # fmt: skip
        assert kind_of(path) == kind
        with pytest.raises(ValueError, match=f"it is {kind}, not a file"):
            read_bytes(path)
    assert kind_of(tmp_path / "none") == "nothing"
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")


def test_a_pipe_of_the_shell_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"[1]")
    os.close(writing)

    assert read_json(Path(f"/dev/fd/{reading}")) == [1]

    os.close(reading)


def test_entries_of_what_is_no_folder_are_none(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()

    assert entries(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert entries(tmp_path / "b") == entries(tmp_path / "none") == []


def test_what_may_not_be_read_is_named_with_the_user_and_the_closed_folder(tmp_path: Path) -> None:
    closed, plain = tmp_path / "closed", tmp_path / "secret.json"
    closed.mkdir(mode=0o700)
    (closed / "a.json").write_text("1")
    plain.write_text("1")
    plain.chmod(0o600)

    with as_nobody(tmp_path):
        with pytest.raises(SplatError, match=rf"permission denied: {plain}, as nobody \(uid 65534\)"):
            read_json(plain)
        with pytest.raises(
            SplatError, match=rf"permission denied: {closed}/a.json, as nobody .*{closed} may not be entered"
        ):
            read_json(closed / "a.json")
        with pytest.raises(SplatError, match=rf"permission denied: {closed}, as nobody"):
            entries(closed)
