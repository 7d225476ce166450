"""Groups of commands: help that is never cut off, and commands imported when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import click

from tallystick.common import examples

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


class LateGroup(Group):
    """Has commands that are imported when they are asked for, beside those of its own: whoever runs
    one carries no other.

    late: name → (module, attribute). path: the group's own, without `tally`."""

    group_class = Group  # type: ignore[assignment]  # of groups made with `.group()`

    def __init__(
        self, *args: Any, late: dict[str, tuple[str, str]], path: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._late = late
        self._path = path

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._late:
            return super().get_command(ctx, cmd_name)
        module, attribute = self._late[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        examples.show(command, f"{self._path} {cmd_name}")
        return command


class LazyGroup(click.Group):
    """Its commands are imported on first use, so that its own help is instant, and listed when
    their module is there.

    table: name → (module, attribute, one-line help). path: the group's own, without `tally`."""

    def __init__(
        self, *args: Any, table: dict[str, tuple[str, str, str]], path: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._table = table
        self._path = path

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            name for name, (module, _, _) in self._table.items() if importlib.util.find_spec(module)
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        examples.show(command, f"{self._path} {cmd_name}".strip())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name][2]) for name in self.list_commands(ctx)])
