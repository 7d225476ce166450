"""Cards in the stock of a house without HTTP, and people who may have them."""

from __future__ import annotations

import json

from sqlalchemy import select, update

from tallystick.server.loans import holding
from tallystick.server.stock import cards
from tallystick.server.store.audit import AuditEntry
from tallystick.server.store.models import Assignment, CardRow
from tests.server.house import stocked


class Stock:
    """Cards A1 and B2 in the stock of a house with ann, bob, support sue and boss."""

    def __init__(self, house) -> None:
        self.house = house
        for name, role in (("ann", "user"), ("bob", "user"), ("sue", "support"),
                           ("boss", "administrator")):  # fmt: skip
            house.person(name, enrolled=False)
            house.change(name, role=role, email=f"{name}@x.org", enrolled_at=None)
        for serial in ("A1", "B2"):
            stocked(house, serial)

    @property
    def now(self) -> float:
        return self.house.clock()

    def caller(self, name="boss"):
        person = self.house.known(name)
        return cards.staff(person.id, person.firm_id, person.login, person.role)

    def do(self, what, *arguments, by="boss", **named):
        with self.house.write() as connection:
            return what(
                connection, self.house.state.ring, self.caller(by), *arguments, now=self.now,
                **named,
            )  # fmt: skip

    def assign(self, serial="A1", login="ann", **more):
        return self.do(holding.assign, serial, login=login, **more)

    def lend(self, serial="A1", login="ann", *, hours=1, **more):
        until = None if hours is None else int(self.now) + int(3600 * hours)
        return self.do(
            holding.lend, serial, login=login, policy=self.house.firm.policy, until=until, **more
        )

    def take_back(self, serial="A1", **more):
        return self.do(holding.take_back, serial, **more)

    def status(self, status, serial="A1", **more):
        return self.do(holding.set_status, serial, status=status, **more)

    def held(self, serial="A1"):
        """→ the row of whoever has the card"""
        query = select(*Assignment.__table__.columns).join(
            CardRow, CardRow.id == Assignment.card_id
        )
        with self.house.write() as connection:
            return connection.execute(query.where(CardRow.serial == serial)).one_or_none()

    def row(self, serial="A1"):
        with self.house.write() as connection:
            return cards.find(connection, self.caller(), serial)

    def card(self, serial="A1", **values) -> None:
        with self.house.write() as connection:
            connection.execute(update(CardRow).where(CardRow.serial == serial).values(**values))

    def told(self, many=1):
        """The last entries of the audit log: action, subject, facts."""
        query = select(AuditEntry.action, AuditEntry.subject, AuditEntry.detail).order_by(
            AuditEntry.number.desc()
        )
        with self.house.write() as connection:
            rows = connection.execute(query.limit(many)).all()
        return [(*row[:2], json.loads(row.detail or "{}")) for row in reversed(rows)]
