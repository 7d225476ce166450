"""`tally campaign`: enumerations that look for the one case that fails."""

from __future__ import annotations

import importlib
import importlib.util

import click

_HERE = "tallystick.tools.campaign"
# name → (module, attribute, one-line help shown without importing the module)
COMMANDS = {
    "powercut": (
        "commands.powercut",
        "powercut",
        "Cut the power of card and reader, in every way.",
    ),
    "replay": ("commands.replay", "replay", "Go to the instant that a campaign's line names."),
    "zoo": ("commands.zoo", "zoo", "Broken firmwares: is each of them caught?"),
    "wear": ("commands.wear", "wear", "Presses until the first sector of flash wears out."),
    "update": ("update.cuts", "update", "Cut the power during an update in the field."),
    "station": (
        "station.crashes",
        "station",
        "Kill station, card and server at their work.",
    ),
    "server": ("server.same_code", "server", "The same code many times at once."),
}


class _Lazy(click.Group):
    """Commands are imported on first use, and listed when their module is there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            name
            for name, (module, _, _) in COMMANDS.items()
            if importlib.util.find_spec(f"{_HERE}.{module}")
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"{_HERE}.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def campaign() -> None:
    """Look for the one case that fails."""
