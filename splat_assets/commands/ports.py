"""Ports of this machine: bound for a server, or an InputError where another program uses them."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from splat_assets.errors import InputError

_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def listening_socket(host: str, port: int, remedy: str = "choose another --host or --port") -> socket.socket:
    """A listening socket; InputError, with the remedy, when the address is not available."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, UnicodeError) as error:
        listener.close()
        raise InputError(f"cannot listen on {host}:{port}: {error}; {remedy}") from error
    return listener


def refuse_taken(host: str, port: int, remedy: str) -> None:
    """InputError where a server could not listen there now."""
    listening_socket(host, port, remedy).close()


def is_answered_by(port: int, session: int) -> bool:
    """Whether a process of that session listens on 127.0.0.1:port; where a system does not say who does, whether anybody does."""
    if not Path("/proc/net/tcp").is_file():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    listening = set(_listening_inodes(port))
    return bool(listening) and any(inode in listening for inode in _sockets_of(session))


def _listening_inodes(port: int) -> Iterator[str]:
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _sockets_of(session: int) -> Iterator[str]:
    """The inodes of all sockets of the processes of a session."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if os.getsid(int(process.name)) == session:
                for entry in os.listdir(process / "fd"):
                    with suppress(OSError):  # closed meanwhile
                        link = os.readlink(process / "fd" / entry)
                        if link.startswith("socket:["):
                            yield link[8:-1]
