"""Tells borrowers of the end of their loans, before it and when it is over, and whoever has cards
made that they run out. Looks every minute; what was told is remembered in the database, so that of
several workers one tells it, once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from tallystick.common.errors import TallyError
from tallystick.common.moments import LocalTime
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.policy import parse
from tallystick.server.loans import desk
from tallystick.server.loans.holding import CardStatus
from tallystick.server.messages import letters
from tallystick.server.messages.letters import Sender
from tallystick.server.store import rates
from tallystick.server.store.database import AnyRow, Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, Firm
from tallystick.server.store.periodic import PeriodicThread

EVERY_S = 60.0
OLD_S = 7 * 86400  # a loan that was over so long ago is no news: the server was off, or is new
REMEMBERED_S = 60 * 86400

log = logging.getLogger(__name__)


class Reminder:
    """Looks now and then. told: there is something to send."""

    def __init__(
        self,
        database: Database,
        ring: ServerKeyRing,
        clock: Callable[[], float],
        told: Callable[[], None],
        *,
        background: bool = True,
    ) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock
        self._told = told
        self._thread = PeriodicThread("reminder", self.remind_now, EVERY_S, background=background)

    def close(self) -> None:
        self._thread.close()

    def remind_now(self) -> None:
        try:
            if remind(self._database, self._ring, self._clock()):
                self._told()
        except (DBAPIError, TallyError) as error:
            log.warning("nobody was reminded: %s", type(error).__name__)


def remind(database: Database, ring: ServerKeyRing, now: float) -> int:
    """→ how many were told of: loans, and pools that are short"""
    with database.read() as connection:
        due = [row for row in _loans(connection, now) if _due(row, now)]
    told = 0
    for row in due:
        # One transaction each: a mail that cannot be written holds up no other.
        told += database.run(partial(_tell, ring=ring, row=row, now=now))
    with database.read() as connection:
        short = [firm for firm in firms.list_all(connection) if _is_short(connection, firm, now)]
    for firm in short:
        told += database.run(partial(_tell_short, ring=ring, firm=firm, now=now))
    return told


def _is_short(connection: Connection, firm: KnownFirm, now: float) -> bool:
    least = firm.policy.desk_pool_minimum
    told = firm.policy.desk_pool_notice_to
    return bool(least and told) and desk.in_pool(connection, firm.id, now) < least


def _tell_short(connection: Connection, *, ring: ServerKeyRing, firm: KnownFirm, now: float) -> int:
    """Once on each day of the firm's calendar that its pool is short."""
    day = LocalTime(now, ZoneInfo(firm.policy.time_zone), firm.policy.day_ends).local.date()
    until = int(now) + 2 * 86400
    if not rates.once(connection, f"pool-short|{firm.id}|{day}", until=until):
        return 0
    left = desk.in_pool(connection, firm.id, now)
    sender = Sender(firm.name, firm.policy)
    letters.pool_short(connection, ring, sender, firm.id, now, left=left)
    return 1


def _loans(connection: Connection, now: float) -> list[AnyRow]:
    """Loans that end within the longest time that anybody is reminded before, or did lately."""
    longest = 10_080 * 60
    query = (
        select(
            Assignment.card_id, Assignment.person_id, Assignment.expires_at,
            Assignment.assigned_at, CardRow.serial, CardRow.firm_id,
            Firm.name.label("firm"), Firm.policy,
        )
        .join(CardRow, CardRow.id == Assignment.card_id)
        .join(Firm, Firm.id == CardRow.firm_id)
        .where(
            CardRow.status == CardStatus.REGISTERED.value,
            Assignment.expires_at > int(now) - OLD_S,
            Assignment.expires_at <= int(now) + longest,
        )
    )  # fmt: skip
    return list(connection.execute(query))


def _due(row: AnyRow, now: float) -> bool:
    before_s = parse(row.policy).loan_reminder_minutes * 60
    # Whoever has just been told the end when the card was lent is not told again at once.
    long_enough = row.expires_at - row.assigned_at > before_s
    return bool(row.expires_at <= now or (long_enough and now >= row.expires_at - before_s))


def _tell(connection: Connection, *, ring: ServerKeyRing, row: AnyRow, now: float) -> int:
    over = row.expires_at <= now
    which = "over" if over else "soon"
    until = int(now) + REMEMBERED_S
    if not rates.once(
        connection, f"loan-{which}|{row.card_id}|{row.person_id}|{row.expires_at}", until=until
    ):
        return 0
    still = connection.scalar(
        select(Assignment.expires_at).where(
            Assignment.card_id == row.card_id, Assignment.person_id == row.person_id
        )
    )
    if still != row.expires_at:
        return 0
    person = people.get(connection, row.firm_id, row.person_id)
    sender = Sender(row.firm, parse(row.policy))
    letters.about_end(
        connection, ring, sender, person, row.serial, now, until=row.expires_at, over=over
    )
    return 1
