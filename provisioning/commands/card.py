"""One card on the command line: progress, and what is printed at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tallystick.common.console import err, out, print_json
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.ready import ReadyStation
from tallystick.provisioning.steps import DOING, Outcome, Plan


def one_card(ready: ReadyStation, port: str, plan: Plan, *, confirm: bool = False) -> Outcome:
    """confirm: have a person check button and display."""
    with _Progress() as progress:
        if confirm:
            plan = replace(plan, confirm=progress.ask)
        ready.registry.check()  # before anything is written to the card
        ready.registry.check_user(plan.user, new_user=plan.new_user)
        with CardConnection.open(port) as connection:
            waiting = Waiting(keepalive=progress.press)
            return ready.provisioner(plan).provision(connection, progress.step, waiting)


class _Progress:
    """One line on standard error that says what is done to the card."""

    def __init__(self) -> None:
        self._status = err().status("looking for a card")
        self._serial = ""

    def __enter__(self) -> _Progress:
        self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._status.stop()

    def step(self, state: CardState, serial: str) -> None:
        self._serial = serial
        self._status.update(f"{serial or 'card'}: {DOING[state]}")

    def ask(self, serial: str) -> str:
        self._status.stop()
        question = f"Press the button of {serial} and type the code on its display"
        answer: str = click.prompt(question, err=True)
        self._status.start()
        return answer.replace(" ", "")

    def press(self) -> None:
        self._status.update(f"[bold]{self._serial or 'card'}: press the button now[/]")


def print_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(outcome_json(outcome))
        return
    user = f", assigned to {outcome.server.user}" if outcome.server.user else ""
    out().print(
        f"[green]✓[/] card [bold]{outcome.serial}[/] is in service"
        f"{' (resumed)' if outcome.resumed else ''}: {outcome.digits} digits, "
        f"key version {outcome.key_version:02X}, {outcome.server.status}{user}"
    )
    out().print(
        f"  [dim]{outcome.apdus} APDUs, {outcome.wire_bytes} bytes on the wire, "
        f"{outcome.elapsed_ms:.0f} ms[/]"
    )


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The object that `--json` prints for a finished card."""
    return {
        "serial": outcome.serial,
        "firmware": str(outcome.firmware),
        "board": outcome.firmware.board,
        "key_version": f"{outcome.key_version:02X}",
        "check_values": outcome.check_values,
        "digits": outcome.digits,
        "moving_factor": outcome.server.moving_factor,
        "server": {"status": outcome.server.status, "user": outcome.server.user},
        "resumed": outcome.resumed,
        "wire_bytes": outcome.wire_bytes,
        "apdus": outcome.apdus,
        "elapsed_ms": outcome.elapsed_ms,
        "certificate": outcome.certificate,
    }
