"""`splat serve` and `uvicorn splat_serving.server:app`: what they say of a mistake, what they log, and how they stop."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.http.settings import ServerSettings, option, settings_from_environment, variable
from tests.serving.sockets import Connection, environment_of, request, running, wait_until

ACCESS = "splat_serving.access"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the command does to the logs of this process is undone."""
    loggers = [logging.getLogger(name) for name in (None, "splat_serving", "splat_assets.store.opening", ACCESS)]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers, propagate


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, finished_root: DataRoot) -> None:
    for name in list(os.environ):
        if name.startswith("ACTIVATION_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))


def refusal(*arguments: str) -> str:
    """What the command says when it refuses, on one line."""
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last


def test_the_error_for_an_unknown_run_lists_the_runs(finished_root: DataRoot) -> None:
    assert f"nobody is neither a run of {finished_root.path} (it has small) nor a folder" in refusal("nobody")


def test_an_impossible_file_name_is_refused(finished_root: DataRoot) -> None:
    for name in ("x" * 3_000, "a\0b"):
        assert f"is neither a run of {finished_root.path} nor a folder" in refusal(name)


def test_a_path_without_activations_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(str(tmp_path))


@pytest.mark.parametrize("name", ["--data-dir", "--transposed-dir", "--vocab-path"])
def test_a_folder_that_would_be_ignored_is_refused(name: str, tmp_path: Path) -> None:
    assert f"both small and {name} name the data" in refusal("small", name, str(tmp_path))


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert f"cannot listen on 127.0.0.1:{port}: " in refusal("small", "--port", str(port))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1", "a..b", "x" * 100])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    assert f"cannot listen on {host}:0: " in refusal("small", "--port", "0", "--host", host, "--insecure")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "203.0.113.1", "example.org"])
def test_other_machines_are_let_in_only_in_so_many_words(host: str) -> None:
    said = refusal("small", "--port", "0", "--host", host)

    assert f"--host {host} allows other machines" in said
    assert "--token-file" in said and "--insecure" in said


def test_an_invalid_token_file_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    missing = refusal("small", "--port", "0", "--token-file", str(token))
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    open_to_all = refusal("small", "--port", "0", "--token-file", str(token))

    assert "cannot be read: No such file" in missing
    assert "chmod 600" in open_to_all


BAD_VALUES = {
    "ACTIVATION_WORKERS": "many",
    "ACTIVATION_MAX_IN_FLIGHT": "0",
    "ACTIVATION_MAX_BODY_BYTES": "1.5",
    "ACTIVATION_READ_TIMEOUT_SECONDS": "nan",
    "ACTIVATION_INSECURE": "perhaps",
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_variable_that_means_nothing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, BAD_VALUES[name])

    said = refusal("small", "--port", "0")

    assert said.startswith(f"Error: {name}: ")
    assert BAD_VALUES[name] in said


def test_an_option_that_means_nothing_is_named() -> None:
    assert refusal("small", "--port", "0", "--workers", "0").startswith("Error: --workers: ")
    assert refusal("small", "--port", "0", "--workers", "x").startswith("Error: Invalid value for '--workers'")
    assert refusal("small", "--port", "70000").startswith("Error: Invalid value for '--port'")


def test_every_setting_is_an_option_and_a_variable_and_is_explained() -> None:
    said = CliRunner().invoke(main, ["serve", "--help"]).output
    in_one_line = re.sub(r"\s+", " ", said)

    for name, field in ServerSettings.model_fields.items():
        assert f"{option(name)} " in in_one_line
        assert f"[{variable(name)}" in in_one_line
        assert field.description and field.description in in_one_line
    for heading in ("Network:", "Data:", "Access:", "Limits:", "Log:", "Examples:"):
        assert f"\n{heading}\n" in said


VALUES = {
    "data_dir": "/a",
    "transposed_dir": "/b",
    "examples_dir": "/examples",
    "neuron_acts_dir": "/c",
    "vocab_path": "/d",
    "weapon_vocab_path": "/e",
    "token_file": "/f",
    "allow_labels": "true",
    "insecure": "true",
    "allowed_hosts": "one.example, two.example",
    "workers": "3",
    "max_in_flight": "4",
    "max_connections": "5",
    "max_body_bytes": "6",
    "max_rows": "7",
    "max_sending_bytes": "12",
    "cache_bytes": "8",
    "read_timeout_seconds": "9",
    "write_timeout_seconds": "10",
    "shutdown_seconds": "11",
    "log_requests": "1",
}


def test_every_variable_is_read_and_an_option_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(variable(name), value)

    found = settings_from_environment(workers=30)

    assert VALUES.keys() == ServerSettings.model_fields.keys()
    assert (found.data_dir, found.workers, found.read_timeout_seconds) == (Path("/a"), 30, 9.0)
    assert (found.insecure, found.log_requests) == (True, True)
    assert found.allowed_hosts == ("one.example", "two.example")
    defaults = {name: field.default for name, field in ServerSettings.model_fields.items()}
    assert not [name for name in VALUES if getattr(found, name) == defaults[name]]


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VALUES:
        monkeypatch.setenv(variable(name), "")

    assert settings_from_environment() == ServerSettings.model_construct()


def test_a_misspelt_variable_is_pointed_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("ACTIVATION_TOKENFILE", "token")

    settings_from_environment()

    assert (
        "ACTIVATION_TOKENFILE is not a setting of the activation server; settings are ACTIVATION_ALLOWED_HOSTS"
        in caplog.text
    )


def uvicorn(root: DataRoot, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uvicorn", "splat_serving.server:app", "--port", "0"]
    return subprocess.run(
        command, env=environment_of(root, environment), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_guides_way_to_start_says_mistakes_as_well(finished_root: DataRoot, tmp_path: Path) -> None:
    mistakes = {
        "ACTIVATION_DATA_DIR": str(tmp_path),
        "ACTIVATION_WORKERS": "many",
        "ACTIVATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    for name, value in mistakes.items():
        found = uvicorn(finished_root, **{name: value})

        assert found.returncode != 0
        assert "Traceback" not in found.stderr
        assert found.stderr.strip().splitlines()[-1].startswith("Error: ")
        assert value in found.stderr


def test_the_guides_way_to_start_serves_the_guides_folders(finished_root: DataRoot, tmp_path: Path) -> None:
    run = finished_root.run("small")
    environment = {
        "ACTIVATION_DATA_DIR": str(run.efficient),
        "ACTIVATION_TRANSPOSED_DIR": str(run.transposed),
        "ACTIVATION_LOG_REQUESTS": "1",
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "splat_serving.server:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--http", "splat_serving.http.connection:TimedProtocol"]
    log = tmp_path / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=environment_of(finished_root, environment), stderr=written)
    try:
        wait_until("it listens", lambda: "running on" in log.read_text())
        with Connection(port) as connection:
            connection.send(request("/activations/1?limit=1", "Connection: close"))
            answer = connection.answer()
    finally:
        process.terminate()
        process.wait()

    assert (answer.status, json.loads(answer.body)["feature_id"]) == (200, 1)
    assert '"path": "/activations/1"' in log.read_text()


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_and_its_log_is_json_lines(
    with_signal: signal.Signals, tmp_path: Path, finished_root: DataRoot
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    options = ("--host", "0.0.0.0", "--token-file", str(token), "--log-requests")
    with running(tmp_path, finished_root, *options) as server:
        authorised = "Authorization: Bearer 0123456789abcdef0123456789abcdef"
        answers = [
            server.ask("/version", authorised),
            server.ask("/version"),
            server.ask("/a%0aINFO%20forged\x80", authorised),
        ]
        idle = server.connect()
        code = server.stop(with_signal)
        idle.close()

    requests = [json.loads(line) for line in server.said().splitlines() if line.startswith("{")]
    assert code == 0
    assert [answer.status for answer in answers[:2]] == [200, 401]
    assert [one["status"] for one in requests if one["path"] == "/version"] == [200, 401]
    assert "0123456789abcdef" not in server.said()
    assert not [line for line in server.said().splitlines() if line.startswith("INFO forged")]
    assert "server" not in answers[0].headers
