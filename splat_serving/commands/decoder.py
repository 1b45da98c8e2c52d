"""`splat decoder`: what the weights alone say of a feature; without a sub-command it is `influence`, as in the guide."""

import click

from splat_serving.commands.experiment import command_of

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
    """What the weights say of a feature: the outputs it moves (`influence`, also when no sub-command is named), and `similar`."""
