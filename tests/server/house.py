"""A server without its HTTP, asked in this process: what guards refuse, is refused at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyotp
import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy.sql import Select

from tallystick.common.secret import Secret
from tallystick.server.accounts import credentials, firms, passwords, people, sessions
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.methods import METHODS
from tallystick.server.signing_in import login
from tallystick.server.signing_in.login import Browser, Signed
from tallystick.server.signing_in.second import as_person, context_of
from tallystick.server.state import ServerState
from tallystick.server.stock import cards
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.database import WRITTEN, WRITTEN_CHAINS, Database
from tallystick.server.store.models_login import MessageRow

PASSWORD = "correct horse battery"
HERE = Browser("192.0.2.1", "a browser")
TOTP = MethodKind.TOTP


def refused(code: str):
    """An ApiError with this code."""
    return pytest.raises(ApiError, check=lambda error: error.code == code)


def locked_by(connection: Connection, act: Callable[[], object]) -> set[str]:
    """→ the tables whose rows were locked"""
    seen: set[str] = set()

    def note(_connection, clause, *_):
        if isinstance(clause, Select) and clause._for_update_arg is not None:
            seen.update(table.name for table in clause.get_final_froms())

    event.listen(connection, "before_execute", note)
    try:
        act()
    finally:
        event.remove(connection, "before_execute", note)
    return seen


def act(house, what, *arguments, **more):
    """In a transaction of its own."""
    with house.write() as connection:
        return what(house.state, connection, *arguments, **more)


def acts(house) -> list[tuple[str, str]]:
    """(action, subject) of each entry of the audit log, the oldest first."""
    with house.write() as connection:
        query = "SELECT action, subject FROM audit ORDER BY number"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def seed_of(serial: str) -> bytes:
    return serial.encode() * 10


def stocked(house, serial="A1", **more: Any) -> None:
    """A card in the stock, registered by a station of its own."""
    with house.write() as connection:
        ring, now = house.state.ring, house.clock()
        made = credentials.add(
            connection, ring, role=Role.STATION, name=serial, now=now, actor="test"
        )
        station = Caller(made.id, 1, Role.STATION, serial, "")
        seed = CardSeed(serial, Secret(seed_of(serial)), 0, **more)
        cards.register(connection, ring, station, [seed], now)


class House:
    """A server without its HTTP, one firm, and people in it."""

    def __init__(self, state: ServerState, clock) -> None:
        self.state, self.clock = state, clock

    def write(self):
        return self.state.database.write()

    @property
    def firm(self):
        with self.state.database.read() as connection:
            return firms.by_name(connection, "default")

    def policy(self, **fields) -> None:
        with self.write() as connection:
            policy = FirmPolicy.model_validate(self.firm.policy.model_dump() | fields)
            firms.set_policy(
                connection, self.state.ring, self.firm.id, policy, now=self.clock(), actor="test"
            )

    def person(self, name="ann", *, enrolled=True, firm="default"):
        with self.write() as connection:
            firm_id = firms.by_name(connection, firm).id
            number = people.add(
                connection, firm_id=firm_id, login=name, role=PersonRole.USER, email=None,
                now=self.clock(),
            )  # fmt: skip
            passwords.store(connection, number, passwords.hash_new(PASSWORD), now=self.clock())
        self.enrol(name) if enrolled else None
        return self.known(name)

    def known(self, name="ann"):
        with self.state.database.read() as connection:
            return people.by_login(connection, self.firm.id, name)

    def change(self, name="ann", **values) -> None:
        with self.write() as connection:
            people.change(connection, self.firm.id, self.known(name).id, **values)

    def context(self, connection):
        firm = firms.by_name(connection, "default")
        return context_of(self.state, connection, firm.id, firm.name, firm.policy, "192.0.2.1")

    def enrol(self, name="ann") -> str:
        """An authenticator app. → its key; `code` gives its codes."""
        with self.write() as connection:
            context, owner = (
                self.context(connection),
                as_person(people.by_login(connection, self.firm.id, name)),
            )
            started = METHODS[TOTP].start(context, owner, {})
            self.app = pyotp.TOTP(started.show["secret"])
            verdict = METHODS[TOTP].finish(context, owner, started.key, {"code": self.code()})
            assert verdict.accepted
            people.note_enrolment(connection, owner.id, self.clock())
        self.clock.advance(60)
        self.key = started.key
        return started.key

    def code(self) -> str:
        return self.app.at(int(self.clock()))

    def wrong(self) -> str:
        return f"{(int(self.code()) + 1) % 10**6:06}"

    def first(self, name="ann", password=PASSWORD, browser=HERE, **more):
        return login.with_password(self.state, "default", name, password, browser, "/next", **more)

    def second(self, token, code=None, browser=HERE, key=None, **more):
        return login.with_factor(
            self.state, "default", token, TOTP, key or self.key, {"code": code or self.code()},
            browser, **({"remember": False} | more),
        )  # fmt: skip

    def sign_in(self, name="ann", browser=HERE, **more) -> Signed:
        signed = self.second(self.first(name, browser=browser).attempt, browser=browser, **more)
        assert isinstance(signed, Signed)
        self.clock.advance(60)
        return signed

    def session(self, token, firm_id=None):
        with self.state.database.read() as connection:
            return sessions.current(connection, token, firm_id or self.firm.id, self.clock())


class UndoneDatabase:
    """One transaction that is never committed: each of a test's own is a savepoint in it. Nothing
    waits for a disk, and the next test finds nothing of it. Gathered rows do not wait beside it:
    they come in as on PostgreSQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def write(self, *_gathered: GatheredRows) -> Iterator[Connection]:
        with self._connection.begin_nested():
            self._connection.info.update({WRITTEN: [], WRITTEN_CHAINS: []})
            yield self._connection

    read = snapshot = write
    run: Any = Database.run


class KnockedOutbox:
    """Sends nothing. woken: of each time that it was told that there may be something, how many
    messages there were."""

    def __init__(self, channels: frozenset[str], database: UndoneDatabase) -> None:
        self.channels, self._database = channels, database
        self.woken: list[int] = []

    def wake(self) -> None:
        with self._database.read() as connection:
            self.woken.append(connection.scalar(select(func.count()).select_from(MessageRow)))
