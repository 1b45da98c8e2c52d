"""`splat experiment`: one sub-command for each experiment, generated from its spec, and `run` for a file; `splat decoder`."""

from pathlib import Path
from typing import Any

import click

from splat_serving.commands.asking import (
    command_line,
    emit,
    given_settings,
    output_options,
    reporting_write_errors,
    source_options,
    spec_options,
)
from splat_serving.investigations.experiment import experiment, experiment_names, run, spec_of
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.spec import read_spec_file, write_spec_file


class _Experiments(click.Group):
    """A group whose sub-commands are the experiments."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """`run` first, then every experiment."""
        return ["run", *experiment_names()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of an experiment."""
        if cmd_name == "run":
            return run_file
        return command_of(cmd_name) if cmd_name in experiment_names() else None


@click.group("experiment", cls=_Experiments)
def experiment_() -> None:
    """Run one experiment on a feature, or on the model: tables with n and intervals.

    Observed evidence counts over all samples of the store; causal evidence edits builds and runs the model. Every table is
    marked with its kind. The same settings and seed on the same version give the same numbers.
    """


def command_of(name: str) -> click.Command:
    """The command of an experiment."""
    kind = experiment(name)

    @spec_options(kind.spec, kind.other_names)
    @source_options
    @output_options
    @click.option(
        "--save-spec",
        type=click.Path(readable=False, path_type=Path, dir_okay=False),
        help="Save the settings to FILE (.json, .toml).",
    )
    @click.option("--dry-run", is_flag=True, help="Validate the settings without running.")
    def ask(
        run: str | None,
        token_file: Path | None,
        form: str,
        output_dir: Path | None,
        plot: Path | None,
        save_spec: Path | None,
        dry_run: bool,
        **options: Any,
    ) -> None:
        _run_question(
            {"experiment": name, **given_settings(options)}, run, token_file, form, output_dir, plot, save_spec, dry_run
        )

    return click.command(name, help=kind.spec.__doc__, short_help=kind.summary)(ask)


@click.command("run", short_help="Run an experiment from a file (.json or .toml; also a saved result).")
@click.argument("spec", type=click.Path(readable=False, path_type=Path, dir_okay=False))
@source_options
@output_options
@click.option("--dry-run", is_flag=True, help="Validate the settings without running.")
def run_file(
    spec: Path,
    run: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
    dry_run: bool,
) -> None:
    """Run the experiment in SPEC: a JSON or TOML file with `experiment` and its settings, or a saved result."""
    _run_question(read_spec_file(spec), run, token_file, form, output_dir, plot, None, dry_run, f"{spec}: ")


def _run_question(
    raw: dict[str, Any],
    source: str | None,
    token_file: Path | None,
    form: str,
    output_dir: Path | None,
    plot: Path | None,
    save_spec: Path | None,
    dry_run: bool,
    named: str = "",
) -> None:
    spec = spec_of(raw, named)
    if save_spec is not None:
        with reporting_write_errors(save_spec):
            write_spec_file(spec.model_dump(mode="json"), save_spec)
        click.echo(f"written: {save_spec}", err=True)
    if dry_run:
        click.echo("the settings are valid; nothing was run")
        return
    with open_subject(source, token_file) as subject:
        emit(run(subject, spec, command_line()), form, output_dir, plot)


_SUBCOMMANDS = {"influence": "decoder-influence", "similar": "decoder-similar"}


class _Decoder(click.Group):
    """`splat decoder 45` is `splat decoder influence 45`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Both questions."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The experiment of that name."""
        return command_of(_SUBCOMMANDS[cmd_name]) if cmd_name in _SUBCOMMANDS else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `influence` first where no sub-command is named."""
        if args and args[0] not in _SUBCOMMANDS and args[0] not in ctx.help_option_names:
            args = ["influence", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Decoder)
def decoder() -> None:
    """Analyse a feature from the weights: outputs it raises or lowers (`influence`, the default), `similar` features."""
