"""Groups of commands whose help is never cut off."""

from __future__ import annotations

import click

_WHOLE = 1000  # characters: no first sentence is as long


class Group(click.Group):
    """Lists the whole first sentence of each command, over as many lines as it takes; click's own
    list ends it with dots where the line ends."""

    group_class = type  # groups made with `.group()` are of this class as well

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_WHOLE))
                    for name, command in commands
                    if command is not None and not command.hidden
                ]
            )
