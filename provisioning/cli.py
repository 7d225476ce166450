"""`tally station`: provision cards over a serial port."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.groups import Group
from tallystick.provisioning.batch import Batch
from tallystick.provisioning.card.pcsc import SCHEME, readers
from tallystick.provisioning.commands import ceremony as _ceremony  # noqa: F401 (its commands)
from tallystick.provisioning.commands import trial as _trial  # noqa: F401
from tallystick.provisioning.commands.audit import audit
from tallystick.provisioning.commands.batch import BatchView, failure, summary_json
from tallystick.provisioning.commands.box import box, stock
from tallystick.provisioning.commands.card import one_card, outcome_json, print_outcome
from tallystick.provisioning.commands.console import console
from tallystick.provisioning.commands.desk import desk
from tallystick.provisioning.commands.foreign import foreign
from tallystick.provisioning.commands.job import job
from tallystick.provisioning.commands.keys import enroll, keys
from tallystick.provisioning.commands.labels import labels
from tallystick.provisioning.commands.leaflet import leaflet
from tallystick.provisioning.commands.letters import letters
from tallystick.provisioning.commands.listed import listed_logins
from tallystick.provisioning.commands.options import (
    FILE,
    BenchOptions,
    bench_options,
    digits_option,
    must_name_a_user,
    new_user_option,
    user_option,
)
from tallystick.provisioning.commands.reader import reader
from tallystick.provisioning.commands.recovery import reconcile, resume
from tallystick.provisioning.commands.report import report, statistics
from tallystick.provisioning.commands.rotation import rekey
from tallystick.provisioning.commands.security_keys import security_keys
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.people import CardsForPeople, check_people
from tallystick.provisioning.ports import PortSource, source_for
from tallystick.provisioning.ready import ReadyStation
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.steps import Plan


@click.group(cls=Group)
def station() -> None:
    """Provision cards over a serial port."""


station.add_command(keys)
station.add_command(enroll)
station.add_command(resume)
station.add_command(reconcile)
station.add_command(audit)
station.add_command(desk)
station.add_command(console)
station.add_command(foreign)
station.add_command(security_keys)
station.add_command(reader)
station.add_command(job)
station.add_command(rekey)
station.add_command(box)
station.add_command(stock)
station.add_command(labels)
station.add_command(letters)
station.add_command(statistics)
station.add_command(leaflet)
station.add_command(report)


@station.command()
@click.option("--port", metavar="DEV", help="Serial port, pty, or URL such as socket://…")
@user_option
@new_user_option
@digits_option
@click.option("--serial", metavar="SERIAL", help="Refuse any card but this one (as on its label).")
@click.option("--reseed", is_flag=True, help="Give a card in service a new seed; asks for presses.")
@click.option("--confirm", is_flag=True, help="Have a person check button and display.")
@click.option("--min-version", default="0.1.0", show_default=True, help="Oldest firmware to take.")
@click.option(
    "--batch",
    default="single",
    show_default=True,
    metavar="NAME",
    help="Name of the batch.",
)
@click.option("--ports", metavar="auto|LIST|PATTERN", help="Many cards, on many ports at once.")
@click.option("--count", type=click.IntRange(1), help="How many cards the batch shall have.")
@click.option(
    "--users",
    "users_file",
    type=FILE,
    help="CSV file of logins: a batch with a card for each, all checked before the first.",
)
@click.option(
    "--box",
    "box_name",
    metavar="NAME",
    help="Only cards of this box (`tally station box scan`): a batch of them all.",
)
@bench_options
@json_option
def provision(
    *,
    port: str | None,
    user: str | None,
    new_user: bool,
    digits: int,
    serial: str | None,
    reseed: bool,
    confirm: bool,
    min_version: str,
    batch: str,
    ports: str | None,
    count: int | None,
    users_file: Path | None,
    box_name: str | None,
    station: BenchOptions,
    as_json: bool,
) -> None:
    """Give cards their keys and seeds, check them, register them, put them in service.

    One card with --port; a batch with --batch, --count and --ports.
    """
    if (port is None) == (ports is None):
        raise click.UsageError("Give either --port, or --ports with --batch and --count.")
    must_name_a_user(user, new_user=new_user)
    plan = Plan(CodeKind(digits), user, new_user, batch, reseed, serial, _version(min_version))
    with station.open() as ready:
        if box_name is not None:
            plan = replace(plan, box=_cards_of(ready, box_name))
        _fits_ticket(ready, digits, count or 1)
        if port is not None:
            print_outcome(one_card(ready, port, plan, confirm=confirm), as_json)
            return
        if count is None and users_file is None and plan.box is not None:
            count = len(plan.box)
        if (count is None) == (users_file is None) or user or serial or confirm:
            raise click.UsageError(
                "A batch needs --count, --users or --box, and takes no --user, --serial or "
                "--confirm."
            )
        if users_file is not None:
            people = listed_logins(users_file)
            check_people(people, ready.registry.check_user)
            plan, count = replace(plan, people=CardsForPeople(people)), len(people)
        assert count is not None
        _many_cards(ready, source_for(str(ports)), plan, count, as_json)


@station.command()
@json_option
def ports(as_json: bool) -> None:
    """List the serial ports and PC/SC readers of this computer."""
    from serial.tools.list_ports import comports

    found = [{"port": port.device, "description": port.description} for port in comports()]
    found += [{"port": f"{SCHEME}{name}", "description": "PC/SC reader"} for name in readers()]
    if as_json:
        print_json(found)
        return
    for entry in found:
        out().print(f"{entry['port']}  {entry['description']}", markup=False)
    if not found:
        err().print("no serial port found; an emulated card prints its own (`tally emulate card`)")


def _many_cards(
    ready: ReadyStation, source: PortSource, plan: Plan, count: int, as_json: bool
) -> None:
    ready.registry.check()
    if plan.people is None:
        ready.registry.check_user(plan.user, new_user=plan.new_user)
    already = len(ready.journal.finished(plan.batch))
    view = BatchView()
    summary = view.run(Batch(ready.provisioner(plan), source, count, view, already=already))
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
        for failed in summary.failures:
            err().print(failure(failed.port, failed.serial, failed.error))
    if plan.box is not None:
        blank = sorted(one.serial for one in ready.journal.boxed() if one.blank)
        left = [serial for serial in blank if serial in plan.box]
        if left and not as_json:
            err().print(f"of the box, still blank: {', '.join(left)}", markup=False)
    if summary.missing:
        raise TallyError(
            f"Batch {plan.batch} is not complete: {summary.missing} cards are missing.",
            kept="The cards that are finished, and the journal of those that are not.",
            todo="Run the same command again; it goes on where it stopped.",
        )


def _cards_of(ready: ReadyStation, box_name: str) -> frozenset[str]:
    found = frozenset(card.serial for card in ready.journal.boxed(box_name))
    if not found:
        raise BadInputError(
            f"There is no box {box_name}.",
            kept="Nothing was written to any card.",
            todo=f"Scan its labels first: `tally station box scan {box_name}`.",
        )
    return found


def _fits_ticket(ready: ReadyStation, digits: int, count: int) -> None:
    """The station's own look at the ticket, before any card is touched; what counts is the
    server's. Raises BadInputError."""
    server = ready.registry
    if not isinstance(server, TallyServer) or server.ticket is None:
        return
    ticket = server.ticket
    kept = "Nothing was written to any card."
    if ticket.digits != digits:
        raise BadInputError(
            f"The ticket is for cards of {ticket.digits} digits, not {digits}.", kept=kept
        )
    if count > ticket.cards:
        raise BadInputError(
            f"The ticket is for {ticket.cards} cards, not {count}.",
            kept=kept,
            todo="Have another one signed, or lower --count.",
        )


def _version(text: str) -> tuple[int, int, int]:
    try:
        major, minor, patch = (int(part) for part in text.split("."))
    except ValueError:
        raise click.BadParameter(
            "must be three numbers, as 1.2.3", param_hint="--min-version"
        ) from None
    return major, minor, patch
