"""Tell people what changed in their account, by e-mail, where an address is known."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.common.moments import in_words
from tallystick.server.accounts import factors
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.messages.letters import BETWEEN, languages_for
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.wording.catalogue import say
from tallystick.server.wording.languages import Language
from tallystick.server.wording.worded import Worded, worded


def notify(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm: str,
    policy: FirmPolicy,
    person: KnownPerson,
    what: Worded,
    now: float,
) -> None:
    """`what` finishes the sentence "In your account at FIRM, ….". In the person's language, or in
    each of the firm's. Sent to the firm's address of the person, and to every enrolled e-mail
    address, so that a thief cannot silence it by one change."""
    firm = policy.display_name or firm
    languages = languages_for(person.language, policy)
    subject = say(worded("A change in your account at {firm}", firm=firm), languages[0])
    text = BETWEEN.join(_said(one, firm, policy, what, now) for one in languages)
    enrolled = [
        factor.secret(ring).decode()
        for factor in factors.of_person(connection, person.id)
        if factor.kind is MethodKind.EMAIL
    ]
    for address in dict.fromkeys([*([person.email] if person.email else []), *enrolled]):
        outbox.post(
            connection,
            ring,
            firm_id=person.firm_id,
            channel=outbox.EMAIL,
            letter=Letter(address, subject, text),
            now=now,
        )


def _said(language: Language, firm: str, policy: FirmPolicy, what: Worded, now: float) -> str:
    when = in_words(now, ZoneInfo(policy.time_zone), language.value)
    first = worded("In your account at {firm}, {what} ({when}).", firm=firm, what=what, when=when)
    last = worded("If that was not you, tell your help desk at once.")
    return f"{say(first, language)}\n\n{say(last, language)}"
