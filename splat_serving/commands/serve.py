"""`splat serve`: the activation server on this machine."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from splat_assets.commands.ending import at_stop
from splat_assets.commands.ports import listening_socket
from splat_assets.errors import InputError
from splat_assets.store.documents import is_folder
from splat_assets.text.numerals import number_type, whole
from splat_serving.http.settings import ServerSettings, option, settings_from_environment, variable

_EXAMPLES = """
  splat serve                                    all runs; default: the one published last
  splat serve my-run --port 9000                 one run of the data root
  splat serve /mnt/e/activations_efficient --transposed-dir /mnt/e/activations_transposed
  curl http://127.0.0.1:8765/activations/7?limit=3

Access from other machines needs a token:

  (umask 077; openssl rand -hex 32 > token)
  splat serve --host 0.0.0.0 --allowed-host $(hostname) --token-file token
  curl -H "Authorization: Bearer $(cat token)" http://$(hostname):8765/version

Every option from "Data" on is also an environment variable, named in brackets; an option takes precedence. The variables
also work with uvicorn:

  ACTIVATION_DATA_DIR=... uvicorn splat_serving.server:app --port 8765 --http splat_serving.protocol:TimedProtocol
"""
_HELP = "Help"
_FOLDER_OR_FILE = click.Path(readable=False, path_type=Path)


class _Grouped(click.Command):
    """A command whose help shows its options by group, and its examples verbatim."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                groups.setdefault(_group_of(parameter.name or ""), []).append(record)
        groups[_HELP] = groups.pop(_HELP)  # last
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        formatter.write(f"\nExamples:\n{_EXAMPLES}")


def _group_of(name: str) -> str:
    field = ServerSettings.model_fields.get(name)
    extra = field.json_schema_extra if field is not None else None
    if isinstance(extra, dict):
        return str(extra["group"])
    return "Network" if name in ("host", "port") else _HELP


def _options_of_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Every setting as an option, with the help of its declaration."""
    for name, field in reversed(ServerSettings.model_fields.items()):
        command = _option_of(name, field)(command)
    return command


def _option_of(name: str, field: FieldInfo) -> Callable[[Callable[..., None]], Callable[..., None]]:
    facts = variable(name) if field.default in (None, False, ()) else f"{variable(name)}; default {field.default:,}"
    parameters: dict[str, Any] = {"help": f"{field.description}  [{facts}]", "default": None}
    if field.annotation is bool:
        return click.option(option(name), name, is_flag=True, **parameters)
    if field.annotation == tuple[str, ...]:
        return click.option(option(name), name, multiple=True, metavar="NAME", **parameters)
    return click.option(option(name), name, type=number_type(field.annotation) or _FOLDER_OR_FILE, **parameters)


@click.command(cls=_Grouped)
@click.argument("target", required=False, metavar="[RUN|PATH|ALIAS]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=whole(0, 65535), help="Port; 0 takes a free one.")
@_options_of_settings
def serve(target: str | None, host: str, port: int, **options: Any) -> None:
    """Serve activations over HTTP: a run by name, a store or a folder of guide formats by path, or all runs of the data root.

    A newly published version is served at once, without a restart. Listens on this machine only, unless --token-file or
    --insecure is set. GET /docs lists every path. Ctrl-C (or SIGTERM) stops it after finishing responses in progress.
    """
    _refuse_two_targets(target, options)
    settings = settings_from_environment(**{**options, "allowed_hosts": options["allowed_hosts"] or None})
    outside = not _is_this_machine(host)
    if outside and settings.token_file is None and not settings.insecure:
        raise InputError(
            f"--host {host} allows other machines: add --token-file FILE with a token, or --insecure to answer everyone"
        )
    if outside and not _is_any(host):
        settings = settings.model_copy(update={"allowed_hosts": (*settings.allowed_hosts, host)})
    with at_stop():
        _run(settings, target, host, port)


def _refuse_two_targets(target: str | None, options: dict[str, Any]) -> None:
    """InputError for options that only fit a folder of guide formats, so that none is ignored."""
    if target is None:
        return
    beside = (
        ()
        if is_folder(target)
        else ("transposed_dir", "neuron_acts_dir", "examples_dir", "vocab_path", "weapon_vocab_path")
    )
    for name in ("data_dir", *beside):
        if options[name] is not None:
            raise InputError(f"both {target} and {option(name)} name the data: leave one of them out")


def _run(settings: ServerSettings, target: str | None, host: str, port: int) -> None:
    """Serve until stopped."""
    import uvicorn

    from splat_serving.http.connection import protocol_of
    from splat_serving.server import app_of, log_to_stderr

    log_to_stderr(settings)
    app = app_of(settings, target)
    listening = listening_socket(host, port)
    address = listening.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    click.echo(f"activation server: http://{shown}:{address[1]}   (/docs lists every path, Ctrl-C stops)", err=True)
    config = uvicorn.Config(
        app,
        http=protocol_of(settings),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the client is the peer of the connection
        lifespan="on",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])  # stops in order at a signal, and raises it again when done


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
