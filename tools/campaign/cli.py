"""`tally campaign`: enumerations that look for the one case that fails."""

from __future__ import annotations

import click

from tallystick.common.groups import LazyGroup
from tallystick.common.process import told_to_end

_HERE = "tallystick.tools.campaign"
# name → (module, attribute, one-line help shown without importing the module)
COMMANDS = {
    "powercut": (
        f"{_HERE}.commands.powercut",
        "powercut",
        "Cut the power of card and reader, in every way.",
    ),
    "audit": (
        f"{_HERE}.commands.audit",
        "audit",
        "Count again what a campaign has covered.",
    ),
    "proof": (
        f"{_HERE}.commands.proof",
        "proof",
        "Every state of the card's journal, on a small flash.",
    ),
    "stores": (f"{_HERE}.commands.stores", "stores", "The same faults under littlefs."),
    "replay": (
        f"{_HERE}.commands.replay",
        "replay",
        "Go to the instant that a campaign's line names.",
    ),
    "zoo": (f"{_HERE}.commands.zoo", "zoo", "Broken firmwares: is each of them caught?"),
    "ctap": (
        f"{_HERE}.commands.ctap",
        "ctap",
        "Every command of the reader, in every order.",
    ),
    "rollback": (
        f"{_HERE}.commands.rollback",
        "rollback",
        "Old copies of the reader's flash and sensor, written back.",
    ),
    "mutants": (
        f"{_HERE}.mutants.command",
        "mutants",
        "Every small mistake in firmware and guards: noticed?",
    ),
    "refusals": (
        f"{_HERE}.mutants.refusals",
        "refusals_command",
        "Refusals of the guards that no test executes.",
    ),
    "wear": (
        f"{_HERE}.commands.wear",
        "wear",
        "Presses until the first sector of flash wears out.",
    ),
    "update": (f"{_HERE}.update.cuts", "update", "Cut the power during an update in the field."),
    "station": (
        f"{_HERE}.station.crashes",
        "station",
        "Kill station, card and server at their work.",
    ),
    "wire": (
        f"{_HERE}.wire.command",
        "wire",
        "A relay on the serial line between station and card.",
    ),
    "accounts": (f"{_HERE}.server.accounts", "accounts", "Take accounts from outside."),
    "firm": (
        f"{_HERE}.firm.command",
        "firm",
        "A firm's weeks: everything at once, from one seed.",
    ),
    "tickets": (
        f"{_HERE}.server.tickets",
        "tickets_command",
        "Stolen and copied stations with one ticket.",
    ),
    "server": (f"{_HERE}.server.same_code", "server", "The same code many times at once."),
    "ha": (f"{_HERE}.server.ha", "ha", "Lose the leader of three databases in every way."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    path="campaign",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def campaign(ctx: click.Context) -> None:
    """Look for the one case that fails."""
    ctx.with_resource(told_to_end())  # as by Ctrl-C: folders go, what was started ends
