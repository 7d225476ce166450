"""`tally station`: provision cards over a serial port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, TallyError
from tallystick.provisioning.batch import Batch
from tallystick.provisioning.bench import Bench, open_bench
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.cli_batch import DOING, BatchView, summary_json
from tallystick.provisioning.cli_keys import enroll, keys, keys_option, passphrase_option
from tallystick.provisioning.journal import Journal, Record, State
from tallystick.provisioning.ports import PortSource, source_for
from tallystick.provisioning.settings import default_journal
from tallystick.provisioning.steps import Outcome, Plan

journal_option = click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    default=default_journal,
    envvar="TALLY_STATION_JOURNAL",
    show_envvar=True,
    help="The station's journal.",
)
port_option = click.option(
    "--port", required=True, metavar="DEV", help="Serial port, pty, or URL such as socket://…"
)
server_option = click.option(
    "--server", "url", metavar="URL", help="The server's address, if not as enrolled."
)


@click.group()
def station() -> None:
    """Provision cards over a serial port."""


station.add_command(keys)
station.add_command(enroll)


@station.command()
@click.option("--port", metavar="DEV", help="Serial port, pty, or URL such as socket://…")
@server_option
@click.option("--user", metavar="NAME", help="Assign the card to this user of the server.")
@click.option("--digits", type=click.IntRange(6, 8), default=6, show_default=True)
@click.option("--serial", metavar="SERIAL", help="Refuse any card but this one (as on its label).")
@click.option("--reseed", is_flag=True, help="Give a card in service a new seed; needs a press.")
@click.option("--min-version", default="0.1.0", show_default=True, help="Oldest firmware to take.")
@click.option("--batch", default="single", show_default=True, metavar="NAME")
@click.option("--ports", metavar="auto|LIST|PATTERN", help="Many cards, on many ports at once.")
@click.option("--count", type=click.IntRange(1), help="How many cards the batch shall have.")
@keys_option
@passphrase_option
@journal_option
@json_option
def provision(
    *,
    port: str | None,
    url: str | None,
    user: str | None,
    digits: int,
    serial: str | None,
    reseed: bool,
    min_version: str,
    batch: str,
    ports: str | None,
    count: int | None,
    keys: Path,
    passphrase_file: Path | None,
    journal: Path,
    as_json: bool,
) -> None:
    """Give cards their keys and seeds, check them, register them, put them in service.

    One card with --port; a batch with --batch, --count and --ports.
    """
    if (port is None) == (ports is None):
        raise click.UsageError("Give either --port, or --ports with --batch and --count.")
    plan = Plan(digits, user, batch, reseed, serial, _version(min_version))
    with open_bench(url, keys, passphrase_file, journal) as bench:
        if port is not None:
            _print_outcome(_one_card(bench, port, plan), as_json)
            return
        if count is None or user is not None or serial is not None:
            raise click.UsageError("A batch needs --count, and takes neither --user nor --serial.")
        _many_cards(bench, source_for(str(ports)), plan, count, as_json)


@station.command()
@port_option
@server_option
@keys_option
@passphrase_option
@journal_option
@json_option
def resume(
    *,
    port: str,
    url: str | None,
    keys: Path,
    passphrase_file: Path | None,
    journal: Path,
    as_json: bool,
) -> None:
    """Finish a card that stopped half-way, with the same seed."""
    records = _unfinished(journal)
    if not records:
        raise BadInputError(
            "The journal has no card that stopped half-way.", todo="Nothing is to be done."
        )
    if not as_json:
        for record in records:
            err().print(f"card {record.serial} stopped at '{record.state}'", markup=False)
    plan = Plan(only=frozenset(record.serial for record in records))
    with open_bench(url, keys, passphrase_file, journal) as bench:
        _print_outcome(_one_card(bench, port, plan), as_json)


@station.command()
@json_option
def ports(as_json: bool) -> None:
    """List the serial ports of this computer."""
    from serial.tools.list_ports import comports

    found = [{"port": port.device, "description": port.description} for port in comports()]
    if as_json:
        print_json(found)
        return
    for entry in found:
        out().print(f"{entry['port']}  {entry['description']}", markup=False)
    if not found:
        err().print("no serial port found; an emulated card prints its own (`tally emulate card`)")


def _one_card(bench: Bench, port: str, plan: Plan) -> Outcome:
    with _Progress() as progress:
        bench.registry.check()  # before anything is written to the card
        with CardConnection.open(port) as connection:
            waiting = Waiting(keepalive=progress.press)
            return bench.provisioner(plan).provision(connection, progress.step, waiting)


def _many_cards(bench: Bench, source: PortSource, plan: Plan, count: int, as_json: bool) -> None:
    bench.registry.check()
    finished = {State.LOCKED, State.LABELLED}
    already = sum(record.state in finished for record in bench.journal.batch(plan.batch))
    view = BatchView()
    summary = view.run(Batch(bench.provisioner(plan), source, count, view, already=already))
    if as_json:
        cards = [outcome_json(outcome) for outcome in summary.outcomes]
        print_json(summary_json(plan.batch, summary, cards))
    else:
        out().print(
            f"batch {plan.batch}: {len(summary.outcomes)} cards in service now, "
            f"{already} before, {summary.missing} missing, {len(summary.failures)} failures, "
            f"{summary.elapsed_s:.0f} s",
            markup=False,
        )
    if summary.missing:
        raise TallyError(
            f"Batch {plan.batch} is not complete: {summary.missing} cards are missing.",
            kept="The cards that are finished, and the journal of those that are not.",
            todo="Run the same command again; it goes on where it stopped.",
        )


def _unfinished(path: Path) -> list[Record]:
    journal = Journal(path)
    try:
        return journal.unfinished()
    finally:
        journal.close()


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

    def step(self, state: State, serial: str) -> None:
        self._serial = serial
        self._status.update(f"{serial or 'card'}: {DOING[state]}")

    def press(self) -> None:
        self._status.update(f"[bold]{self._serial or 'card'}: press the button now[/]")


def _version(text: str) -> tuple[int, int, int]:
    try:
        major, minor, patch = (int(part) for part in text.split("."))
    except ValueError:
        raise click.BadParameter(
            "must be three numbers, as 1.2.3", param_hint="--min-version"
        ) from None
    return major, minor, patch


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
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
    }
