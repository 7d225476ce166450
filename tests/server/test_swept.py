"""What has an end is swept when it is over."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from tallystick.server.store import housekeeping
from tallystick.server.store.database import Database
from tallystick.server.store.declared import Base

ENDS = {"expires_at", "ends_at", "until"}
# Loans that are over stay, for the card is overdue; so do tickets, which an order was made with.
# Messages are given up, and deleted, by whoever sends them.
STAY = {"assignment", "ticket", "message"}


def test_every_table_with_an_end_is_swept(house):
    """A new one with an end that nobody sweeps would grow for ever."""
    swept: set[str] = set()

    def note(_connection, _cursor, statement, *_more) -> None:
        found = re.match(r"DELETE FROM (\w+) WHERE (.*)", statement, re.DOTALL)
        if found and any(end in found.group(2) for end in ENDS):
            swept.add(found.group(1))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        housekeeping.sweep(house.state.database, house.clock())
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    with_an_end = {
        name for name, table in Base.metadata.tables.items() if ENDS & set(table.columns.keys())
    }
    assert with_an_end - STAY <= swept, with_an_end - STAY - swept
    assert with_an_end >= STAY
    assert with_an_end - STAY <= SWEPT.keys()


NOW = 2_000_000_000
DAY_S = 86400
# → what is swept at NOW, and what is not: a second less, or of another kind
SWEPT = {
    "attempt": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "check_answer": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "desk_act": [({"until": NOW}, True), ({"until": NOW + 1}, False)],
    "factor": [
        ({"confirmed_at": None, "created_at": NOW - DAY_S}, True),
        ({"confirmed_at": None, "created_at": NOW - DAY_S + 1}, False),
        ({"confirmed_at": 1, "created_at": 1}, False),
    ],
    "help_request": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "oidc_again": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "oidc_code": [
        ({"expires_at": NOW, "session_id": 0}, True),
        ({"expires_at": NOW + 1, "session_id": 0}, False),
    ],
    "oidc_grant": [
        ({"expires_at": NOW, "session_id": 0}, True),
        ({"expires_at": NOW + 1, "session_id": 0}, False),
    ],
    "oidc_logout": [
        ({"expires_at": NOW, "due_at": None}, True),
        ({"expires_at": NOW + 1, "due_at": None}, False),
        ({"expires_at": NOW, "due_at": 0}, False),  # a service that is not told yet
    ],
    "oidc_request": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "rate": [({"ends_at": NOW}, True), ({"ends_at": NOW + 1}, False)],
    "remembered_device": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "sent_code": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "session": [({"expires_at": NOW}, True), ({"expires_at": NOW + 1}, False)],
    "signing_key": [
        ({"retired_at": NOW - 30 * DAY_S}, True),
        ({"retired_at": NOW - 30 * DAY_S + 1}, False),
        ({"retired_at": None}, False),
    ],
}


def row_of(table, number: int, values: dict[str, object]) -> dict[str, object]:
    """Something in every column, and another in each row."""
    made: dict[str, object] = {}
    for column in table.columns:
        kind = column.type.python_type
        made[column.name] = number if kind is int else f"x{number}"
        if kind is bytes:
            made[column.name] = f"x{number}".encode()
    return made | values


def test_what_is_not_over_stays(house):
    """To the second: help that is not over, tries that are counted, factors that are enrolled."""
    tables = Base.metadata.tables
    file = make_url(house.state.settings.db_url).database
    with closing(sqlite3.connect(file)) as raw:  # whose foreign keys are not looked at
        number = 1000
        for name, cases in SWEPT.items():
            for values, _ in cases:
                number += 1
                row = row_of(tables[name], number, values)
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                raw.execute(f"INSERT INTO {name} ({names}) VALUES ({marks})", [*row.values()])
        raw.commit()
    housekeeping.sweep(Database(f"sqlite:///{file}"), NOW)
    with closing(sqlite3.connect(file)) as raw:
        left = {name: rows(raw, tables[name]) for name in SWEPT}
    stay = {name: sum(not over for _, over in cases) for name, cases in SWEPT.items()}
    assert left == stay


def rows(raw: sqlite3.Connection, table) -> int:
    return raw.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()[0]
