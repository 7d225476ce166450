"""A firm at a glance: how far enrolment is, how people sign in, what needs somebody."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, func, or_, select

from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.joining import listing
from tallystick.server.joining.listing import PeopleFilter
from tallystick.server.loans import desk, holding
from tallystick.server.loans.desk import Whereabouts
from tallystick.server.store.audit import acts_of
from tallystick.server.store.models import (
    Assignment,
    CardRow,
    PersonRow,
)
from tallystick.server.store.models_login import Factor, MessageRow
from tallystick.server.wording.worded import worded

DAYS = 14
SHOWN = ("signed-in", "password-wrong", "card-returned", "card-retired", "card-replaced")
# Words of the staff's reasons, whole or with an ending: "follow-up" and "cancelled" are none.
FLAT = re.compile(
    r"\b(flat|empty|cells?|low|leere?|piles?|bater[ií]as?|batter\w*)\b", re.IGNORECASE
)
# Names of RFC 8176, as `amr` of a sign-in has them, in words.
_KEY = worded("security key")
METHOD_WORDS = {
    "pwd": worded("password alone"), "otp": worded("app or card"), "hwk": _KEY, "swk": _KEY,
    "pop": _KEY, "fpt": _KEY, "user": _KEY, "sms": worded("text message"),
    "mca": worded("e-mail"),
}  # fmt: skip


@dataclass(frozen=True)
class Overview:
    """people: who may sign in. signed_in: day of the firm's calendar → kind of method → how often.
    cards: where they are. due_today: loans that end before the firm's next day. flat: returns for
    the battery's sake in the last days. failing: messages that did not go out at the first try."""

    people: int
    enrolled: int
    by_method: dict[str, int]
    without: int
    locked: int
    disabled: int
    signed_in: dict[str, Counter[str]]
    failed: dict[str, int]
    cards: dict[Whereabouts, int]
    due_today: int
    flat: int
    failing: dict[str, int]


def of_firm(connection: Connection, firm: KnownFirm, caller: Caller, now: float) -> Overview:
    """now: seconds since 1970. The last two weeks, today among them."""
    zone = ZoneInfo(firm.policy.time_zone)
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    days = [(today - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1)]
    since = datetime.fromisoformat(days[0]).replace(tzinfo=zone).timestamp()
    signed_in: dict[str, Counter[str]] = {day: Counter() for day in days}
    failed = dict.fromkeys(days, 0)
    flat = 0
    rows = acts_of(connection, firm.id, int(since * 1000), SHOWN)
    for row in rows:
        detail = json.loads(row.detail) if row.detail else {}
        day = datetime.fromtimestamp(row.at_ms / 1000, UTC).astimezone(zone).date().isoformat()
        if day not in failed:
            continue
        if row.action == "signed-in":
            signed_in[day][_method(str(detail.get("amr", "")))] += 1
        elif row.action == "password-wrong":
            failed[day] += 1
        else:
            reason = str(detail.get("without_code", detail.get("reason", "")))
            flat += FLAT.search(reason) is not None
    counted = {one: _count(connection, firm, one, now) for one in PeopleFilter}
    return Overview(
        people=counted[PeopleFilter.ALL] - counted[PeopleFilter.DISABLED],
        enrolled=counted[PeopleFilter.ALL]
        - counted[PeopleFilter.DISABLED]
        - counted[PeopleFilter.WITHOUT],
        by_method=_by_method(connection, firm, now),
        without=counted[PeopleFilter.WITHOUT],
        locked=counted[PeopleFilter.LOCKED],
        disabled=counted[PeopleFilter.DISABLED],
        signed_in=signed_in,
        failed=failed,
        cards=desk.counts(connection, caller, now),
        due_today=_due_today(connection, firm, now),
        flat=flat,
        failing=_failing(connection, firm),
    )


def _count(connection: Connection, firm: KnownFirm, one: PeopleFilter, now: float) -> int:
    return listing.count(connection, firm.id, one, now)


def _method(amr: str) -> str:
    used = amr.split(",")
    for name in used:
        if name not in ("pwd", "mfa", "") and name in METHOD_WORDS:
            return METHOD_WORDS[name]
    return worded("other") if "mfa" in used else METHOD_WORDS["pwd"]


def _by_method(connection: Connection, firm: KnownFirm, now: float) -> dict[str, int]:
    """Kind of factor → how many people who may sign in have one that works."""
    query = (
        select(Factor.kind, func.count(func.distinct(Factor.person_id)))
        .join(PersonRow, PersonRow.id == Factor.person_id)
        .where(
            Factor.firm_id == firm.id,
            Factor.confirmed_at.is_not(None),
            PersonRow.disabled_at.is_(None),
        )
        .group_by(Factor.kind)
    )
    found = dict(connection.execute(query).all())
    holders = connection.scalar(
        select(func.count(func.distinct(Assignment.person_id)))
        .join(PersonRow, PersonRow.id == Assignment.person_id)
        .join(CardRow, CardRow.id == Assignment.card_id)
        .where(
            PersonRow.firm_id == firm.id,
            PersonRow.disabled_at.is_(None),
            CardRow.status == holding.CardStatus.REGISTERED.value,
            _live(now),
        )
    )
    return found | ({"card": holders} if holders else {})


def _live(now: float) -> ColumnElement[bool]:
    return or_(Assignment.expires_at.is_(None), Assignment.expires_at > int(now))


def _due_today(connection: Connection, firm: KnownFirm, now: float) -> int:
    zone = ZoneInfo(firm.policy.time_zone)
    tomorrow = datetime.fromtimestamp(now, UTC).astimezone(zone).date() + timedelta(days=1)
    midnight = int(datetime.combine(tomorrow, datetime.min.time(), zone).timestamp())
    query = (
        select(func.count())
        .select_from(Assignment)
        .join(CardRow, CardRow.id == Assignment.card_id)
        .where(
            CardRow.firm_id == firm.id,
            CardRow.status == holding.CardStatus.REGISTERED.value,
            Assignment.expires_at > int(now),
            Assignment.expires_at <= midnight,
        )
    )
    return connection.execute(query).scalar_one()


def _failing(connection: Connection, firm: KnownFirm) -> dict[str, int]:
    """Channel → messages that wait after a try."""
    query = (
        select(MessageRow.channel, func.count())
        .where(MessageRow.firm_id == firm.id, MessageRow.tries > 0)
        .group_by(MessageRow.channel)
    )
    return dict(connection.execute(query).all())
