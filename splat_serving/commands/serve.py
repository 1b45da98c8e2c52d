"""`splat serve`: the activation server on this machine."""

import logging
import socket
from pathlib import Path
from typing import Any

import click

from splat_assets.errors import InputError

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("target", required=False, metavar="[RUN|PATH]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--transposed-dir", type=_FILE, help="PATH's activations_transposed folder.")
@click.option("--neuron-acts-dir", type=_FILE, help="PATH's neuron_acts folder.")
@click.option("--vocab-path", type=_FILE, help="vocab.json, where PATH does not record its vocabulary.")
@click.option("--weapon-vocab-path", type=_FILE, help="weapon_vocab.json, where PATH records no weapons.")
@click.option(
    "--token-file", type=_FILE, help="File with a secret that every request must send (Authorization: Bearer)."
)
@click.option("--insecure", is_flag=True, default=None, help="Answer other machines without a token.")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, help="A name under which the server is asked; * for any."
)
@click.option("--workers", type=int, help="Threads that read and encode at the same time.  [default: cores]")
@click.option("--max-in-flight", type=int, help="Requests under way at once.  [default: 256]")
@click.option("--log-requests", is_flag=True, help="Write one JSON line for every request to standard error.")
def serve(target: str | None, host: str, port: int, log_requests: bool, **given: Any) -> None:
    """Serve activations over HTTP: a run by name, a store or a folder of guide formats by path, or all runs of the data root.

    A newly published version is served at once, without a restart. Listens on this machine only, unless --token-file (or
    --insecure, in so many words) is given. GET /docs lists every path. Stop it with Ctrl-C.
    """
    import uvicorn

    from splat_serving.protocol import TimedProtocol
    from splat_serving.server import app_of
    from splat_serving.settings import settings_from_environment

    settings = settings_from_environment(**{**given, "allowed_hosts": given["allowed_hosts"] or None})
    outside = host not in ("127.0.0.1", "localhost", "::1")
    if outside and settings.token_file is None and not settings.insecure:
        raise InputError(
            f"--host {host} lets other machines ask: give --token-file FILE with a secret, or --insecure to answer everyone"
        )
    if outside and host not in ("0.0.0.0", "::"):
        settings = settings.model_copy(update={"allowed_hosts": (*settings.allowed_hosts, host)})
    app = app_of(settings, target)
    _log_to_stderr(log_requests)
    TimedProtocol.head_seconds = settings.read_timeout_seconds
    listening = _listen(host, port)
    address = listening.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    click.echo(f"activation server: http://{shown}:{address[1]}   (/docs lists every path, Ctrl-C stops)", err=True)
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        server_header=False,
        h11_max_incomplete_event_size=2**16,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; InputError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(1024)
    except (OSError, OverflowError) as error:
        found.close()
        raise InputError(f"cannot listen on {host}:{port}: {error}; name another --port") from error
    return found


def _log_to_stderr(log_requests: bool) -> None:
    logging.getLogger("splat_serving").setLevel(logging.INFO)
    logging.getLogger("splat_assets.store.opening").setLevel(logging.INFO)
    logging.getLogger("splat_serving.access").setLevel(logging.INFO if log_requests else logging.WARNING)
