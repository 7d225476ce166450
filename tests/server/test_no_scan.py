"""No request reads a whole table that grows: the database's own plan of each statement says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Engine, event

from tallystick.server.accounts import people, trail
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.people import canonical
from tallystick.server.joining import listing, overview, reminding
from tallystick.server.joining.listing import PeopleOrder, PeopleQuery
from tallystick.server.loans import card_list, desk, history
from tallystick.server.loans.card_list import CardOrder, CardQuery
from tallystick.server.store.paging import RowMark
from tallystick.server.store.stream import Names
from tests.server.conftest import bearer
from tests.server.test_people_bulk import FIRM, import_

GROWING = {
    "person", "card", "assignment", "audit", "factor", "session", "tombstone", "departed",
    "attempt", "check_answer", "remembered_device", "ticket_card", "desk_act",
}  # fmt: skip
SCAN = re.compile(r"SCAN (\w+)")


class Plans:
    """What SQLite would do for each statement. scans: (table, statement)."""

    def __init__(self) -> None:
        self.scans: list[tuple[str, str]] = []
        self.statements = 0
        self._seen: set[str] = set()

    def note(self, connection, _cursor, statement, parameters, _context, many) -> None:
        if many or statement in self._seen or not re.match("SELECT|UPDATE|DELETE", statement):
            return
        self._seen.add(statement)
        self.statements += 1
        plain = connection.connection.dbapi_connection.cursor()
        plan = plain.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        named = dict(re.findall(r"(?:FROM|JOIN) (\w+) AS (\w+)", statement))
        aliases = {alias: table for table, alias in named.items()}
        for *_, line in plan:
            found = SCAN.match(line)
            table = found and aliases.get(found.group(1), found.group(1))
            if table in GROWING:
                self.scans.append((line, statement))


@contextmanager
def plans() -> Iterator[Plans]:
    made = Plans()
    event.listen(Engine, "before_cursor_execute", made.note)
    try:
        yield made
    finally:
        event.remove(Engine, "before_cursor_execute", made.note)


def test_a_scan_is_seen(house):
    with plans() as seen, house.state.database.read() as connection:
        connection.exec_driver_sql("SELECT login FROM person WHERE full_name = 'x'")
    assert [line for line, _ in seen.scans] == ["SCAN person"]


def test_checks_desk_and_lists(server):
    seed = server.card("TS-1", user="ann")
    from tallystick.server.rules.otp import hotp

    admin = bearer(server.admin)
    with plans() as seen:
        assert server.verify(hotp(seed, 0, 6)).json()["accepted"]
        server.verify("000000", user=None, serial="TS-1")
        server.resynchronise(hotp(seed, 1, 6), hotp(seed, 2, 6))
        for path in (
            "/v1/cards/TS-1", "/v1/cards", "/v1/cards?after=TS-0", "/v1/cards?where=lent",
            "/v1/cards/TS-1/history", "/v1/people", "/v1/people?after=a", "/v1/people/1",
            "/v1/person?user=ann", "/v1/login?user=an", "/v1/whoami", "/v1/people/behind",
            "/v1/people/invitations", "/v1/desk",
        ):  # fmt: skip
            answer = server.client.get(path, headers=admin)
            assert answer.status_code < 500, path
        server.assign("TS-1", "ann", server.admin)
    assert seen.statements > 20
    assert seen.scans == []


def test_pages_of_staff(house):
    import_(house, FIRM)
    names, now, firm = Names(house.state.database), house.clock(), house.firm
    caller = Caller("person:1", firm.id, Role.DESK, "x", "")
    with plans() as seen, house.state.database.read() as connection:
        for order in PeopleOrder:
            for down in (False, True):
                asked = PeopleQuery(order=order, down=down)
                later = listing.page(connection, firm.id, asked, now).later
                listing.page(connection, firm.id, replace(asked, after=later), now)
                listing.page(connection, firm.id, replace(asked, before=later), now)
        for by in CardOrder:
            card_list.page(connection, firm.id, CardQuery(order=by, after=str(RowMark(1, 1))), now)
        people.login_of(connection, firm.id, "user1@example.org")
        people.of_logins(connection, firm.id, [canonical("user1")])
        for sought in (
            trail.Sought(), trail.Sought(person="user1"), trail.Sought(act="person-added"),
            trail.Sought(address="192.0.2.1"), trail.Sought(since_ms=1, until_ms=2),
        ):  # fmt: skip
            trail.page(connection, names, firm.id, sought, after=None, limit=50)
        history.of_card(connection, firm.id, "TS-1")
        desk.held_by(connection, caller, 1, now)
        overview.of_firm(connection, firm, caller, now)
        list(reminding.behind(connection, firm, now))
        reminding.count(connection, firm)
    assert seen.scans == []


def test_signing_in(house):
    house.person()
    with plans() as seen:
        house.sign_in()
    assert seen.scans == []
