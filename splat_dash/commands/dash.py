"""`splat dash`: the dashboard on this machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from splat_assets.commands.ending import at_stop
from splat_assets.commands.ports import listening_socket, refuse_taken
from splat_assets.errors import InputError
from splat_assets.store.documents import is_folder
from splat_assets.store.errors import LayoutError, NotPublishedError
from splat_assets.text.numerals import whole

if TYPE_CHECKING:
    from splat_serving.investigations.subject import Subject

_WAIT_SECONDS = 2.0
_OTHER_PORT = "choose another --port"


def _opened(open_it: "Callable[[], Subject]", wait: bool) -> "Subject":
    """The subject; with wait, retry until it exists."""
    announced = False
    while True:
        try:
            return open_it()
        except (InputError, LayoutError, NotPublishedError) as error:
            if not wait:
                raise
            if not announced:
                click.echo(f"waiting: {error}", err=True)
                announced = True
            time.sleep(_WAIT_SECONDS)


def _examples_of_folder(examples_dir: Path | None, named: str | None) -> Path | None:
    """The folder of examples for a folder in the guide's formats; a store has its own examples."""
    from splat_serving.database.folder import Folder

    if examples_dir is None:
        return None
    if named is None or not is_folder(named):
        raise InputError("--examples-dir needs a folder in the guide's formats: pass it with --data-dir")
    if Folder.is_published(Path(named)):
        click.echo(f"--examples-dir is ignored: {named} is a store, which has its own examples", err=True)
        return None
    if not (examples_dir / "examples.parquet").is_file():
        click.echo(
            f"{examples_dir} has no examples.parquet: examples are computed from the activations on demand "
            f"(`splat examples --data-dir {named} --output-dir {examples_dir}` writes it)",
            err=True,
        )
    return examples_dir


@click.command()
@click.argument("target", required=False, metavar="[RUN|PATH|URL|ALIAS]")
@click.option("--port", default=8050, show_default=True, type=whole(0, 65535),
              help="Port on 127.0.0.1; 0 takes a free one.")  # fmt: skip
@click.option(
    "--token-file",
    type=click.Path(readable=False, path_type=Path),
    default=None,
    help="File with the token of a server that requires one.",
)
@click.option("--wait", is_flag=True, help="Wait until a version is published.")
@click.option("--dagster-url", default=None, help="Address of the Dagster UI; runs link to it. `splat up` sets it.")
@click.option(
    "--use-efficient",
    is_flag=True,
    help="Accepted for compatibility with the guide; formats are detected automatically.",
)
@click.option("--data-dir", type=click.Path(readable=False, path_type=Path), default=None, help="Same as PATH.")
@click.option("--examples-dir", type=click.Path(readable=False, path_type=Path), default=None,
              help="Output folder of `splat examples`; if missing, examples are computed on demand.")  # fmt: skip
def dash(
    target: str | None,
    port: int,
    token_file: Path | None,
    wait: bool,
    dagster_url: str | None,
    use_efficient: bool,
    data_dir: Path | None,
    examples_dir: Path | None,
) -> None:
    """Explore features in a browser: list, map, and a page for each feature.

    RUN is a run of the data root, PATH a store or a folder of guide formats, URL a running activation server
    (`http://127.0.0.1:8765`, with `/runs/NAME` for one of its runs), ALIAS a name saved with `splat alias`; default: the run
    published last. Listens on 127.0.0.1 only; pages load nothing from other hosts. Ctrl-C stops it.
    """
    if target is not None and data_dir is not None:
        raise InputError(f"both {target} and --data-dir name the data: leave one of them out")
    named = target or (str(data_dir) if data_dir else None)
    examples = _examples_of_folder(examples_dir, named)
    if dagster_url is not None and not dagster_url.startswith(("http://", "https://")):
        raise InputError(f"--dagster-url {dagster_url[:100]!r} is not a URL: it must begin with http:// or https://")
    with at_stop():
        if wait:
            refuse_taken("127.0.0.1", port, _OTHER_PORT)
        _run(named, examples, port, token_file, wait, dagster_url.rstrip("/") if dagster_url else None)


def _run(
    named: str | None, examples: Path | None, port: int, token_file: Path | None, wait: bool, dagster_url: str | None
) -> None:
    """Serve it until it is stopped."""
    import uvicorn

    from splat_dash.app import create_app
    from splat_dash.source import Source
    from splat_serving.investigations.opening import open_folder, open_subject

    def opened() -> "Subject":
        if examples is None or named is None:
            return open_subject(named, token_file)
        return open_folder(Path(named), {"examples_dir": examples})

    with _opened(opened, wait) as subject:
        source = Source(subject, dagster_url)
        app = create_app(source)
        listening = listening_socket("127.0.0.1", port, _OTHER_PORT)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        click.echo(f"dashboard of {source.about.name or 'a store'}: {address}   (Ctrl-C stops)", err=True)
        config = uvicorn.Config(app.server, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
