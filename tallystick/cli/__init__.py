"""The one command, `tally`. Subcommands live with the packages that do the work and are imported
only when asked for, so that `tally --help` is instant."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import click

from tallystick import __version__
from tallystick.common.console import print_error
from tallystick.common.errors import BadInputError, ExitCode, TallyError
from tallystick.common.groups import LazyGroup

# name → (module, attribute, one-line help shown without importing the module)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("tallystick.tools.demo.cli", "demo", "The main job, end to end, on an emulated card."),
    "emulate": ("tallystick.cli.emulate", "emulate", "Run a device's firmware on this computer."),
    "new": ("tallystick.tools.new", "new", "Begin a firmware of your own."),
    "debug": (
        "tallystick.tools.debugger.cli",
        "debug",
        "Debug a firmware, forwards and backwards.",
    ),
    "station": ("tallystick.provisioning.cli", "station", "Provision cards over a serial port."),
    "server": (
        "tallystick.server.operating.cli",
        "server",
        "Run and manage the verification server.",
    ),
    "verify": ("tallystick.client.cli", "verify", "Ask a server whether a code is right."),
    "image": ("tallystick.tools.image.cli", "image", "Build and inspect firmware images."),
    "battery": ("tallystick.tools.battery.cli", "battery", "How long a cell lasts."),
    "fingerprints": (
        "tallystick.tools.fingerprints.cli",
        "fingerprints",
        "How often the emulated fingerprint sensor errs.",
    ),
    "campaign": ("tallystick.tools.campaign.cli", "campaign", "Look for the one case that fails."),
    "flash": (
        "tallystick.tools.line.cli",
        "flash",
        "Write an image to a board, or a tray of them.",
    ),
    "selftest": ("tallystick.tools.selftest.cli", "selftest", "Have a board test its own parts."),
    "update": ("tallystick.tools.flash.cli_update", "update", "Update cards in the field."),
    "coverage": (
        "tallystick.tools.coverage.cli",
        "coverage",
        "What a suite executed of the firmware.",
    ),
    "second-opinion": (
        "tallystick.tools.second_opinion.cli",
        "second_opinion",
        "Run the image on another emulator.",
    ),
    "bench": ("tallystick.tools.bench.cli", "bench", "Measure, beside an aim and a peer."),
}


class _Tally(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            ctx.exit(ExitCode.INTERRUPTED)


@click.group(cls=_Tally, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tally")
def tally() -> None:
    """Make, test, provision and support hardware one-time-password devices."""


def _fail(error: TallyError, argv: list[str]) -> NoReturn:
    ours = argv[: argv.index("--")] if "--" in argv else argv  # the rest is another program's
    if "--json" in ours:
        click.echo(json.dumps(error.as_dict(), indent=2))
    print_error(error)
    sys.exit(error.exit_code)


def main(args: list[str] | None = None) -> Any:
    """Entry point of the `tally` script. Exit codes: see `tallystick.common.errors.ExitCode`."""
    argv = sys.argv[1:] if args is None else args
    try:
        tally.main(args=argv, prog_name="tally", standalone_mode=True)
    except TallyError as error:
        _fail(error, argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tallystick"):
            raise
        what = f"This needs {error.name}, which is not installed."
        _fail(BadInputError(what, todo="pip install 'tallystick[all]'"), argv)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        what = f"{error.filename} cannot be used: {error.strerror}."
        _fail(
            BadInputError(what, todo="Name another file or folder, or make this one usable."), argv
        )
