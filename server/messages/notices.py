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
from tallystick.server.store.keys import ServerKeyRing


def notify(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm: str,
    policy: FirmPolicy,
    person: KnownPerson,
    what: str,
    now: float,
) -> None:
    """`what` finishes the sentence "In your account at FIRM, ….". Sent to the firm's address of
    the person, and to every enrolled e-mail address, so that a thief cannot silence it by one
    change."""
    when = in_words(now, ZoneInfo(policy.time_zone))
    firm = policy.display_name or firm
    text = (
        f"In your account at {firm}, {what} ({when}).\n\n"
        "If that was not you, tell your help desk at once."
    )
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
            letter=Letter(address, f"A change in your account at {firm}", text),
            now=now,
        )
