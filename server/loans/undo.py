"""Taking back what was just done at a desk, for two minutes, where nothing has left the house: no
message about it was sent (they wait as long), the card was not used since, and nobody else did
anything with it. Only whoever did it can. A code that was used up by the act stays so: counters
never go back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.messages import outbox
from tallystick.server.stock.cards import describe, find
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, DeskActRow
from tallystick.server.wording.worded import worded

UNDO_S = 120
WORDS = {
    "lend": worded("loan"),
    "assign": worded("assignment"),
    "give_back": worded("return"),
    "take_back": worded("return"),
    "replace": worded("replacement"),
    "retire": worded("retirement"),
}
Answer = dict[str, Any] | ApiError
Places = dict[str, Any]
"""Serial number → where that card is: its status, and the row of whoever has it."""


def undoable(
    connection: Connection,
    caller: Caller,
    serials: Sequence[str],
    act: str,
    now: float,
    work: Callable[[], Answer],
) -> Answer:
    """Do an act on these cards, and keep for a while how they were. → its answer, with
    `undo_until` (seconds since 1970) where it can be undone"""
    before = _places(connection, caller, serials)
    with outbox.held_back(connection, UNDO_S) as messages:
        answer = work()
    if isinstance(answer, ApiError):
        return answer
    after = _places(connection, caller, serials)
    if _without_factors(before) == _without_factors(after):
        return answer
    until = int(now) + UNDO_S
    kept = {"before": before, "after": after, "messages": messages}
    for serial in serials:
        card_id = find(connection, caller, serial).id
        connection.execute(delete(DeskActRow).where(DeskActRow.card_id == card_id))
        connection.execute(
            insert(DeskActRow),
            {
                "card_id": card_id,
                "actor": caller.id,
                "act": WORDS.get(act, act),
                "until": until,
                "kept": json.dumps(kept),
            },
        )
    return answer | {"undo_until": until}


def undo(
    connection: Connection, ring: ServerKeyRing, caller: Caller, serial: str, *, now: float
) -> dict[str, Any]:
    """Put everything back as it was before the last act on a card. → the card

    Raises ApiError: 404; 409 where there is nothing to undo, or no longer.
    """
    row = find(connection, caller, serial, lock=True)
    done = connection.execute(
        select(DeskActRow.actor, DeskActRow.act, DeskActRow.until, DeskActRow.kept).where(
            DeskActRow.card_id == row.id
        )
    ).one_or_none()
    if done is None or now >= done.until:
        raise _refused(serial, worded("it was done more than two minutes ago") if done else "")
    if done.actor != caller.id:
        raise _refused(serial, worded("somebody else did it"))
    kept = json.loads(done.kept)
    serials = sorted(kept["after"])
    rows = {one: find(connection, caller, one, lock=True) for one in serials}
    if _places(connection, caller, serials) != kept["after"]:
        raise _refused(
            serial, worded("the card was used since, or something else was done with it")
        )
    for place in kept["before"].values():
        if place["held"] is not None:
            had = people.get(connection, caller.firm_id, place["held"]["person_id"])
            holding.must_cover(caller, had)
    if not outbox.call_back(connection, kept["messages"], due_at=done.until):
        raise _refused(serial, worded("a message about it is on its way"))
    facts = {"undone": done.act}
    for one in serials:
        holder = _put_back(connection, caller, rows[one], kept["before"][one])
        holding.note(connection, ring, caller, "card-undone", one, now, **facts, **holder)
    ids = [row.id for row in rows.values()]
    connection.execute(delete(DeskActRow).where(DeskActRow.card_id.in_(ids)))
    return describe(connection, caller, serial, now)


def open_for(
    connection: Connection, caller: Caller, serials: Sequence[str], now: float
) -> dict[str, str]:
    """Of these cards, those whose last act the caller can still undo: serial number → the act."""
    rows = connection.execute(
        select(CardRow.serial, DeskActRow.act)
        .join(CardRow, CardRow.id == DeskActRow.card_id)
        .where(
            CardRow.firm_id == caller.firm_id,
            CardRow.serial.in_(serials),
            DeskActRow.actor == caller.id,
            DeskActRow.until > int(now),
        )
    )
    return {row.serial: row.act for row in rows}


def forget(connection: Connection, caller: Caller, serial: str) -> None:
    """What was done with this card is no longer to be undone."""
    card_id = find(connection, caller, serial).id
    connection.execute(delete(DeskActRow).where(DeskActRow.card_id == card_id))


def _put_back(
    connection: Connection, caller: Caller, row: AnyRow, place: dict[str, Any]
) -> dict[str, str]:
    """→ who had it, or has it again, for the audit log"""
    mine = Assignment.card_id == row.id
    who = connection.scalar(select(Assignment.person_id).where(mine))
    connection.execute(delete(Assignment).where(mine))
    connection.execute(update(CardRow).where(CardRow.id == row.id).values(status=place["status"]))
    facts = {} if who is None else {"of": people.get(connection, caller.firm_id, who).login}
    if place["held"] is not None:
        connection.execute(insert(Assignment), {"card_id": row.id, **place["held"]})
        back = people.get(connection, caller.firm_id, place["held"]["person_id"])
        facts["to"] = back.login
    return facts


def _places(connection: Connection, caller: Caller, serials: Sequence[str]) -> Places:
    places: Places = {}
    for serial in serials:
        row = find(connection, caller, serial, lock=True)
        held = connection.execute(
            select(
                Assignment.person_id, Assignment.assigned_at, Assignment.assigned_by,
                Assignment.expires_at, Assignment.label, Assignment.confirmed_at,
            ).where(Assignment.card_id == row.id)
        ).one_or_none()  # fmt: skip
        places[serial] = {
            "status": CardStatus(row.status).value,
            "factor": row.moving_factor,
            "held": None if held is None else dict(held._mapping),
        }
    return places


def _without_factors(places: Places) -> Places:
    return {serial: place | {"factor": 0} for serial, place in places.items()}


def _refused(serial: str, why: str) -> ApiError:
    return ApiError(
        409,
        "nothing-to-undo",
        worded("There is nothing to undo for card {serial}: {why}.", serial=serial, why=why)
        if why
        else worded("There is nothing to undo for card {serial}.", serial=serial),
        kept=NOTHING_CHANGED,
        todo="Do what puts it right: return, lend, lost or found.",
    )
