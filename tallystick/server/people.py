"""People of a firm."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from tallystick.server.models import Person


def ensure(connection: Connection, firm_id: int, login: str, now: float) -> int:
    """The id of the person with this login, made known if new."""
    query = select(Person.id).where(Person.firm_id == firm_id, Person.login == login)
    known = connection.scalar(query)
    if known is not None:
        return known
    try:
        with connection.begin_nested():
            connection.execute(
                insert(Person), {"firm_id": firm_id, "login": login, "created_at": int(now)}
            )
    except IntegrityError:  # another worker was first
        pass
    return connection.execute(query).scalar_one()
