"""Numbers of options and arguments: what is written as one is one, and nothing else."""

from collections.abc import Iterator

import click
import pytest

from splat_assets.cli import main
from splat_assets.text import numerals
from splat_assets.text.numerals import number, whole

NO_NUMBERS = ["1_0", " 1", "1 ", "+1", "true", "", "nan", "inf", "\N{ARABIC-INDIC DIGIT ONE}"]


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            for words, leaf in commands(child, context):
                yield f"{name} {words}".strip(), leaf
    else:
        yield "", command


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_an_option_that_is_no_number_is_refused(text: str) -> None:
    for kind in (whole(), whole(0, 99), number(), number(0, 99)):
        with pytest.raises(click.BadParameter, match="is not a (whole )?number; write digits"):
            kind.convert(text, None, None)


def test_numbers_and_their_bounds() -> None:
    assert [whole().convert(text, None, None) for text in ("10", "-3", "0")] == [10, -3, 0]
    assert [number(0, 1).convert(text, None, None) for text in ("0.5", ".5", "1", "5e-1")] == [0.5, 0.5, 1.0, 0.5]
    for kind, text in ((whole(1), "0"), (whole(None, 9), "10"), (number(0, 1), "1.5")):
        with pytest.raises(click.BadParameter, match="is not in the range"):
            kind.convert(text, None, None)
    with pytest.raises(click.BadParameter, match="is not a whole number"):
        whole().convert("1.0", None, None)


def test_every_number_of_every_command_is_read_that_way() -> None:
    context = click.Context(main, info_name="splat")
    n_numbers = 0
    for words, command in commands(main, context):
        for parameter in command.params:
            kinds = parameter.type.types if isinstance(parameter.type, click.Tuple) else [parameter.type]
            kinds = [getattr(kind, "kind", kind) for kind in kinds]  # of lists with commas
            for kind in kinds:
                if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
                    n_numbers += 1
                    assert type(kind).__module__ == numerals.__name__, f"splat {words}: {parameter.name}"
    assert n_numbers > 100
