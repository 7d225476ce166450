"""Numbers of rows that others remember: in a form, a request, an entry of the audit log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from tallystick.common import chance

SKIPPED = 2**20


def unused(connection: Connection, number: Any) -> dict[str, int]:
    """The next number for a column that counts rows, as a value of the new row. SQLite would give
    that of whatever was deleted last again, and what names the one would name the other: it is as
    far ahead as chance says. Others' databases see to it themselves: nothing."""
    if connection.dialect.name != "sqlite":
        return {}
    return {number.name: highest(connection, number) + 1 + chance.randbelow(SKIPPED)}


def highest(connection: Connection, number: Any) -> int:
    """In a column; 0 without rows."""
    return connection.scalar(select(func.max(number))) or 0
