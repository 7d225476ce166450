"""`tally station desk`: spares and loans, with the card in the hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
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
from tallystick.provisioning.desk.client import (
    Desk,
    DeskCard,
    HistoryEvent,
    Where,
    check_code,
    check_reason,
)
from tallystick.provisioning.desk.terms import Terms
from tallystick.provisioning.desk.wipe import retire_and_wipe
from tallystick.provisioning.desk.words import figures, presses, sentence
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.scanned import read_scan
from tallystick.provisioning.server_link import RegistryRefusedError

code_option = click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="DIGITS",
    help="Code on the card's display, else asked. A second one is asked of a drifted card.",
)
until_option = click.option(
    "--until",
    "until_text",
    metavar="WHEN",
    help="today, tomorrow, Monday, 17:30, 5pm, 90m, 2d or 2026-05-01 17:30, in the firm's zone.",
)
reason_option = click.option(
    "--reason",
    metavar="TEXT",
    help="In place of a code: why the card gives none (flat, broken). It is audited.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")


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
    """Spare cards: lend, assign, take back, replace, retire. Each act is one call to the server."""


@desk.command("sign-in")
@credential_option("desk")
@desk_options
def sign_in(*, url: str, credential: Any, options: DeskOptions) -> None:
    """Keep your own credential at this desk, in a file that only you can read."""
    read = operator.parse(url, credential.read())
    with closing(Desk(read)) as server:
        who = server.operator()
        terms = server.terms()
    operator.save(options.operator_file, operator.named(read, who.id))
    with closing(StationJournal(options.journal)) as journal:
        journal.keep_firm(terms.firm, terms.contact, terms.languages, terms.zone.key)
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
        terms = server.terms()
        found = server.cards(Where(where) if where else None, text)
    if as_json:
        print_json([_as_json(card) for card in found])
    else:
        out().print(_table(found, terms) if found else "none")
        if terms.short:
            err().print(terms.short, style="yellow", markup=False, highlight=False)


def _table(cards: Sequence[DeskCard], terms: Terms) -> Table:
    table = Table("card", "where", "user", "until", box=None, pad_edge=False)
    for card in cards:
        ends = card.loan_until or card.overdue_since
        table.add_row(
            card.serial,
            card.where.value,
            card.user or card.overdue_user or "",
            terms.words(ends) if ends else "",
            style="red" if card.where is Where.OVERDUE else "",
        )
    return table


@desk.command("overdue")
@operator_option
@json_option
@click.pass_context
def overdue(context: click.Context, *, operator_file: Path, as_json: bool) -> None:
    """Cards whose loan is over and that are not back. They verify nothing."""
    context.invoke(
        cards, where=Where.OVERDUE.value, text="", operator_file=operator_file, as_json=as_json
    )


@desk.command("person")
@click.argument("name")
@operator_option
@json_option
def person(*, name: str, operator_file: Path, as_json: bool) -> None:
    """Somebody: the cards that she has, and what became of those that she had.

    NAME: a login, or a part of one login or e-mail address.
    """
    with closing(Desk(operator.load(operator_file))) as server:
        terms = server.terms()
        found = server.people(name)
        logins = [one.login for one in found]
        file = server.person(logins[0] if len(logins) == 1 else name)
    if as_json:
        print_json(asdict(file))
        return
    account = ", account disabled" if file.person.disabled else ""
    out().print(f"{file.person.login} {file.person.email or ''}{account}", markup=False)
    out().print(_table(file.cards, terms) if file.cards else "has no card")
    _print_events(file.events, terms)


@desk.command("card")
@click.argument("serial", required=False)
@operator_option
@json_option
def card(*, serial: str | None, operator_file: Path, as_json: bool) -> None:
    """One card, with everything that was done with it."""
    serial = _scanned(serial)
    with closing(Desk(operator.load(operator_file))) as server:
        terms = server.terms()
        events = server.history(serial)  # refused for a card that nobody knows
        found = server.card(serial)
    assert found is not None
    if as_json:
        print_json({"card": _as_json(found), "events": [asdict(event) for event in events]})
        return
    out().print(_table([found], terms))
    _print_events(events, terms)


def _print_events(events: Sequence[HistoryEvent], terms: Terms) -> None:
    if not events:
        return
    table = Table("when", "who", "card", "what", box=None, pad_edge=False)
    for event in events:
        table.add_row(terms.words(event.at), event.actor, event.card, sentence(event, terms))
    out().print()
    out().print(table)


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
    """Lend a card until the end of the firm's working day, or until WHEN.

    The end is shown, with weekday and zone, before the code is asked for, which makes it so.
    """
    with options.signed_in() as session:
        terms = session.server.terms()
        end = terms.end(until_text or "")
        serial = _scanned(serial)
        user = user or click.prompt("User", err=True)
        err().print(f"until {terms.shown(end)}", markup=False, highlight=False)
        card = session.proving(
            serial, codes, lambda given: session.server.lend(serial, user, given, end)
        )
        session.done(card, "card lent", f"to {card.user} until {terms.words(card.loan_until or 0)}")


@desk.command("assign")
@click.argument("serial", required=False)
@click.argument("user", required=False)
@code_option
@desk_options
def assign(
    *, serial: str | None, user: str | None, codes: tuple[str, ...], options: DeskOptions
) -> None:
    """Give a card of the pool to somebody for good."""
    with options.signed_in() as session:
        serial = _scanned(serial)
        user = user or click.prompt("User", err=True)
        card = session.proving(
            serial, codes, lambda given: session.server.assign(serial, user, given)
        )
        session.done(card, "card assigned", f"assigned to {card.user} for good")


@desk.command("return")
@click.argument("serial", required=False)
@code_option
@reason_option
@desk_options
def give_back(
    *, serial: str | None, codes: tuple[str, ...], reason: str | None, options: DeskOptions
) -> None:
    """Take a lent card back; the code shows that it is this one.

    A flat or broken card comes back with a --reason in place of the code.
    """
    with options.signed_in() as session:
        serial = _scanned(serial)
        if reason is not None:
            why = check_reason(reason)
            card = session.server.give_back(serial, (), reason=why)
            session.done(card, "card returned", f"back without a code: {why}")
            return
        card = session.proving(serial, codes, lambda given: session.server.give_back(serial, given))
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
    with options.signed_in() as session:
        until = None
        if until_text:
            terms = session.server.terms()
            until = terms.end(until_text)
            err().print(f"until {terms.shown(until)}", markup=False, highlight=False)
        by = _scanned(by, "Scan the new card")
        card = session.proving(
            by, codes, lambda given: session.server.replace(lost, by, given, until)
        )
        session.done(card, "card replaced", f"{card.user} has it in place of {lost}")


@desk.command("resync")
@click.argument("serial", required=False)
@code_option
@desk_options
def resync(*, serial: str | None, codes: tuple[str, ...], options: DeskOptions) -> None:
    """Have the server find a drifted card again, by two successive codes.

    How far it looks is the firm's policy. Every other act finds a drifted card, too.
    """
    with options.signed_in() as session:
        serial = _scanned(serial)
        card = session.server.resynchronise(serial, _codes(codes, serial, count=2))
        what = f"in step with the server again; {presses(card.skipped)}"
        session.done(card, "card resynchronised", what)


@desk.command("undo")
@click.argument("serial")
@desk_options
def undo(*, serial: str, options: DeskOptions) -> None:
    """Undo your last act on a card, within two minutes, where nobody was told of it yet."""
    with options.signed_in() as session:
        card = session.server.undo(serial)
        session.done(card, "act undone", f"as it was before: {card.where.value}")


@desk.command("statistics")
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="The last so many."
)
@operator_option
@json_option
def statistics(*, days: int, operator_file: Path, as_json: bool) -> None:
    """How often cards were lent, came back late, were found again, and who did it."""
    with closing(Desk(operator.load(operator_file))) as server:
        made = server.statistics(days)
    if as_json:
        print_json(asdict(made))
        return
    acts = sorted(made.totals)
    table = Table("day", *acts, box=None, pad_edge=False)
    for day, done in made.days.items():
        if done:
            table.add_row(day, *(str(done.get(act, "")) for act in acts))
    table.add_row("all", *(str(made.totals[act]) for act in acts), style="bold")
    out().print(table)
    for line in figures(made):
        out().print(line, markup=False, highlight=False)
    for actor, count in sorted(made.by_actor.items()):
        out().print(f"{actor}: {count} acts", markup=False, highlight=False)


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
@click.argument("serial", required=False)
@click.option("--port", metavar="DEV", help="Port of the card that is wiped, too.")
@click.option(
    "--no-code",
    is_flag=True,
    help="The card's button is broken: an administrator's credential, or --reason, is enough.",
)
@code_option
@reason_option
@yes_option
@key_options
@desk_options
def retire(
    *,
    serial: str | None,
    port: str | None,
    no_code: bool,
    codes: tuple[str, ...],
    reason: str | None,
    yes: bool,
    ring: KeyOptions,
    options: DeskOptions,
) -> None:
    """Retire a card on the server for good; with --port, wipe the one in the dock as well.

    The card in the dock is asked for a press on its button, which is the consent. One that is flat
    or broken is retired by its SERIAL number, without --port, for a stated --reason.
    """
    why = check_reason(reason) if reason is not None else ""
    if port is not None:
        if codes or serial is not None:
            raise click.UsageError("With --port, the card in the dock gives serial and code.")
        _wipe(port, ring, options, prove=not (no_code or why), reason=why)
        return
    with options.signed_in() as session:
        serial = _scanned(serial)
        if not yes and not options.as_json:
            question = f"Retire card {serial} for good? It can never be used again."
            click.confirm(question, abort=True, err=True)
        if why or no_code:
            gone = session.server.retire(serial, None, reason=why)
        else:
            gone = session.proving(
                serial, codes, lambda given: session.server.retire(serial, given)
            )
        told = f"retired for good; its seed is still on it: {_WIPE}"
        session.done(gone, "card retired", f"without a code: {why}" if why else "for good", told)


_WIPE = "wipe it in a dock (--port), or destroy it"


def _wipe(port: str, ring: KeyOptions, options: DeskOptions, *, prove: bool, reason: str) -> None:
    told = err()
    with (
        ring.open() as custody,
        options.signed_in() as session,
        CardConnection.open(port) as connection,
    ):
        waiting = Waiting(keepalive=lambda: told.print("press the button of the card now"))
        done = retire_and_wipe(
            connection, custody, session.server, prove=prove, reason=reason, waiting=waiting
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

    def proving(
        self, serial: str, given: tuple[str, ...], act: Callable[[list[str]], DeskCard]
    ) -> DeskCard:
        """Do it with a code of the card; with a second one, when the first shows that it has
        drifted."""
        codes = _codes(given, serial)
        try:
            card = act(codes)
        except RegistryRefusedError as error:
            if error.reason != "card-drifted" or len(codes) != 1:
                raise
            err().print(error.what, style="yellow", markup=False, highlight=False)
            try:
                codes = _codes(tuple(codes), serial, count=2)
            except click.Abort:  # nobody is there to ask
                raise error from None
            card = act(codes)
        if len(codes) > 1 and card.skipped:
            err().print(f"in step again: {presses(card.skipped)}", markup=False, highlight=False)
        return card

    def done(self, card: DeskCard, act: str, what: str, told: str = "") -> None:
        self.note(act, card.serial, what)
        if self.as_json:
            print_json(_as_json(card))
            return
        out().print(f"card {card.serial}: {told or what}", markup=False, highlight=False)
        if card.undo_until is not None:
            how = f"meant otherwise? within two minutes: tally station desk undo {card.serial}"
            err().print(how, style="dim", markup=False, highlight=False)


def _scanned(serial: str | None, question: str = "Scan the card, or type its serial number") -> str:
    answer: str = serial if serial is not None else click.prompt(question, err=True)
    return read_scan(answer)


def _codes(given: tuple[str, ...], serial: str, count: int = 1) -> list[str]:
    codes = [check_code(code) for code in given]
    for number in range(len(codes), count):
        again = " again, when its display is dark," if number else ""
        question = f"Press the button of {serial}{again} and type the code on its display"
        codes.append(check_code(click.prompt(question, err=True)))
    return codes


def _as_json(card: DeskCard) -> dict[str, Any]:
    return asdict(card) | {"where": card.where.value}
