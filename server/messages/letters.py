"""What is sent to whoever has a card: when it is handed over, before the end of its loan, and when
that is over. By e-mail, or by SMS to people of whom no address is known."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.common.moments import how_long, in_words
from tallystick.server.accounts import factors
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.store.keys import ServerKeyRing

USE = (
    "How to use it: when a sign-in page asks for a code, press the button of the card and type the "
    "digits on its display. Each code is good once; press again, when the display is dark, for the "
    "next one. Give the card and its codes to nobody."
)


@dataclass(frozen=True)
class Sender:
    """The firm in whose name it is said."""

    firm: str
    policy: FirmPolicy

    def when(self, seconds: int) -> str:
        return in_words(seconds, ZoneInfo(self.policy.time_zone))

    @property
    def desk(self) -> str:
        """Where cards are handed out."""
        return self.policy.desk_contact or f"the help desk of {self.firm}"


def handed_over(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    serial: str,
    now: float,
    *,
    until: int | None,
    lost: str = "",
) -> None:
    """until: None: for good. lost: the card that it is given for."""
    given = f" in place of {lost}, which verifies nothing any more" if lost else ""
    if until is None:
        subject = f"Your card {serial}"
        first = f"The card {serial} was assigned to you{given}. It is yours until further notice."
        back = f"If it is lost or broken, tell {sender.desk} at once."
        short = f"{sender.firm}: card {serial} is assigned to you. Lost? Tell {sender.desk}."
    else:
        end = sender.when(until)
        subject = f"Card {serial} is lent to you until {end}"
        first = f"The card {serial} was lent to you{given}, until {end}. After that it verifies "
        first += "nothing."
        back = f"Bring it back before then: {sender.desk}. If it is lost, tell them at once."
        short = f"{sender.firm}: card {serial} is lent to you until {end}. Return: {sender.desk}."
    text = (
        f"{first}\n\n{USE}\n\n{back}\n\nYou did not get this card? Tell {sender.desk} at once.\n\n"
        f"{sender.firm}"
    )
    _send(connection, ring, person, Letter("", subject, text), short, now)


def ends_soon(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    serial: str,
    now: float,
    *,
    until: int,
) -> None:
    end, left = sender.when(until), how_long(until - now)
    subject = f"Bring card {serial} back until {end}"
    text = (
        f"The loan of card {serial} ends in {left}, {end}. After that it verifies nothing.\n\n"
        f"Bring it back before then, or ask for a longer loan: {sender.desk}.\n\n{sender.firm}"
    )
    short = f"{sender.firm}: the loan of card {serial} ends {end}. Return: {sender.desk}."
    _send(connection, ring, person, Letter("", subject, text), short, now)


def overdue(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    serial: str,
    now: float,
    *,
    until: int,
) -> None:
    end = sender.when(until)
    subject = f"Card {serial} is overdue"
    text = (
        f"The loan of card {serial} was over {end}. It verifies nothing since then.\n\n"
        f"Bring it back: {sender.desk}. If it is lost, tell them at once.\n\n{sender.firm}"
    )
    short = f"{sender.firm}: card {serial} is overdue since {end}. Return: {sender.desk}."
    _send(connection, ring, person, Letter("", subject, text), short, now)


def _send(
    connection: Connection,
    ring: ServerKeyRing,
    person: KnownPerson,
    letter: Letter,
    short: str,
    now: float,
) -> None:
    """To the firm's address of the person and to every enrolled one; where there is none, to the
    telephone."""
    enrolled: dict[MethodKind, list[str]] = {MethodKind.EMAIL: [], MethodKind.SMS: []}
    for factor in factors.of_person(connection, person.id):
        if factor.kind in enrolled:
            enrolled[factor.kind].append(factor.secret(ring).decode())
    mail = dict.fromkeys([*([person.email] if person.email else []), *enrolled[MethodKind.EMAIL]])
    letters = [(outbox.EMAIL, Letter(to, letter.subject, letter.text)) for to in mail]
    if not letters:
        letters = [(outbox.SMS, Letter(to, "", short)) for to in enrolled[MethodKind.SMS]]
    for channel, one in letters:
        outbox.post(connection, ring, firm_id=person.firm_id, channel=channel, letter=one, now=now)
