"""What is sent to whoever has a card: when it is handed over, before the end of its loan, and when
that is over. By e-mail, or by SMS to people of whom no address is known.
In the language that each has chosen, or in the firm's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.server.accounts import factors
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.wording.catalogue import say
from tallystick.server.wording.languages import SPOKEN, Language, spoken
from tallystick.server.wording.worded import WordedDay, WordedMoment, counted, worded

BETWEEN = "\n\n– – –\n\n"


def languages_for(chosen: str, policy: FirmPolicy) -> tuple[Language, ...]:
    """In which a notice is written: the one that its reader has chosen, or those of the firm that
    have a catalogue."""
    own = spoken(chosen)
    if own is not None:
        return (own,)
    return tuple(one for one in policy.languages if one in SPOKEN) or (Language.ENGLISH,)


def _languages(person: KnownPerson, policy: FirmPolicy) -> tuple[Language, ...]:
    """As `languages_for`, of what is said of cards: in all that a firm may have."""
    own = spoken(person.language)
    return policy.languages if own is None else (own,)


@dataclass(frozen=True)
class Sender:
    """The firm in whose name it is said. name: as the server has it."""

    name: str
    policy: FirmPolicy

    @property
    def firm(self) -> str:
        return self.policy.display_name or self.name

    def when(self, seconds: int) -> WordedMoment:
        return WordedMoment.at(seconds, ZoneInfo(self.policy.time_zone))

    @property
    def desk(self) -> str:
        """Where cards are handed out."""
        return self.policy.desk_contact or worded("the help desk of {firm}", firm=self.firm)


Paragraph = Sequence[str]
"""Sentences; those that are empty are left out."""


@dataclass(frozen=True)
class _Text:
    """One message, to be said in any language. short: as an SMS."""

    subject: str
    paragraphs: Sequence[Paragraph]
    short: str = ""

    def body(self, language: Language) -> str:
        parts = ((say(one, language) for one in part if one) for part in self.paragraphs)
        return "\n\n".join(" ".join(part) for part in parts)


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
    firm, desk = sender.firm, sender.desk
    instead = ""
    if lost:
        instead = worded("It replaces {lost}, which verifies nothing any more.", lost=lost)
    use = worded(
        "How to use it: when a sign-in page asks for a code, press the button of the card and type "
        "the digits on its display. Each code is good once; press again, when the display is dark, "
        "for the next one. Give the card and its codes to nobody."
    )
    not_yours = worded("You did not get this card? Tell {desk} at once.", desk=desk)
    if until is None:
        first = worded(
            "The card {serial} was assigned to you. It is yours until further notice.",
            serial=serial,
        )
        back = worded("If it is lost or broken, tell {desk} at once.", desk=desk)
        text = _Text(
            worded("Your card {serial}", serial=serial),
            ([first, instead], [use], [back], [not_yours]),
            worded(
                "{firm}: card {serial} is assigned to you. Lost? Tell {desk}.",
                firm=firm, serial=serial, desk=desk,
            ),
        )  # fmt: skip
    else:
        end = sender.when(until)
        first = worded(
            "The card {serial} was lent to you, until {end}. After that it verifies nothing.",
            serial=serial, end=end,
        )  # fmt: skip
        back = worded(
            "Bring it back before then: {desk}. If it is lost, tell them at once.", desk=desk
        )
        text = _Text(
            worded("Card {serial} is lent to you until {end}", serial=serial, end=end),
            ([first, instead], [use], [back], [not_yours]),
            worded(
                "{firm}: card {serial} is lent to you until {end}. Return: {desk}.",
                firm=firm, serial=serial, end=end, desk=desk,
            ),
        )  # fmt: skip
    _send(connection, ring, sender, person, text, now)


def about_end(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    serial: str,
    now: float,
    *,
    until: int,
    over: bool,
) -> None:
    """over: the loan has ended; else it ends soon."""
    firm, desk, end = sender.firm, sender.desk, sender.when(until)
    if over:
        first = worded(
            "The loan of card {serial} was over {end}. It verifies nothing since then.",
            serial=serial, end=end,
        )  # fmt: skip
        back = worded("Bring it back: {desk}. If it is lost, tell them at once.", desk=desk)
        text = _Text(
            worded("Card {serial} is overdue", serial=serial),
            ([first], [back]),
            worded(
                "{firm}: card {serial} is overdue since {end}. Return: {desk}.",
                firm=firm, serial=serial, end=end, desk=desk,
            ),
        )  # fmt: skip
    else:
        first = worded(
            "The loan of card {serial} ends {end}. After that it verifies nothing.",
            serial=serial, end=end,
        )  # fmt: skip
        back = worded("Bring it back before then, or ask for a longer loan: {desk}.", desk=desk)
        text = _Text(
            worded("Bring card {serial} back until {end}", serial=serial, end=end),
            ([first], [back]),
            worded(
                "{firm}: the loan of card {serial} ends {end}. Return: {desk}.",
                firm=firm, serial=serial, end=end, desk=desk,
            ),
        )  # fmt: skip
    _send(connection, ring, sender, person, text, now)


def pool_short(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    firm_id: int,
    now: float,
    *,
    left: int,
) -> None:
    """To whoever has more cards made."""
    first = counted(
        "The pool of {firm} has {count} card left; {minimum} should be there.",
        "The pool of {firm} has {count} cards left; {minimum} should be there.",
        left,
        firm=sender.firm,
        minimum=sender.policy.desk_pool_minimum,
    )
    text = _Text(
        counted(
            "{firm}: {count} card is left in the pool",
            "{firm}: {count} cards are left in the pool",
            left,
            firm=sender.firm,
        ),
        ([first, worded("Have more made, or ask for those that are overdue.")],),
    )
    languages = sender.policy.languages
    body = BETWEEN.join(text.body(one) for one in languages)
    letter = Letter(sender.policy.desk_pool_notice_to, say(text.subject, languages[0]), body)
    outbox.post(connection, ring, firm_id=firm_id, channel=outbox.EMAIL, letter=letter, now=now)


def invited(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    now: float,
    *,
    link: str,
    until: int,
) -> None:
    """To the firm's address of a new person, and to no other. until: seconds since 1970."""
    made = worded(
        "{firm} has made an account for you. Your login name is {login}. With this link you choose "
        "a password, and a second way to prove that it is you:",
        firm=sender.firm, login=person.login,
    )  # fmt: skip
    text = _Text(
        worded("{firm}: set up your account", firm=sender.firm),
        (
            [_hello(person)],
            [made],
            [link],
            [worded("It is good once, until {end}. Give it to nobody.", end=sender.when(until))],
            [worded("You did not expect this? Tell {desk}.", desk=sender.desk)],
        ),
    )
    _to_firms_address(connection, ring, sender, person, text, now)


def reminded(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    now: float,
    *,
    link: str,
) -> None:
    """To somebody without a second factor."""
    only = worded(
        "Your account {login} has a password only. Whoever finds that out can get in.",
        login=person.login,
    )
    day, asked = sender.policy.second_factor_from, ""
    if day is not None and now < sender.policy.asked_from_s():
        asked = worded("From {day} on a second factor is asked for.", day=WordedDay.of(day))
    text = _Text(
        worded("{firm}: add a second way to sign in", firm=sender.firm),
        (
            [_hello(person)],
            [only, asked, worded("Add a second factor; it takes two minutes:")],
            [link],
            [worded("If you need help: {desk}.", desk=sender.desk)],
        ),
    )
    _to_firms_address(connection, ring, sender, person, text, now)


def _hello(person: KnownPerson) -> str:
    return worded("Hello {name},", name=person.full_name or person.login)


def _to_firms_address(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    text: _Text,
    now: float,
) -> None:
    languages = _languages(person, sender.policy)
    letter = Letter(
        person.email or "", say(text.subject, languages[0]), _body(sender, text, languages)
    )
    outbox.post(
        connection, ring, firm_id=person.firm_id, channel=outbox.EMAIL, letter=letter, now=now
    )


def _body(sender: Sender, text: _Text, languages: Sequence[Language]) -> str:
    return BETWEEN.join(f"{text.body(one)}\n\n{sender.firm}" for one in languages)


def _send(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    text: _Text,
    now: float,
) -> None:
    """To the firm's address of the person and to every enrolled one; where there is none, to the
    telephone. In the person's language; or a mail in each of the firm's, an SMS in the first."""
    languages = _languages(person, sender.policy)
    enrolled: dict[MethodKind, list[str]] = {MethodKind.EMAIL: [], MethodKind.SMS: []}
    for factor in factors.of_person(connection, person.id):
        if factor.kind in enrolled:
            enrolled[factor.kind].append(factor.secret(ring).decode())
    mail = dict.fromkeys([*([person.email] if person.email else []), *enrolled[MethodKind.EMAIL]])
    subject, body = say(text.subject, languages[0]), _body(sender, text, languages)
    letters = [(outbox.EMAIL, Letter(to, subject, body)) for to in mail]
    if not letters:
        short = say(text.short, languages[0])
        letters = [(outbox.SMS, Letter(to, "", short)) for to in enrolled[MethodKind.SMS]]
    for channel, one in letters:
        outbox.post(connection, ring, firm_id=person.firm_id, channel=channel, letter=one, now=now)
