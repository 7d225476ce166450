"""Whatever is sought in the audit log is found by an index, whole, once, and the newest first."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Engine, event, insert, select

from tallystick.server.accounts import trail
from tallystick.server.accounts.trail import Sought
from tallystick.server.loans import history, statistics
from tallystick.server.settings import settings_from
from tallystick.server.store import audit, housekeeping, schema
from tallystick.server.store.database import Database
from tallystick.server.store.models import AuditEntry, CredentialRow
from tallystick.server.store.opened import opened
from tallystick.server.store.roads import Place, looked_at
from tallystick.server.store.said import Said, SaidFrom, SaidOf, SaidTo, SaidUser, says
from tallystick.server.store.stream import Names

FIRM, LOGINS = 1, ("ann", "bob", 'q"uo\\te', "zoë")
ACTS = ("verified", "card-lent", "card-registered", "signed-in", "resynchronised")
SAID = {"user": SaidUser, "to": SaidTo, "of": SaidOf, "from": SaidFrom}


def written(connection: Connection, many: int = 400) -> list[dict]:
    """Entries of all kinds in several chains, many of them at one time, some of another firm."""
    dice = random.Random(7)
    rows = []
    for at in range(many):
        detail = {
            key: dice.choice(LOGINS if key != "from" else ("192.0.2.1", "192.0.2.2"))
            for key in SAID
            if dice.random() < 0.4
        }
        rows.append(
            {
                "chain": f"{dice.choice(('w', 'i', 'x'))}-{at % 5}", "number": at // 5 + 1,
                "at_ms": 1000 + at // 50, "firm_id": dice.choice((FIRM, FIRM, FIRM, 2)),
                "actor": dice.choice(("se-1", "se-2", "person:3")), "action": dice.choice(ACTS),
                "subject": dice.choice(("S1", "S2", *LOGINS)), "mac": bytes(32),
                "detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
            }
        )  # fmt: skip
    connection.execute(insert(AuditEntry), rows)
    return [row for row in rows if row["firm_id"] == FIRM]


def place(row: dict) -> tuple:
    return (row["at_ms"], row["number"], row["chain"])


def all_of(connection: Connection, names: Names, sought: Sought, limit: int) -> list[tuple]:
    found: list[tuple] = []
    after: Place | None = None
    while True:
        entries, after = trail.page(connection, names, FIRM, sought, after=after, limit=limit)
        found += [(one["number"], one["chain"]) for one in entries]
        if after is None:
            return found
        after = Place.parse(str(after))


def meets(row: dict, sought: Sought) -> bool:
    facts = json.loads(row["detail"])
    person = {row["actor"], row["subject"], *(facts.get(key) for key in ("user", "to", "of"))}
    return (
        (not sought.person or sought.person in person)
        and (not sought.actor or row["actor"] == sought.actor)
        and (not sought.act or row["action"] == sought.act)
        and (not sought.address or facts.get("from") == sought.address)
        and (sought.since_ms is None or row["at_ms"] >= sought.since_ms)
        and (sought.until_ms is None or row["at_ms"] < sought.until_ms)
    )


QUESTIONS = [
    Sought(),
    *(Sought(person=login) for login in (*LOGINS, "S1", "nobody")),
    Sought(actor="se-1"),
    *(Sought(act=act) for act in (*ACTS, "policy-changed")),
    Sought(address="192.0.2.2"),
    Sought(person="ann", act="card-lent"),
    Sought(person="ann", act="verified", actor="se-2"),
    Sought(actor="se-1", act="verified", address="192.0.2.1"),
    Sought(address="192.0.2.1", act="signed-in"),
    Sought(since_ms=1002, until_ms=1005),
    Sought(person="ann", since_ms=1002, until_ms=1005, address="192.0.2.1"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 's.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    with opened(settings_from(url, tmp_path / "s.keys")) as parts:
        yield parts.database


@pytest.mark.parametrize("at_most", [7, 200_000])
def test_every_road_finds_all_once_and_the_newest_first(database, monkeypatch, at_most):
    monkeypatch.setattr(trail, "LOOKED_AT", at_most)
    names = Names(database)
    with database.write() as connection:
        rows = sorted(written(connection), key=place, reverse=True)
    with database.read() as connection:
        for sought in QUESTIONS:
            expected = [(row["number"], row["chain"]) for row in rows if meets(row, sought)]
            for limit in (3, 1000):
                assert all_of(connection, names, sought, limit) == expected, sought


def test_a_part_of_a_name_finds_each_of_its_credentials(database):
    with database.write() as connection:
        rows = written(connection)
        for one in ("se-1", "se-2"):
            values = {"id": one, "firm_id": FIRM, "role": "service", "name": f"vpn {one}"}
            rest = {"token_hash": one.encode() * 8, "created_at": 0}
            connection.execute(insert(CredentialRow), values | rest)
    with database.read() as connection:
        found = all_of(connection, Names(database), Sought(actor="VPN"), 1000)
    assert len(found) == sum(row["actor"] in ("se-1", "se-2") for row in rows)


def test_what_an_entry_says_is_read_alike_by_both(database):
    texts = ["ann", 'q"uo\\te', "zoë", "back\\\\slash", '\\"', "a\u2028b", '","user":"eve']
    details = [json.dumps({"x": 't"', "user": one}, ensure_ascii=False) for one in texts]
    others = ["", "no json", '{"user": ', '{"users":"ann"}', '{"x":"\\"user\\":\\"ann\\""}']
    others += ['{"user":"\\u0000"}', '{"to":"ann"}']
    with database.write() as connection:
        for number, detail in enumerate([*details, *others], 1):
            row = {"chain": "x", "number": number, "at_ms": 1, "firm_id": FIRM, "actor": "a"}
            connection.execute(
                insert(AuditEntry),
                row | {"action": "b", "subject": "c", "detail": detail, "mac": bytes(32)},
            )
    with database.read() as connection:
        for number, one in enumerate(texts, 1):
            for asked in (one, one.upper() if one.isascii() else one):
                query = select(AuditEntry.number).where(says(AuditEntry.detail, SaidUser, asked))
                assert connection.scalars(query).all() == [number], one


class Indexes:
    """Which index of the log each statement would take."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def note(self, connection, _cursor, statement, parameters, _context, _many) -> None:
        if "audit" not in statement or not statement.startswith("SELECT"):
            return
        cursor = connection.connection.dbapi_connection.cursor()
        for *_, line in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall():
            if re.match(r"(SCAN|SEARCH) audit\b", line):
                found = re.search(r"ix_audit_\w+ \(.*\)|sqlite_autoindex\w+|$", line)
                self.taken.add(found.group(0) if found else line)


@contextmanager
def indexes() -> Iterator[Indexes]:
    made = Indexes()
    event.listen(Engine, "before_cursor_execute", made.note)
    try:
        yield made
    finally:
        event.remove(Engine, "before_cursor_execute", made.note)


BY_KEY = "sqlite_autoindex_audit_1"
AFTER = Place(1005, 3, "x-1")


@pytest.mark.parametrize(
    ("sought", "names"),
    [
        (Sought(), {"time"}),
        (Sought(act="verified"), {"time"}),
        (Sought(person="ann"), {"actor", "subject", "user", "to", "of"}),
        (Sought(person="ann", act="card-lent"), {"actor", "subject", "user", "to", "of"}),
        (Sought(person="ann", actor="se-1", address="192.0.2.1"),
         {"actor", "subject", "user", "to", "of"}),
        (Sought(actor="se-1"), {"actor"}),
        (Sought(actor="se-1", act="card-lent", address="192.0.2.1"), {"actor"}),
        (Sought(act="card-lent"), {"action"}),
        (Sought(address="192.0.2.1"), {"from"}),
        (Sought(address="192.0.2.1", act="card-lent", since_ms=5), {"from"}),
    ],
)  # fmt: skip
def test_each_road_takes_its_own_index(house, sought, names):
    """Also of a database that nobody has analysed, and deep in it."""
    database = house.state.database
    with database.read() as connection:
        for after in (None, AFTER):
            with indexes() as seen:
                trail.page(connection, Names(database), FIRM, sought, after=after, limit=5)
            taken = {one for one in seen.taken if one != BY_KEY}
            assert {re.match(r"ix_audit_(\w+)", one).group(1) for one in taken} == names
            for one in taken:
                assert "time" in one or "action" in one or one.count("=?") == 2, one
                assert after is None or "(at_ms,number)<(?,?)" in one, one


def test_histories_and_statistics_take_theirs(house):
    database = house.state.database
    with database.read() as connection:
        for work, names in (
            (lambda: history.of_card(connection, FIRM, "S1"), {"subject"}),
            (lambda: history.of_person(connection, FIRM, "ann"), {"to", "of"}),
            (lambda: statistics.of_desk(connection, FIRM, ZoneInfo("UTC"), days=9, now=1e9),
             {"action"}),
        ):  # fmt: skip
            with indexes() as seen:
                work()
            taken = {one for one in seen.taken if one != BY_KEY}
            assert {re.match(r"ix_audit_(\w+)", one).group(1) for one in taken} == names


def test_acts_since_come_in_time_and_in_order(database):
    with database.write() as connection:
        rows = written(connection)
    wanted = ("card-lent", "signed-in")
    expected = sorted(
        (row["at_ms"], row["number"]) for row in rows
        if row["action"] in wanted and row["at_ms"] >= 1003
    )  # fmt: skip
    with database.read() as connection:
        found = [(r.at_ms, r.number) for r in audit.acts_of(connection, FIRM, 1003, wanted)]
    assert found == expected and expected


def test_the_history_of_a_person_has_what_came_and_went(database):
    with database.write() as connection:
        rows = written(connection)
    with database.read() as connection:
        for login in LOGINS:
            expected = [
                row for row in rows
                if row["action"].startswith("card-")
                and login in (json.loads(row["detail"]).get(key) for key in ("to", "of"))
            ]  # fmt: skip
            found = history.of_person(connection, FIRM, login)
            assert len(found) == len(expected)


def test_a_log_of_before_gets_its_indexes_and_keeps_its_entries(tmp_path, request):
    urls = [
        f"sqlite:///{tmp_path / 'old.db'}",
        request.getfixturevalue("postgresql").new_database(),
    ]
    for url in urls:
        database = Database(url)
        schema.migrate(database, "0017")
        with database.write() as connection:
            rows = sorted(written(connection), key=place, reverse=True)
        schema.ensure(database)
        with database.read() as connection:
            expected = [(r["number"], r["chain"]) for r in rows if meets(r, Sought(person="ann"))]
            assert all_of(connection, Names(database), Sought(person="ann"), 50) == expected
        schema.migrate(database, "0017")
        schema.ensure(database)
        database.close()


def test_there_is_a_key_for_each_that_is_said():
    assert {kind.key_of for kind in Said.__subclasses__()} == set(SAID)


@pytest.mark.parametrize("place", ["", "1:2", "a:1:x", "1:b:x", f"{2**53}:1:x", "1:-1:x"])
def test_a_place_that_is_none(place):
    assert Place.parse(place) is None


def test_entries_are_kept_for_as_many_days_as_are_said(house):
    """To the day: neither hours nor seconds."""
    database, ring, now = house.state.database, house.state.ring, 2e9
    with database.write() as connection:
        for age in (40, 30.01, 29.99, 1):
            at_ms = int((now - age * 86_400) * 1000)
            audit.record(connection, ring, [audit.Act(at_ms, FIRM, "a", "b", f"age {age}")])
    housekeeping.prune_audit(database, ring, now, 30)
    with database.read() as connection:
        left = connection.scalars(
            select(AuditEntry.subject).where(AuditEntry.subject.like("age %"))
        ).all()
        assert sorted(left) == ["age 1", "age 29.99"]
        assert all(one.broken_at is None for one in audit.check(connection, ring))


def test_a_page_looks_at_so_many_entries_of_any_road(database):
    """The newest of the places where each road has been read so far: none is read further."""
    with database.write() as connection:
        rows = sorted(written(connection), key=place, reverse=True)
    firm = [AuditEntry.firm_id == FIRM]
    values = ("se-1", "se-2", "nobody")
    expected = max(place([row for row in rows if row["actor"] == who][5]) for who in values[:2])
    with database.read() as connection:
        roads = [AuditEntry.actor == who for who in values]
        end = looked_at(connection, roads, firm, 5)
        assert end is not None and (end.at_ms, end.number, end.chain) == expected
        assert looked_at(connection, roads, firm, 1000) is None
