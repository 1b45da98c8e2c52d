"""Child processes that run side by side until this one is stopped, and their output."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import BinaryIO

import click

from splat_assets.commands.ending import at_stop
from splat_assets.commands.ports import is_answered_by
from splat_assets.errors import SplatError

_PATIENCE_SECONDS = 60
_LAST_SECONDS = 5
_LOOK_SECONDS = 0.2


def run_services(services: Sequence[Sequence[str]], name: str, port: int) -> None:
    """Run commands side by side until this process is stopped; SplatError when the first of them exits earlier.

    name, port: of the first. Its URL is printed once it answers there itself: another program may have taken the port
    meanwhile.
    No child process is left when this returns or raises.
    """
    stopped, hurried = Event(), Event()
    running: list[_Service] = []
    with at_stop(lambda: (hurried if stopped.is_set() else stopped).set()):
        try:
            for command in services:
                running.append(_Service(command, stopped))
            answers = False
            while not stopped.is_set() and running[0].is_there():
                if not answers and is_answered_by(port, running[0].session):
                    answers = True
                    click.echo(f"{name}: http://127.0.0.1:{port}   (Ctrl-C stops)", err=True)
                time.sleep(_LOOK_SECONDS)
            if not stopped.is_set():
                raise SplatError(f"the {name} exited; see its output above")
        finally:
            stopped.set()
            for service in running:
                service.interrupt()
            for service in running:
                service.end(hurried)


class _Service:
    """A process in a session of its own: a signal of the terminal reaches it once, through this process.

    Its output is copied here until the stop.
    """

    def __init__(self, command: Sequence[str], stopped: Event) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.session = self._process.pid
        assert self._process.stdout is not None
        Thread(target=_pass_on, args=(self._process.stdout, stopped), daemon=True).start()

    def is_there(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Send SIGINT: the process stops its children, then itself."""
        if self.is_there():
            self._process.send_signal(signal.SIGINT)

    def end(self, hurried: Event) -> None:
        """Wait for it to exit; after the timeout, or once `hurried` is set, kill what is left of its session."""
        _wait_while(self.is_there, _PATIENCE_SECONDS, hurried)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.session, number)
            _wait_while(self._has_any, _LAST_SECONDS, hurried)
        self._process.wait()

    def _has_any(self) -> bool:
        """Whether a process of the session is left."""
        self._process.poll()
        try:
            os.killpg(self.session, 0)
        except ProcessLookupError:
            return False
        return True


def _wait_while(holds: Callable[[], bool], seconds: float, hurried: Event) -> None:
    until = time.monotonic() + seconds
    while holds() and time.monotonic() < until and not hurried.is_set():
        time.sleep(_LOOK_SECONDS)


def _pass_on(output: BinaryIO, stopped: Event) -> None:
    """Write what a process writes, line by line, until the stop; then read on, so that it is not held up."""
    for line in output:
        if not stopped.is_set():
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
