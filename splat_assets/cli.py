"""`splat`: one command for everything. Sub-commands are imported when they are called, so `splat --help` is quick."""

import errno
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from splat_assets.distribution import DISTRIBUTION, missing_extra
from splat_assets.errors import SplatError
from splat_assets.store.limits import process_limit

# Read by torch's thread pool when it loads. Idle threads sleep instead of spinning: on a machine that does other work too,
# spinning makes small models ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_ASSETS, _SERVING = "splat_assets.commands.", "splat_serving.commands."
# Name: where it lives, and the line that `splat --help` shows. Order is the order of the help page.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (_ASSETS + "demo:demo", "Make a demo from scratch: data, a model, an SAE, a verified store."),
    "up": (_ASSETS + "up:up", "Start the Dagster UI, its daemon and the dashboard on this machine."),
    "doctor": (_ASSETS + "doctor:doctor", "Check this installation and data root, and list problems with remedies."),
    "ingest": (_ASSETS + "ingest:ingest", "Turn battle exports into tokenised builds."),
    "train-base": (_ASSETS + "train_base:train_base", "Train a SplatGPT base model on tokenised builds."),
    "run": (_ASSETS + "run:run", "Make, list and show runs."),
    "runs": (_ASSETS + "run:runs", "List runs, pending inputs and recent activity."),
    "materialize": (_ASSETS + "materialize:materialize", "Make the artifacts of a run, with their checks."),
    "sweep": (_ASSETS + "sweep:sweep", "Train and compare SAEs of several widths, k and seeds."),
    "verify": (_ASSETS + "verify:verify", "Check every artifact of a run against its bytes."),
    "train-sae": (_ASSETS + "train_sae:train_sae", "Guide step 1: train an SAE on a base model's activations."),
    "generate-activations": (
        _ASSETS + "generate:generate_activations",
        "Guide step 2: run base model and SAE over a dataset.",
    ),
    "convert": (_ASSETS + "formats:convert", "Guide step 3: raw activations to batch Zarr and Parquet."),
    "transpose": (_ASSETS + "formats:transpose", "Guide step 4A: one Zarr array, [features, samples]."),
    "sparse-extract": (_ASSETS + "formats:sparse_extract", "Guide step 4B: acts.npy and idxs.npy per feature."),
    "histograms": (_ASSETS + "precompute:histograms", "Guide step 5a: histograms and statistics per feature."),
    "idf": (_ASSETS + "precompute:idf", "Guide step 5b: how rare each token is."),
    "influences": (_ASSETS + "precompute:influences", "Guide step 5c: what each feature does to each output."),
    "examples": (
        _ASSETS + "precompute:examples",
        "Choose example builds of every feature, for the guide's --examples-dir.",
    ),
    "alias": (_SERVING + "alias:alias", "Give a run, a folder or a server a short name."),
    "serve": (_SERVING + "serve:serve", "Serve activations over HTTP: any feature in milliseconds."),
    "investigate": (_SERVING + "investigate:investigate", "Investigate a feature in all steps, as one report."),
    "export": (_SERVING + "investigate:export", "Export a feature, or two side by side, as one file."),
    "overview": (_SERVING + "questions:overview", "Show one page on a feature."),
    "compare": (_SERVING + "questions:compare", "Compare two features side by side."),
    "find": (_SERVING + "questions:find", "Find builds that match a rule, and features associated with it."),
    "contrast": (_SERVING + "questions:contrast", "Rank features by how well they separate two sets of builds."),
    "trace": (_SERVING + "questions:trace", "Show the active features of a build and their effect on the predictions."),
    "decoder": (_SERVING + "experiment:decoder", "Analyse a feature from the weights alone."),
    "label": (_SERVING + "label:label", "Label features: set, review, import, export."),
    "research": (_SERVING + "research:research", "Record hypotheses, evidence and decisions on a feature."),
    "experiment": (_SERVING + "experiment:experiment_", "Run one experiment on a feature, with intervals."),
    "dash": ("splat_dash.commands.dash:dash", "Serve the dashboard: browse features in a browser."),
    "mcp": (_SERVING + "mcp:mcp_", "Serve tools to AI assistants, over standard input and output."),
    "skills": (_SERVING + "skills:skills", "Install the instructions for AI assistants in a project."),
    "import": (_ASSETS + "import_:import_", "Make a store, or a run, of a folder of the guide's formats."),
}


_REFUSED_BY_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Fault(click.ClickException):
    """An error with a one-sentence message."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group that imports a sub-command only when it is called.

    A SplatError, and an extra that is not installed, become one sentence and exit code 2.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every sub-command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the sub-command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command; invalid input, unreadable files and full disks end with a one-sentence message."""
        words = _command_words(ctx)  # click forgets them while the command runs
        try:
            if not _needs_data(ctx):
                return super().invoke(ctx)
            with _shared_data():
                return super().invoke(ctx)
        except ModuleNotFoundError as error:
            sentence = missing_extra(words[0], error.name) if words else None
            if sentence is None:
                raise
            raise Fault(sentence) from error
        except (SplatError, OSError, MemoryError, RuntimeError) as error:
            from splat_assets.store.documents import explained

            limit = process_limit(error)
            if limit is not None and limit not in str(error):  # whatever it was taken for on its way
                raise Fault(limit) from error
            if isinstance(error, SplatError):
                raise Fault(str(error)) from error
            sentence = explained(error) if isinstance(error, OSError) else None
            if isinstance(error, OSError) and error.errno in _REFUSED_BY_THE_DISK:
                where = f" at {error.filename}" if error.filename else ""
                sentence = f"{error.strerror}{where}; existing files are untouched"
            if sentence is None:
                raise
            raise Fault(sentence) from error


def _command_words(ctx: click.Context) -> list[str]:
    """The name of the sub-command and what follows it."""
    return [*getattr(ctx, "_protected_args", ()), *ctx.args]  # click keeps the name of the command apart


def _needs_data(ctx: click.Context) -> bool:
    """Whether a command is to be run whose data may lie in a bucket, and not only explained."""
    words = _command_words(ctx)
    return (
        os.environ.get("SPLAT_DATA", "").startswith("s3://")
        and words[:1] != ["doctor"]
        and not {"--help", "-h"} & {*words}
    )


@contextmanager
def _shared_data() -> Iterator[None]:
    """Bring what a data root in a bucket has, and send what the command makes of it."""
    from splat_assets.store.layout import DataRoot
    from splat_assets.store.sharing import synced_root

    root = DataRoot.from_environment()
    os.environ["SPLAT_DATA"] = str(root.path)  # processes that are started find the same working copy
    with synced_root(root):
        yield


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
@click.option("-v", "--verbose", is_flag=True, help="Say more about what is done.")
def main(verbose: bool) -> None:
    """Train a sparse autoencoder on SplatGPT, store what every feature does on every build, and explore it.

    Data lives under the folder that SPLAT_DATA names (./data if unset), or in the bucket that it names, s3://BUCKET/PREFIX.
    Start with `splat demo`.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


if __name__ == "__main__":
    main()
