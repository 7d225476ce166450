"""What is sent to whoever has a card: when it is handed over, before the end of its loan, and when
that is over. By e-mail, or by SMS to people of whom no address is known.
In the language that each has chosen, or in the firm's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.common.moments import day_in_words, in_words
from tallystick.server.accounts import factors
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.messages.phrases import PHRASES, Phrases
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.wording.languages import SPOKEN, Language, spoken

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

    def when(self, seconds: int, language: Language) -> str:
        return in_words(seconds, ZoneInfo(self.policy.time_zone), language.value)

    def desk(self, phrases: Phrases) -> str:
        """Where cards are handed out."""
        return self.policy.desk_contact or phrases.help_desk.format(firm=self.firm)


@dataclass(frozen=True)
class _Text:
    """One message in one language. short: as an SMS."""

    subject: str
    body: str
    short: str


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

    def text(language: Language, say: Phrases) -> _Text:
        known = {"serial": serial, "firm": sender.firm, "desk": sender.desk(say)}
        known["given"] = say.in_place_of.format(lost=lost) if lost else ""
        if until is not None:
            known["end"] = sender.when(until, language)
        said = say.assigned if until is None else say.lent
        parts = [said.first, say.use, said.back, say.not_yours]
        body = "\n\n".join(part.format(**known) for part in parts) + f"\n\n{sender.firm}"
        return _Text(said.subject.format(**known), body, said.short.format(**known))

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

    def text(language: Language, say: Phrases) -> _Text:
        known = {
            "serial": serial, "firm": sender.firm, "desk": sender.desk(say),
            "end": sender.when(until, language),
        }  # fmt: skip
        said = say.overdue if over else say.ends_soon
        body = "\n\n".join((said.first, said.back)).format(**known) + f"\n\n{sender.firm}"
        return _Text(said.subject.format(**known), body, said.short.format(**known))

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
    known = {"firm": sender.firm, "left": left, "minimum": sender.policy.desk_pool_minimum}
    said = [PHRASES[language].pool_short for language in sender.policy.languages]
    subject, body = said[0][0], BETWEEN.join(text for _, text in said)
    letter = Letter(
        sender.policy.desk_pool_notice_to, subject.format(**known), body.format(**known)
    )
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
    _to_firms_address(connection, ring, sender, person, now, "invited", link=link, until=until)


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
    _to_firms_address(connection, ring, sender, person, now, "reminded", link=link)


def _to_firms_address(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    now: float,
    which: str,
    *,
    link: str,
    until: int | None = None,
) -> None:
    texts = []
    subject = ""
    day = sender.policy.second_factor_from
    for language in _languages(person, sender.policy):
        say = PHRASES[language]
        known = {
            "firm": sender.firm,
            "desk": sender.desk(say),
            "login": person.login,
            "name": person.full_name or person.login,
            "link": link,
            "end": sender.when(until, language) if until is not None else "",
            "day": day_in_words(day, language.value) if day else "",
        }
        title, parts = getattr(say, which)
        soon = day is not None and now < sender.policy.asked_from_s()
        known["asked"] = say.asked_from.format(**known) if soon else ""
        subject = subject or title.format(**known)
        texts.append("\n\n".join(part.format(**known) for part in parts))
    letter = Letter(person.email or "", subject, BETWEEN.join(texts) + f"\n\n{sender.firm}")
    outbox.post(
        connection, ring, firm_id=person.firm_id, channel=outbox.EMAIL, letter=letter, now=now
    )


def _send(
    connection: Connection,
    ring: ServerKeyRing,
    sender: Sender,
    person: KnownPerson,
    text: Callable[[Language, Phrases], _Text],
    now: float,
) -> None:
    """To the firm's address of the person and to every enrolled one; where there is none, to the
    telephone. In the person's language; or a mail in each of the firm's, an SMS in the first."""
    languages = _languages(person, sender.policy)
    said = [text(language, PHRASES[language]) for language in languages]
    enrolled: dict[MethodKind, list[str]] = {MethodKind.EMAIL: [], MethodKind.SMS: []}
    for factor in factors.of_person(connection, person.id):
        if factor.kind in enrolled:
            enrolled[factor.kind].append(factor.secret(ring).decode())
    mail = dict.fromkeys([*([person.email] if person.email else []), *enrolled[MethodKind.EMAIL]])
    body = BETWEEN.join(one.body for one in said)
    letters = [(outbox.EMAIL, Letter(to, said[0].subject, body)) for to in mail]
    if not letters:
        letters = [(outbox.SMS, Letter(to, "", said[0].short)) for to in enrolled[MethodKind.SMS]]
    for channel, one in letters:
        outbox.post(connection, ring, firm_id=person.firm_id, channel=channel, letter=one, now=now)
