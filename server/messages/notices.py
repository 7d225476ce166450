"""Tell people what changed in their account, by e-mail, where an address is known."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.common.moments import in_words
from tallystick.server.accounts import factors, people
from tallystick.server.accounts.changes import changed
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
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


def to_administrators(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm: KnownFirm,
    what: Worded,
    now: float,
    but: int = 0,
) -> None:
    """What gives or takes rights is told to every administrator with an address, whoever did it:
    one whose account was taken over reads of it, too. but: a person (id) who is told otherwise."""
    for person in people.everybody(connection, firm.id):
        told = person.role is PersonRole.ADMINISTRATOR and not person.disabled
        if not told or not person.email or person.id == but:
            continue
        language = languages_for(person.language, firm.policy)[0]
        when = in_words(now, ZoneInfo(firm.policy.time_zone), language.value)
        first = worded("At {firm}: {what} ({when}).", firm=firm.display_name, what=what, when=when)
        last = worded("If none of you did that, look at the audit log, and bar whoever did.")
        outbox.post(
            connection,
            ring,
            firm_id=firm.id,
            channel=outbox.EMAIL,
            letter=Letter(
                person.email,
                say(worded("A change at {firm}", firm=firm.display_name), language),
                f"{say(first, language)}\n\n{say(last, language)}",
            ),
            now=now,
        )


def policy_changed(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm: KnownFirm,
    policy: FirmPolicy,
    by: str,
    now: float,
) -> None:
    """firm: with the policy of before. by: who did it, in words."""
    fields = ", ".join(changed(dict(firm.policy), dict(policy)))
    if fields:
        what = worded("{actor} changed the policy: {fields}", actor=by, fields=fields)
        to_administrators(connection, ring, firm=firm, what=what, now=now)
