"""`splat dash`: the dashboard on this machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from splat_assets.commands.ending import at_stop
from splat_assets.commands.ports import listening_socket, refuse_taken
from splat_assets.errors import InputError
from splat_assets.numerals import whole
from splat_assets.store.documents import is_folder
from splat_assets.store.errors import LayoutError, NotPublishedError

if TYPE_CHECKING:
    from splat_serving.investigations.subject import Subject

_WAIT_SECONDS = 2.0
_OTHER_PORT = "name another --port"


def _opened(open_it: "Callable[[], Subject]", wait: bool) -> "Subject":
    """What is shown; if it may be waited for, once it is there."""
    told = False
    while True:
        try:
            return open_it()
        except (InputError, LayoutError, NotPublishedError) as error:
            if not wait:
                raise
            if not told:
                click.echo(f"the dashboard waits: {error}", err=True)
                told = True
            time.sleep(_WAIT_SECONDS)


def _checked_url(url: str | None) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise InputError(f"--dagster-url is {url[:100]!r}: it begins with http:// or https://")
    return url.rstrip("/") if url else None


def _examples_of_folder(examples_dir: Path | None, named: str | None) -> Path | None:
    """The folder of examples, where what is shown is a folder of the guide's formats; a store has its own examples."""
    from splat_serving.database.folder import Folder

    if examples_dir is None:
        return None
    if named is None or not is_folder(named):
        raise InputError("--examples-dir belongs to a folder of the guide's formats: name it with --data-dir")
    if Folder.is_published(Path(named)):
        click.echo(f"{named} is a store, which has its own examples: --examples-dir is not read", err=True)
        return None
    if not (examples_dir / "examples.parquet").is_file():
        click.echo(
            f"{examples_dir} has no examples.parquet: examples are drawn from the activations when a page needs them "
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
    help="The secret of a server that wants one.",
)
@click.option("--wait", is_flag=True, help="Wait until there is something to show, where nothing is published yet.")
@click.option("--dagster-url", default=None, help="Where the Dagster UI is: runs link to it, as with `splat up`.")
@click.option("--use-efficient", is_flag=True, help="As the guide has it; formats are told apart without it.")
@click.option("--data-dir", type=click.Path(readable=False, path_type=Path), default=None, help="As PATH.")
@click.option("--examples-dir", type=click.Path(readable=False, path_type=Path), default=None,
              help="What `splat examples` wrote; where it is missing, examples are drawn when a page needs them.")  # fmt: skip
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
    """Browse features in a browser: the list, each feature's page, and what it is made of.

    RUN is a run of the data root, PATH a store or a folder of guide formats, URL a running activation server
    (`http://127.0.0.1:8765`, with `/runs/NAME` for one of its runs), ALIAS what `splat alias` keeps; without it, the run that was
    published last. It listens on 127.0.0.1 only, and no page loads anything from elsewhere. Ctrl-C stops it.
    """
    if target is not None and data_dir is not None:
        raise InputError(
            f"{target} already says what is shown, and --data-dir names something else: leave one of them out"
        )
    named = target or (str(data_dir) if data_dir else None)
    examples = _examples_of_folder(examples_dir, named)
    with at_stop():
        _run(named, examples, port, token_file, wait, _checked_url(dagster_url))


def _run(
    named: str | None, examples: Path | None, port: int, token_file: Path | None, wait: bool, dagster_url: str | None
) -> None:
    """Show it until told to stop."""
    if wait:
        refuse_taken("127.0.0.1", port, _OTHER_PORT)
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
        taken = listening.getsockname()[1]
        click.echo(
            f"dashboard of {source.about.name or 'a store'}: http://127.0.0.1:{taken}   (Ctrl-C stops)", err=True
        )
        config = uvicorn.Config(app.server, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
