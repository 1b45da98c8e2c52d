"""What `splat up` starts: told apart from other programs, ended quietly and wholly. Small programs stand for the large ones."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.commands.ports import is_answered_by

_SERVER = """
import socket, subprocess, sys, time
folder, port = sys.argv[1], int(sys.argv[2])
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(2, 1); signal.signal(15, 1); time.sleep(99)"])
open(folder + "/children", "a").write(f"{child.pid}\\n")
try:
    if port:
        held = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)
    time.sleep(99)
finally:
    print("how it ends is nobody's concern", flush=True)
"""
"""Listens where it can, and leaves a child behind that heeds no signal but the last."""
_RUNNER = """
import sys
from splat_assets.cli import main
from splat_assets.commands.services import run_services
folder, port = sys.argv[1:]
server = [sys.executable, "-c", {server!r}, folder]
run_services([[*server, port], [*server, "0"]], "UI", int(port))
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def another_program(port: int) -> Iterator[None]:
    """Listens on the port, before the services begin where a test names it first."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.fixture
def services(port: int, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Two services, the first of which listens on the port."""
    words = [sys.executable, "-c", _RUNNER.format(server=_SERVER), str(tmp_path), str(port)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "children").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it_quietly_with_0(
    number: signal.Signals, services: "subprocess.Popen[str]", port: int, tmp_path: Path
) -> None:
    assert services.stderr is not None
    lines = [next(services.stderr).strip() for _ in range(3)]
    assert sorted(lines) == [f"UI: http://127.0.0.1:{port}   (Ctrl-C stops)", "ready", "ready"]

    services.send_signal(number)

    assert services.wait(60) == 0
    assert services.stderr.read() == ""
    assert len(children(tmp_path)) == 2
    assert not [pid for pid in children(tmp_path) if is_alive(pid)]


@pytest.mark.slow
def test_the_url_of_another_program_is_never_printed(
    another_program: None, services: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    ended = services.wait(60)

    assert services.stderr is not None
    written = services.stderr.read()
    assert ended == 1 and "UI: http" not in written
    assert "the UI exited" in written
    assert not [pid for pid in children(tmp_path) if is_alive(pid)]


def test_the_process_that_listens_on_a_port_is_identified(port: int) -> None:
    assert not is_answered_by(port, os.getsid(0))
    with socket.create_server(("127.0.0.1", port)):
        assert is_answered_by(port, os.getsid(0))
        assert not is_answered_by(port, 1 if os.getsid(0) != 1 else 2)


@pytest.mark.parametrize("option", ["--port", "--dash-port"])
def test_a_port_in_use_is_reported_before_anything_starts(
    option: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path / "data"))
    other = {"--port": "--dash-port", "--dash-port": "--port"}[option]
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = free.getsockname()[1]

    with socket.create_server(("127.0.0.1", port)):
        found = CliRunner().invoke(main, ["up", option, str(port), other, str(unused)])

    assert found.exit_code == 2
    assert found.output.count("\n") == 1 and f"cannot listen on 127.0.0.1:{port}: " in found.output
    assert f"choose another {option}" in found.output
    assert not (tmp_path / "data").exists()


def test_two_services_have_two_ports(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path / "data"))

    found = CliRunner().invoke(main, ["up", "--port", str(port), "--dash-port", str(port)])

    assert found.exit_code == 2 and f"both {port}" in found.output
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "words", [["serve", "small", "--port", "0"], ["dash", "small", "--port", "0"], ["mcp", "--run", "small"]]
)
def test_servers_end_quietly_with_0(words: list[str], number: signal.Signals, finished_root: object) -> None:
    from splat_assets.store.layout import DataRoot

    assert isinstance(finished_root, DataRoot)
    process = subprocess.Popen(
        [sys.executable, "-m", "splat_assets.cli", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "SPLAT_DATA": str(finished_root.path)},
    )  # fmt: skip
    try:
        assert process.stdin and process.stdout and process.stderr
        if words[0] == "mcp":
            process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            process.stdin.flush()
            assert '"id":1' in process.stdout.readline()
        else:
            assert "http://127.0.0.1:" in process.stderr.readline()
        time.sleep(0.2)

        process.send_signal(number)

        assert process.wait(30) == 0
        assert "Aborted" not in (said := process.stderr.read()) and "Traceback" not in said
    finally:
        process.kill()
        process.communicate()
