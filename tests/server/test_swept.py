"""What has an end is swept when it is over."""

from __future__ import annotations

import re

from sqlalchemy import Engine, event

from tallystick.server.store import housekeeping
from tallystick.server.store.models import Base

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
