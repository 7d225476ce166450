"""The server on PostgreSQL: schema, several workers, crashes of either side."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Index, inspect, select, text
from sqlalchemy.exc import DBAPIError

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.accounts.rights import RightsTakenError
from tallystick.server.joining import keeping
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.operating import operations
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import running, running_in_thread, start
from tallystick.server.settings import settings_from
from tallystick.server.stock import cards
from tallystick.server.store import audit, housekeeping, keys, restored, schema
from tallystick.server.store.database import Database
from tallystick.server.store.housekeeping import sweep
from tallystick.server.store.models import CardRow
from tallystick.server.store.models_login import Factor
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.server.ha import distinct_seed
from tallystick.tools.campaign.server.same_code import run
from tests.server.portal_driver import Browser, Portal
from tests.server.test_portal import register_card
from tests.server.test_process import enrol

pytestmark = pytest.mark.slow


def _is_plain(thing: object, *_: object) -> bool:
    """Not an index of what an expression makes."""
    return not isinstance(thing, Index) or all(isinstance(one, Column) for one in thing.expressions)


def _indexes(database: Database) -> set[str]:
    found = text("SELECT indexdef FROM pg_indexes WHERE tablename <> 'alembic_version'")
    with database.read() as connection:
        return {one.replace("public.", "") for one in connection.scalars(found)}


def test_migrations_up_down_and_like_the_models(postgresql):
    database = Database(postgresql.new_database())
    schema.ensure(database)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": _is_plain}
        )
        assert compare_metadata(context, Factor.metadata) == []
    # PostgreSQL writes an expression in its own words: that of the models beside it.
    modelled = Database(postgresql.new_database())
    Factor.metadata.create_all(modelled.engine)
    assert _indexes(database) == _indexes(modelled)
    modelled.close()
    schema.migrate(database, "base")
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    schema.ensure(database)
    database.close()


def test_the_audit_log_can_only_be_appended_to(postgresql, tmp_path: Path):
    database = Database(postgresql.new_database())
    schema.ensure(database)
    with database.write() as connection:
        ring = keys.load_or_create(tmp_path / "server.keys")
        audit.record(connection, ring, [audit.Act(0, 1, "ann", "signed-in", "ann")])
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(DBAPIError, match="append-only"), database.write() as connection:
            connection.execute(text(statement))
    database.close()


@pytest.mark.campaign
@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
def test_a_snapshot_is_of_one_instant(request, tmp_path: Path, on):
    url = f"sqlite:///{tmp_path / 's.db'}"
    if on == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    database = Database(url)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE entries (number integer)"))
    count = text("SELECT count(*) FROM entries")
    with database.snapshot() as connection:
        assert connection.scalar(count) == 0
        with database.write() as other:
            other.execute(text("INSERT INTO entries VALUES (1)"))
        assert connection.scalar(count) == 0
    with database.snapshot() as connection:
        assert connection.scalar(count) == 1
    database.close()


def test_parallel_load(postgresql):
    result = run(rounds=30, guess_rounds=5, workers=3, parallel=8, db=postgresql.new_database())
    assert result.clean, result


def test_backup_and_restore(postgresql, tmp_path: Path, container_class):
    seed = secrets.token_bytes(20)
    with running(tmp_path, db=postgresql.new_database()) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        body = {"user": "S1", "code": hotp(seed, 0, 6)}
        assert httpx.post(f"{live.url}/v1/verify", json=body, headers=service, timeout=60).json()[
            "accepted"
        ]
        copy = tmp_path / "copy.dump"
        with opened(live.settings) as parts:
            operations.backup(parts.database, copy)
            other = Database(postgresql.new_database())
            done = operations.restore(other, copy, ring=parts.ring, advance=5, newer=None, now=0)
            with other.read() as connection:
                factor = connection.execute(text("SELECT moving_factor FROM card")).scalar()
            other.close()
            with parts.database.write() as connection:
                connection.execute(text("UPDATE person SET disabled_at = 1, groups = 'vpn'"))
                connection.execute(text("UPDATE card SET moving_factor = 9"))
            third, later = Database(postgresql.new_database()), live.settings.db_url
            again = operations.restore(third, copy, ring=parts.ring, advance=5, newer=later, now=0)
            with third.read() as connection:
                report = restored.unconfirmed(connection)
                moved = connection.execute(text("SELECT moving_factor FROM card")).scalar()
            third.close()
    assert (done["cards"], factor) == (1, 6)
    assert (again["counters_from_newer"], moved) == (1, 9)
    assert [one["kind"] for one in report["differs"]] == ["person", "groups"]


def test_people_on_postgresql(postgresql, tmp_path: Path, clock, container_class):
    """Signing in, methods, loans, recovery and the help desk use SQL of their own."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    settings = replace(settings, clock=clock, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        portal = Portal(url, settings, clock, tmp_path)
        seed = register_card(portal, container_class)
        boss, aide = portal.staff("boss", "administrator"), portal.staff("aide", "support")
        portal.person("ann")
        boss.get("/cards").post("/cards/A1/lend", user="ann", code=hotp(seed, 0, 6))
        assert "is lent" in boss.page.text
        ann = Browser(url).sign_in("ann")
        ann.post("/second/card/A1", code=hotp(seed, 1, 6))
        assert ann.heading == "You are signed in"
        ann.get("/enrol/sms").post("/enrol/sms", address="+4740000089")
        key = re.search(r"/enrol/sms/(\d+)/confirm", ann.page.text).group(1)
        ann.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
        assert "is enrolled" in ann.page.text
        totp = portal.enrol_totp(ann)
        forgot = Browser(url).get("/recover").post("/recover", login="ann", kind="totp")
        forgot.post("/recover/prove?kind=totp", code=totp.at(int(clock())))
        forgot.post("/recover/reset", password="another good one")
        assert "new password is set" in forgot.page.text
        number = re.search(r"/people/(\d+)\">ann<", aide.get("/people").page.text).group(1)
        boss.get(f"/people/{number}").post(f"/people/{number}/help/ask")
        assert boss.page.status_code == 200
        aide.get(f"/people/{number}")
        request = re.search(r'name="request" value="(\d+)"', aide.page.text).group(1)
        aide.post(f"/people/{number}/help/agree", request=request)
        boss.post(f"/people/{number}/help/collect", request=request)
        assert 'class="secret big"' in boss.page.text
        boss.get("/people?q=an").get("/audit").get("/policy").post("/policy", look_ahead="5")
        assert "in force" in boss.page.text
        for path in ("/", "/cards", f"/people/{number}", "/audit"):
            assert boss.get(path).page.status_code == 200
        database = Database(settings.db_url)
        sweep(database, clock() + 10**6)
        moved = operations.rotate(database, settings.key_file, now=clock())
        assert moved[0] == "k2" and moved[1] >= 4
        database.close()
        Browser.close_all()


def seeds_of_four() -> dict[str, bytes]:
    """No two equal codes near each other: what was used would be right once more."""
    return {f"U{n}": distinct_seed(20_000) for n in range(4)}


class User:
    """Verifies one code after the other, whatever happens to the server, and remembers which ones
    were acknowledged."""

    def __init__(self, name: str, seed: bytes, service: dict[str, str]) -> None:
        self.name, self.seed, self.service = name, seed, service
        self.accepted: list[int] = []
        self.factor = 0
        self.stop = threading.Event()

    def work(self, url: str) -> None:
        with httpx.Client(base_url=url, headers=self.service, timeout=60) as client:
            while not self.stop.is_set():
                body = {"user": self.name, "code": hotp(self.seed, self.factor, 6)}
                try:
                    answer = client.post("/v1/verify", json=body)
                except httpx.HTTPError:
                    self.stop.wait(0.01)
                    continue
                if answer.status_code == 200:
                    reason = answer.json()["reason"]
                    assert reason in ("ok", "replayed")
                    if reason == "ok":
                        self.accepted.append(self.factor)
                    self.factor += 1


def crash_under_load(live, users: list[User], crash) -> None:
    """Load until everyone has been accepted some more times, and a crash in the middle of it."""
    before = [len(user.accepted) for user in users]
    threads = [threading.Thread(target=user.work, args=(live.url,)) for user in users]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while any(len(user.accepted) < n + 6 for user, n in zip(users, before, strict=True)):
        assert time.monotonic() < deadline, "the load does not get through"
        time.sleep(0.005)
    crash()
    for user in users:
        user.stop.set()
    for thread in threads:
        thread.join()


def nothing_lost(url: str, users: list[User]) -> None:
    """No acknowledged code works again, and none was accepted twice."""
    for user in users:
        assert max(Counter(user.accepted).values()) == 1
        last = max(user.accepted)
        for factor in user.accepted[-5:]:
            body = {"user": user.name, "code": hotp(user.seed, factor, 6)}
            answer = httpx.post(f"{url}/v1/verify", json=body, headers=user.service, timeout=60)
            assert answer.json()["reason"] == "replayed", f"{user.name}: {factor}, of {last}"
        user.stop.clear()


@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
def test_the_server_is_killed_under_load(request, tmp_path: Path, container_class, on):
    db = request.getfixturevalue("postgresql").new_database() if on == "postgresql" else None
    seeds = seeds_of_four()
    live = start(settings_from(db or f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys"))
    try:
        service = enrol(live, container_class, tmp_path, seeds)
        users = [User(name, seed, service) for name, seed in seeds.items()]
        for _ in range(3):
            crash_under_load(live, users, live.kill)
            port = int(live.url.rsplit(":", 1)[1])
            live = start(live.settings, port=port)
            nothing_lost(live.url, users)
        with opened(live.settings) as parts, parts.database.read() as connection:
            assert all(r.broken_at is None for r in audit.check(connection, parts.ring))
    finally:
        live.stop()


def test_the_database_crashes_under_load(postgresql, tmp_path: Path, container_class):
    seeds = seeds_of_four()
    with running(tmp_path, db=postgresql.new_database(), workers=2) as live:
        service = enrol(live, container_class, tmp_path, seeds)
        users = [User(name, seed, service) for name, seed in seeds.items()]

        def crash() -> None:
            postgresql.stop("immediate")
            postgresql.start()

        for _ in range(2):
            crash_under_load(live, users, crash)
            nothing_lost(live.url, users)
        answer = httpx.get(f"{live.url}/v1/whoami", headers=service, timeout=60)
        assert answer.status_code == 200


class Registrar:
    """Makes credentials, whatever happens to the database, and remembers which ones were
    acknowledged."""

    def __init__(self, admin: dict[str, str]) -> None:
        self.admin = admin
        self.acknowledged: list[str] = []
        self.stop = threading.Event()

    def work(self, url: str) -> None:
        with httpx.Client(base_url=url, headers=self.admin, timeout=60) as client:
            for number in itertools.count():
                if self.stop.is_set():
                    return
                body = {"role": "service", "name": f"n{number}"}
                try:
                    answer = client.post("/v1/credentials", json=body)
                except httpx.HTTPError:
                    self.stop.wait(0.01)
                    continue
                assert answer.status_code in (201, 503)
                if answer.status_code == 201:
                    self.acknowledged.append(answer.json()["id"])


def test_a_standby_takes_over(replicated, tmp_path: Path, container_class):
    """The primary is killed under load and its synchronous standby promoted: no accepted code is
    accepted again, nothing that was acknowledged is lost, and the workers go on by themselves."""
    primary, standby = replicated
    seeds = seeds_of_four()
    with running(tmp_path, db=primary.new_database(standby), workers=2) as live:
        service = enrol(live, container_class, tmp_path, seeds)
        users = [User(name, seed, service) for name, seed in seeds.items()]
        admin = live.add_credential("admin", "admin")
        registrar = Registrar({"authorization": f"Bearer {admin.token.reveal().decode()}"})
        threads = [threading.Thread(target=one.work, args=(live.url,)) for one in users]
        threads.append(threading.Thread(target=registrar.work, args=(live.url,)))
        for thread in threads:
            thread.start()

        def until_more(count: int) -> None:
            before = [len(user.accepted) for user in users]
            deadline = time.monotonic() + 60
            while any(len(u.accepted) < n + count for u, n in zip(users, before, strict=True)):
                assert time.monotonic() < deadline, "the load does not get through"
                time.sleep(0.005)

        until_more(6)
        primary.kill()
        standby.promote()
        until_more(6)
        for one in (*users, registrar):
            one.stop.set()
        for thread in threads:
            thread.join(timeout=60)
        nothing_lost(live.url, users)
        listed = httpx.get(f"{live.url}/v1/credentials", headers=registrar.admin, timeout=60).json()
        assert set(registrar.acknowledged) <= {one["id"] for one in listed["credentials"]}
        assert len(registrar.acknowledged) > 3
        with opened(live.settings) as parts, parts.database.read() as connection:
            rows = connection.execute(select(CardRow.serial, CardRow.moving_factor)).all()
            broken = [r for r in audit.check(connection, parts.ring) if r.broken_at is not None]
        factors = {row.serial: row.moving_factor for row in rows}
        assert all(factors[user.name] > max(user.accepted) for user in users)
        assert broken == []


@pytest.mark.parametrize(("state", "tries"), [("40001", 3), ("40P01", 3), ("22012", 1)])
def test_what_came_in_the_way_of_another_is_tried_again(postgresql, state, tries):
    """As a distributed database says it, where ours would have waited for a lock."""
    database = Database(postgresql.new_database())
    calls = 0

    def work(connection) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            fail = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
            connection.execute(text(fail))
        return "done"

    if tries == 3:
        assert database.run(work) == "done"
    else:
        with pytest.raises(DBAPIError):
            database.run(work)
    assert calls == tries
    database.close()


def test_a_connection_to_what_became_a_standby_is_left(postgresql):
    database = Database(postgresql.new_database())
    schema.ensure(database)
    with database.read() as connection:
        first = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        connection.execute(text("SET default_transaction_read_only = on"))
    with pytest.raises(DBAPIError, match="read-only"), database.write() as connection:
        connection.execute(text("DELETE FROM rate"))
    with database.write() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != first
        connection.execute(text("DELETE FROM rate"))
    database.close()


def test_the_log_and_the_bounds_on_postgresql(postgresql, tmp_path: Path, clock):
    """Pruning has a trigger of its own there; search and sizes have their own SQL."""
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    settings = replace(settings, clock=clock)
    with running_in_thread(settings) as url:
        portal = Portal(url, settings, clock, tmp_path)
        boss = portal.staff("boss", "administrator")
        for _ in range(12):
            Browser(url).sign_in("boss", "wrong")
        lines = boss.get("/audit/export?form=jsonl&q=boss&address=127.0.0.1").page.text
        assert '"act": "password-wrong"' in lines
        assert boss.get("/audit?since=2027-01-15&act=limit-reached").page.is_success
        assert "was refused by a limit" in boss.page.text
        Browser.close_all()
    with opened(settings) as parts:
        with parts.database.read() as connection:
            counts = housekeeping.rows(connection)
            entries = connection.execute(text("SELECT count(*) FROM audit")).scalar()
            assert counts["audit"] == entries
            assert housekeeping.size_bytes(connection) > 0
        with pytest.raises(DBAPIError, match="append-only"), parts.database.write() as connection:
            connection.execute(text("DELETE FROM audit WHERE number = 1"))
        gone = housekeeping.prune_audit(parts.database, parts.ring, clock() + 10 * 86400, 5)
        assert gone == entries
        with parts.database.snapshot() as connection:
            reports = audit.check(connection, parts.ring)
            assert reports and not any(one.broken_at for one in reports)
        schema.migrate(parts.database, "0003")
        with pytest.raises(DBAPIError, match="append-only"), parts.database.write() as connection:
            connection.execute(text("DELETE FROM audit"))
        schema.ensure(parts.database, parts.ring)


def blocked(database: Database) -> bool:
    """Whether somebody waits for a lock, before long."""
    for _ in range(500):
        with database.read() as connection:
            if connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("wanted", [PersonWish(role=PersonRole.USER), PersonWish(disabled=True)])
def test_whoever_bars_an_administrator_locks_all_of_them_in_one_order(
    postgresql, tmp_path: Path, clock, wanted
):
    """Two who bar each other would each have one row, and wait for the other's."""
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    with opened(replace(settings, clock=clock)) as parts, ThreadPoolExecutor(1) as pool:
        database = parts.database
        with database.write() as connection:
            one, two = (
                people.add(
                    connection,
                    firm_id=1,
                    login=login,
                    role=PersonRole.ADMINISTRATOR,
                    email=None,
                    now=clock(),
                )
                for login in ("one", "two")
            )
            firm = firms.by_id(connection, 1)
        by_one = cards.staff(one, 1, "one", PersonRole.ADMINISTRATOR)
        ways = Ways(parts.ring, firm, by_one, clock())
        with database.write() as holds:
            people.get(holds, 1, one, lock=True)
            work = pool.submit(
                database.run, lambda connection: keeping.change(connection, ways, two, wanted)
            )
            assert blocked(database)
            with database.write() as other:  # whoever waits for the first has no other yet
                other.execute(
                    text("SELECT id FROM person WHERE id = :two FOR UPDATE NOWAIT"), {"two": two}
                )
        assert work.result().id == two


@pytest.mark.parametrize("wanted", [PersonWish(role=PersonRole.USER), PersonWish(disabled=True)])
def test_of_two_who_take_each_others_rights_one_does(postgresql, tmp_path: Path, clock, wanted):
    """Also where a third is left, so that neither is the last."""
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    with opened(replace(settings, clock=clock)) as parts, ThreadPoolExecutor(1) as pool:
        database = parts.database
        with database.write() as connection:
            more = {"firm_id": 1, "role": PersonRole.ADMINISTRATOR, "email": None, "now": clock()}
            one, two, _ = (people.add(connection, login=name, **more) for name in "abc")
            firm = firms.by_id(connection, 1)
        by_one, by_two = (
            Ways(parts.ring, firm, cards.staff(n, 1, str(n), PersonRole.ADMINISTRATOR), clock())
            for n in (one, two)
        )
        with database.write() as connection:
            keeping.change(connection, by_two, one, wanted)
            late = pool.submit(database.run, lambda c: keeping.change(c, by_one, two, wanted))
            assert blocked(database)
        with pytest.raises(RightsTakenError):
            late.result()
        with database.read() as connection:
            still = people.get(connection, 1, two)
            assert still.role is PersonRole.ADMINISTRATOR and not still.disabled


@pytest.mark.parametrize("act", ["disable", "leave"])
def test_so_does_an_act_on_many(postgresql, tmp_path: Path, clock, act):
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    settings = replace(settings, clock=clock)
    with running_in_thread(settings) as url, ThreadPoolExecutor(1) as pool:
        portal = Portal(url, settings, clock, tmp_path)
        boss = portal.staff("boss", "administrator").get("/people")
        portal.person("ann")
        portal.person("two", "administrator")
        ticked = {"p.2": "yes", "p.3": "yes", f"count-{act}": "2"}
        with opened(settings) as parts:
            database = parts.database
            with database.write() as holds:
                people.get(holds, 1, 1, lock=True)
                work = pool.submit(boss.post, f"/people/many/{act}", **ticked)
                assert blocked(database)
                with database.write() as other:
                    other.execute(text("SELECT id FROM person WHERE id > 1 FOR UPDATE NOWAIT"))
            assert work.result().page.status_code == 200
            with database.read() as connection:
                assert [people.get(connection, 1, n).disabled for n in (2, 3)] == [True, True]
        Browser.close_all()
