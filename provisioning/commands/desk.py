"""`tally station desk`: spares and loans, with the card in the hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.groups import Group
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.commands.options import (
    KeyOptions,
    credential_option,
    journal_option,
    key_options,
    note,
    operator_option,
    together,
)
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk, DeskCard, Where, check_code
from tallystick.provisioning.desk.until import in_words, parse_until
from tallystick.provisioning.desk.wipe import retire_and_wipe
from tallystick.provisioning.journal import StationJournal

code_option = click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="DIGITS",
    help="Code on the card's display, else asked. Twice for a card that has drifted.",
)
until_option = click.option(
    "--until",
    "until_text",
    metavar="WHEN",
    help="17:30, 3h, 2d or 2026-05-01T17:30.",
)


@dataclass(frozen=True)
class DeskOptions:
    """Who acts, where it is noted, and how the answer is printed."""

    operator_file: Path
    journal: Path
    as_json: bool

    @contextmanager
    def signed_in(self) -> Iterator[_Session]:
        credential = operator.load(self.operator_file)
        with closing(StationJournal(self.journal)) as journal, closing(Desk(credential)) as server:
            yield _Session(server, journal, credential.id, self.as_json)


desk_options = together(DeskOptions, "options", operator_option, journal_option, json_option)


@click.group(cls=Group)
def desk() -> None:
    """Spare cards: lend, take back, replace, retire. Each act is one call to the server."""


@desk.command("sign-in")
@credential_option("desk")
@desk_options
def sign_in(*, url: str, credential: Any, options: DeskOptions) -> None:
    """Keep your own credential at this desk, in a file that only you can read."""
    read = operator.parse(url, credential.read())
    with closing(Desk(read)) as server:
        who = server.operator()
    operator.save(options.operator_file, operator.named(read, who.id))
    note(options.journal, "signed in at the desk", who.id, who.name)
    if options.as_json:
        print_json(asdict(who))
    else:
        out().print(f"signed in as {who.name} ({who.role})", markup=False)


@desk.command("sign-out")
@operator_option
def sign_out(operator_file: Path) -> None:
    """Forget the credential here. To end it everywhere, have it revoked on the server."""
    said = "signed out" if operator.remove(operator_file) else "nobody was signed in"
    out().print(said)


@desk.command("cards")
@click.option(
    "--where", type=click.Choice([where.value for where in Where]), help="Only cards that are so."
)
@click.option("--find", "text", default="", metavar="TEXT", help="Part of serial number or user.")
@operator_option
@json_option
def cards(*, where: str | None, text: str, operator_file: Path, as_json: bool) -> None:
    """The pool, what is lent and to whom, what is overdue, …"""
    with closing(Desk(operator.load(operator_file))) as server:
        found = server.cards(Where(where) if where else None, text)
    if as_json:
        print_json([_as_json(card) for card in found])
        return
    table = Table("card", "where", "user", "until", box=None, pad_edge=False)
    for card in found:
        ends = card.loan_until or card.overdue_since
        table.add_row(
            card.serial,
            card.where.value,
            card.user or card.overdue_user or "",
            in_words(ends) if ends else "",
            style="red" if card.where is Where.OVERDUE else "",
        )
    out().print(table if found else "none")


@desk.command("overdue")
@operator_option
@json_option
@click.pass_context
def overdue(context: click.Context, *, operator_file: Path, as_json: bool) -> None:
    """Cards whose loan is over and that are not back. They verify nothing."""
    context.invoke(
        cards, where=Where.OVERDUE.value, text="", operator_file=operator_file, as_json=as_json
    )


@desk.command("lend")
@click.argument("serial", required=False)
@click.argument("user", required=False)
@code_option
@until_option
@desk_options
def lend(
    *,
    serial: str | None,
    user: str | None,
    codes: tuple[str, ...],
    until_text: str | None,
    options: DeskOptions,
) -> None:
    """Lend a card until the end of the firm's working day, or until WHEN."""
    until = parse_until(until_text or "day", datetime.now().astimezone())
    with options.signed_in() as session:
        serial = _scanned(serial)
        user = user or click.prompt("User", err=True)
        card = session.server.lend(serial, user, _codes(codes, serial), until)
        ends = in_words(card.loan_until or 0)
        session.done(card, "card lent", f"to {user} until {ends}")


@desk.command("return")
@click.argument("serial", required=False)
@code_option
@desk_options
def give_back(*, serial: str | None, codes: tuple[str, ...], options: DeskOptions) -> None:
    """Take a lent card back; the code shows that it is this one."""
    with options.signed_in() as session:
        serial = _scanned(serial)
        card = session.server.give_back(serial, _codes(codes, serial))
        session.done(card, "card returned", "in the pool again")


@desk.command("replace")
@click.argument("lost")
@click.argument("by", required=False)
@code_option
@until_option
@desk_options
def replace(
    *,
    lost: str,
    by: str | None,
    codes: tuple[str, ...],
    until_text: str | None,
    options: DeskOptions,
) -> None:
    """Report the card LOST, and give the card BY to its holder on the same terms."""
    until = parse_until(until_text, datetime.now().astimezone()) if until_text else None
    with options.signed_in() as session:
        by = _scanned(by, "Scan the new card")
        card = session.server.replace(lost, by, _codes(codes, by), until)
        session.done(card, "card replaced", f"{card.user} has it in place of {lost}")


@desk.command("resync")
@click.argument("serial", required=False)
@code_option
@desk_options
def resync(*, serial: str | None, codes: tuple[str, ...], options: DeskOptions) -> None:
    """Have the server find a drifted card again, by two successive codes."""
    with options.signed_in() as session:
        serial = _scanned(serial)
        card = session.server.resynchronise(serial, _codes(codes, serial, count=2))
        session.done(card, "card resynchronised", "in step with the server again")


@desk.command("lost")
@click.argument("serial")
@desk_options
def lost(*, serial: str, options: DeskOptions) -> None:
    """Report a card lost: no code of it is accepted until it is found."""
    with options.signed_in() as session:
        card = session.server.set_lost(serial, lost=True)
        session.done(card, "card reported lost", "reported lost")


@desk.command("found")
@click.argument("serial")
@desk_options
def found(*, serial: str, options: DeskOptions) -> None:
    """A lost card has turned up."""
    with options.signed_in() as session:
        card = session.server.set_lost(serial, lost=False)
        session.done(card, "card found", "in service again")


@desk.command("retire")
@click.option("--port", required=True, metavar="DEV", help="Port of the card that is wiped.")
@click.option(
    "--no-code",
    is_flag=True,
    help="The card's button is broken: an administrator's credential is enough.",
)
@key_options
@desk_options
def retire(*, port: str, no_code: bool, ring: KeyOptions, options: DeskOptions) -> None:
    """Retire the card in the dock on the server, and wipe it for good, after a press."""
    told = err()
    with (
        ring.open() as custody,
        options.signed_in() as session,
        CardConnection.open(port) as connection,
    ):
        waiting = Waiting(keepalive=lambda: told.print("press the button of the card now"))
        done = retire_and_wipe(
            connection, custody, session.server, prove=not no_code, waiting=waiting
        )
        where = "retired on the server" if done.known else "the server did not know it"
        session.note("card wiped", done.serial, where)
    if options.as_json:
        print_json(asdict(done))
    else:
        again = " already" if done.already else ""
        out().print(f"card {done.serial} is wiped{again} for good; {where}", markup=False)


@dataclass(frozen=True)
class _Session:
    """An operator at work. The journal is open before the server is asked for anything, so that
    what is done there cannot go unnoted here."""

    server: Desk
    journal: StationJournal
    operator: str
    as_json: bool

    def note(self, act: str, serial: str, what: str) -> None:
        self.journal.note(act, serial, what, by=self.operator)

    def done(self, card: DeskCard, act: str, what: str) -> None:
        self.note(act, card.serial, what)
        if self.as_json:
            print_json(_as_json(card))
        else:
            out().print(f"card {card.serial}: {what}", markup=False)


def _scanned(serial: str | None, question: str = "Scan the card, or type its serial number") -> str:
    answer: str = serial if serial is not None else click.prompt(question, err=True)
    return answer.strip()


def _codes(given: tuple[str, ...], serial: str, count: int = 1) -> list[str]:
    codes = [check_code(code) for code in given]
    for number in range(len(codes), count):
        again = " again, when its display is dark," if number else ""
        question = f"Press the button of {serial}{again} and type the code on its display"
        codes.append(check_code(click.prompt(question, err=True)))
    return codes


def _as_json(card: DeskCard) -> dict[str, Any]:
    return asdict(card) | {"where": card.where.value}
