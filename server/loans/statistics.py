"""What a desk did, day by day in the firm's time zone: counted from the audit log."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from tallystick.server.store.audit import acts_of

COUNTED = {
    "card-lent": "lent",
    "card-returned": "returned",
    "card-assigned": "assigned",
    "card-registered": "registered",
    "card-lost": "lost",
    "card-found": "found",
    "card-retired": "retired",
    "card-resynchronised": "resynchronised",
    "card-code-refused": "codes refused",
    "card-undone": "undone",
}


@dataclass
class Statistics:
    """days: of the firm's calendar, oldest first, with how often each act was done. totals: of all
    days. by_actor: credential → acts. late: returns after the end of a loan. without_code: acts for
    a stated reason. found_again: drifted cards, and presses: how far the furthest was. loan_s: half
    of the loans that came back were no longer; None where none did."""

    days: dict[str, Counter[str]] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    by_actor: Counter[str] = field(default_factory=Counter)
    late: int = 0
    without_code: int = 0
    found_again: int = 0
    presses: int = 0
    loan_s: int | None = None


def of_desk(
    connection: Connection, firm_id: int, zone: ZoneInfo, *, days: int, now: float
) -> Statistics:
    """The last so many days, today among them. An act that was undone is counted, and so is that it
    was undone."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    made = Statistics()
    for back in range(days - 1, -1, -1):
        made.days[(today - timedelta(days=back)).isoformat()] = Counter()
    first = datetime.fromisoformat(min(made.days)).replace(tzinfo=zone).timestamp()
    rows = acts_of(connection, firm_id, int(first * 1000), COUNTED)
    lent: dict[str, int] = {}
    lengths: list[int] = []
    for row in rows:
        word = COUNTED[row.action]
        at = row.at_ms // 1000
        day = datetime.fromtimestamp(at, UTC).astimezone(zone).date().isoformat()
        made.days.setdefault(day, Counter())[word] += 1
        made.totals[word] += 1
        made.by_actor[row.actor] += 1
        detail = json.loads(row.detail) if row.detail else {}
        made.without_code += "without_code" in detail
        if skipped := int(detail.get("skipped", 0)):
            made.found_again += 1
            made.presses = max(made.presses, skipped)
        if word == "lent":
            lent[row.subject] = at
        elif word == "returned":
            made.late += bool(detail.get("overdue_s"))
            if row.subject in lent:
                lengths.append(at - lent.pop(row.subject))
    made.loan_s = int(median(lengths)) if lengths else None
    return made
