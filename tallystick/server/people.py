"""People of a firm."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from tallystick.server.models import Person
from tallystick.server.policy import PersonRole


def ensure(connection: Connection, firm_id: int, login: str, now: float) -> int:
    """The id of the person with this login, made known if new."""
    query = select(Person.id).where(Person.firm_id == firm_id, Person.login == login)
    known = connection.scalar(query)
    if known is not None:
        return known
    try:
        with connection.begin_nested():
            connection.execute(insert(Person), new_row(firm_id, login, PersonRole.USER, now))
    except IntegrityError:  # another worker was first
        pass
    return connection.execute(query).scalar_one()


def new_row(firm_id: int, login: str, role: PersonRole, now: float) -> dict[str, Any]:
    return {
        "firm_id": firm_id,
        "login": login,
        "role": role.value,
        "failures": 0,
        "lockout_s": 0,
        "blocked_until": 0,
        "created_at": int(now),
    }
