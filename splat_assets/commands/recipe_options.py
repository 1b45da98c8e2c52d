"""The options of an SAE recipe, made from the recipe's own fields."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import click

from splat_assets.errors import InputError
from splat_assets.numerals import number, whole
from splat_assets.sae.recipe import FLAGS, TRAINED_ARCHITECTURES, SaeRecipe
from splat_assets.wording import counted

Command = TypeVar("Command", bound=Callable[..., Any])


_ONLY_FOR = {"k": "batch_topk", "l1_coeff": "relu_l1"}
_FEW_STEPS = 500


def sae_options(command: Command) -> Command:
    """Add an option for every field of SaeRecipe; values arrive as `sae_<field>`, None if left out."""
    for field in reversed(dataclasses.fields(SaeRecipe)):
        option = click.option(
            FLAGS[field.name],
            f"sae_{field.name}",
            type=_type_of(field),
            help=f"{field.metadata['help']}  [default: {field.default}]",
        )
        command = option(command)
    return command


def take_recipe(options: dict[str, Any], defaults: SaeRecipe | None = None) -> SaeRecipe:
    """Remove the `sae_*` values from options and make a recipe of them.

    `--l1-coeff` alone means the guide's relu_l1, `--k` alone batch_topk; InputError when they contradict the architecture.
    """
    names = [field.name for field in dataclasses.fields(SaeRecipe)]
    values = {name: options.pop(f"sae_{name}") for name in names}
    values = {name: value for name, value in values.items() if value is not None}
    implied = {_ONLY_FOR[name] for name in values if name in _ONLY_FOR}
    architecture = values.get("architecture")
    if len(implied | ({architecture} if architecture else set())) > 1:
        flags = " and ".join(f"{FLAGS[name]} (for {_ONLY_FOR[name]})" for name in values if name in _ONLY_FOR)
        chosen = f" with --architecture {architecture}" if architecture else ""
        raise InputError(f"{flags} cannot be combined{chosen}: choose one architecture")
    if implied and not architecture:
        values["architecture"] = implied.pop()
    return dataclasses.replace(defaults or SaeRecipe(), **values)


def warn_of_few_steps(recipe: SaeRecipe, n_train_rows: int) -> None:
    """Warn on standard error when the SAE would be trained for too few steps."""
    n_steps = recipe.n_steps(n_train_rows)
    if n_steps < _FEW_STEPS:
        click.echo(
            f"warning: the SAE will be trained for {counted(n_steps, 'steps')} only "
            f"({counted(n_train_rows, 'rows')} in batches of "
            f"{recipe.batch_size:,}, {counted(recipe.epochs, 'epochs')}); {_FEW_STEPS:,} or more are usual: raise "
            f"--epochs, or lower --sae-batch-size",
            err=True,
        )


def _type_of(field: "dataclasses.Field[Any]") -> "click.ParamType[Any]":
    if field.name == "architecture":
        return click.Choice(TRAINED_ARCHITECTURES)
    return whole() if "int" in str(field.type) else number()
