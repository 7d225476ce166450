"""Serial numbers of new devices, given out in runs: no number twice, whichever stations ask, and
whatever becomes of the answer. Every function runs in its caller's transaction."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import CardRow, SerialBlock, SerialRange

MOST = 1000  # numbers in a run
_RUNNING = re.compile(r"([0-9A-Z]*?)([0-9]+)")


def reserve(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    request: str,
    first: str,
    count: int,
    now: float,
) -> dict[str, Any]:
    """The next `count` numbers of the range that `first` is of, none below it; the same ones when
    the same station asks with the same `request` again. Raises ApiError (409) for a request of
    another kind, or a range that is used up."""
    match = _RUNNING.fullmatch(first)
    assert match is not None  # the API checked its form
    letters, digits = match[1], len(match[2])
    range_of = (
        SerialRange.firm_id == caller.firm_id,
        SerialRange.letters == letters,
        SerialRange.digits == digits,
    )
    _begin(connection, caller, letters, digits)
    # From here on nobody else is in this range: it is locked until the transaction ends.
    connection.execute(update(SerialRange).where(*range_of).values(next=SerialRange.next))
    known = connection.execute(
        select(*SerialBlock.__table__.columns).where(
            SerialBlock.firm_id == caller.firm_id, SerialBlock.request == request
        )
    ).one_or_none()
    if known is not None:
        kind = _RUNNING.fullmatch(known.first)
        assert kind is not None
        had = int(known._mapping["count"])  # `count` of a row is what it is of a tuple
        if (known.station, had, kind[1], len(kind[2])) != (
            caller.id, count, letters, digits,
        ):  # fmt: skip
            raise ApiError(
                409, "other-request", "Another reservation was asked for with this request's name.",
                kept=NOTHING_CHANGED, todo="Ask with a name of its own: 32 random hex digits.",
            )  # fmt: skip
        return {"first": known.first, "count": had}
    free = int(connection.execute(select(SerialRange.next).where(*range_of)).scalar_one())
    start = max(free, int(match[2]))
    if len(str(start + count - 1)) > digits:
        raise ApiError(
            409, "range-used-up",
            f"There are no {count} numbers from {letters}{start:0{digits}} on.",
            kept=NOTHING_CHANGED, todo="Begin another range, with other letters.",
        )  # fmt: skip
    given = f"{letters}{start:0{digits}}"
    connection.execute(update(SerialRange).where(*range_of).values(next=start + count))
    connection.execute(
        insert(SerialBlock),
        {
            "firm_id": caller.firm_id, "request": request, "first": given, "count": count,
            "station": caller.id, "reserved_at": int(now),
        },
    )  # fmt: skip
    act = Act(
        int(now * 1000), caller.firm_id, caller.id, "serials-reserved", given, {"count": count}
    )
    record(connection, ring, [act])
    return {"first": given, "count": count}


def _begin(connection: Connection, caller: Caller, letters: str, digits: int) -> None:
    """The range is there, and begins above every card that is registered already."""
    lowest, highest = (letters + digit * digits for digit in "09")
    taken = connection.execute(
        select(func.max(CardRow.serial)).where(
            CardRow.firm_id == caller.firm_id,
            CardRow.serial.between(lowest, highest),
            func.length(CardRow.serial) == len(lowest),
        )
    ).scalar_one()
    number = taken[len(letters) :] if taken else ""
    start = int(number) + 1 if number.isdigit() else 0
    values = {"firm_id": caller.firm_id, "letters": letters, "digits": digits, "next": start}
    try:
        with connection.begin_nested():
            connection.execute(insert(SerialRange), values)
    except IntegrityError:
        pass  # it was begun before
