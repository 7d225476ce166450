"""A database that is frozen: it closes nothing, and says nothing. Two real PostgreSQL."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import running
from tallystick.server.store import database as store
from tallystick.server.store.database import Database, patient
from tallystick.server.store.probe import FRESH_S
from tests.server.test_process import enrol, headers

pytestmark = pytest.mark.slow
MOST_S = 6.0
RECOVERED_S = 15.0


@dataclass
class TwoHosts:
    """A server on two hosts, a card, and who may ask."""

    url: str
    service: dict[str, str]
    admin: dict[str, str]
    seed: bytes
    client: httpx.Client
    factor: int = 0

    def ask(self, method: str, path: str, **more) -> tuple[float, httpx.Response]:
        began = time.monotonic()
        answer = self.client.request(method, self.url + path, timeout=60, **more)
        return time.monotonic() - began, answer

    def verify(self, factor: int | None = None) -> tuple[float, httpx.Response]:
        code = hotp(self.seed, self.factor if factor is None else factor, 6)
        return self.ask(
            "POST", "/v1/verify", json={"user": "S1", "code": code}, headers=self.service
        )

    def accepted(self) -> None:
        _, answer = self.verify()
        assert answer.status_code == 200 and answer.json()["accepted"]
        self.factor += 1

    def each_is_refused_in_time(self) -> None:
        """More at once than there are connections and threads."""
        kinds = [
            self.verify,
            lambda: self.ask("GET", "/v1/health"),
            lambda: self.ask("GET", "/v1/whoami", headers=self.admin),
            lambda: self.ask("GET", "/p/default/sign-in"),
            lambda: self.ask(
                "POST", "/v1/credentials", json={"role": "desk", "name": "x"}, headers=self.admin
            ),
        ]
        told: list[tuple[float, httpx.Response]] = []
        threads = [
            threading.Thread(target=lambda ask=kinds[n % 5]: told.append(ask())) for n in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 60
        for seconds, answer in told:
            assert seconds < MOST_S, (answer.request.url, seconds)
            assert answer.status_code == 503, (answer.request.url, answer.text)
            assert int(answer.headers["retry-after"]) > 0

    def health_has_seen_it(self) -> None:
        """It tells of up to a second ago."""
        began = time.monotonic()
        while self.ask("GET", "/v1/health")[1].status_code == 200:
            assert time.monotonic() - began < FRESH_S + 1

    def recovers(self) -> float:
        """Without a restart. → seconds until a code is accepted"""
        began = time.monotonic()
        while time.monotonic() - began < RECOVERED_S:
            seconds, answer = self.verify()
            assert seconds < MOST_S and answer.status_code in (200, 503)
            if answer.status_code == 200:
                # What was under way when it froze may have been done, and is used up then.
                assert answer.json()["reason"] in ("ok", "replayed")
                self.factor += 1
                if answer.json()["accepted"]:
                    return time.monotonic() - began
        raise AssertionError("it does not recover")


@pytest.fixture
def live(replicated, tmp_path: Path, container_class) -> Iterator[TwoHosts]:
    primary, standby = replicated
    seed = secrets.token_bytes(20)
    with running(tmp_path, db=primary.new_database(standby)) as server:
        service = enrol(server, container_class, tmp_path, {"S1": seed})
        admin = headers(server.add_credential("admin", "admin"))
        limits = httpx.Limits(max_connections=None)
        with httpx.Client(limits=limits) as client:
            yield TwoHosts(server.url, service, admin, seed, client)


def test_frozen_and_thawed(replicated, live):
    primary, _ = replicated
    live.accepted()
    primary.freeze()
    try:
        live.health_has_seen_it()
        live.each_is_refused_in_time()
        live.each_is_refused_in_time()  # nothing piles up
    finally:
        primary.thaw()
    live.recovers()


def test_frozen_and_its_standby_takes_over(replicated, live):
    """As with the documented URL, which names both hosts: the frozen one is passed over."""
    primary, standby = replicated
    for _ in range(5):
        live.accepted()
    primary.freeze()
    try:
        live.health_has_seen_it()
        live.each_is_refused_in_time()
        standby.sql("ALTER SYSTEM RESET synchronous_standby_names")
        standby.promote()
        live.recovers()
    finally:
        primary.kill_all()
    for factor in range(5):
        _, answer = live.verify(factor)
        assert answer.json()["reason"] == "replayed"
    live.accepted()


def test_frozen_while_a_transaction_is_open(postgresql_tools, replicated, monkeypatch):
    """The wait ends, the connection is left, and who may take his time waits longer."""
    primary, _ = replicated
    monkeypatch.setattr(store, "WAIT_S", 0.4)
    database = Database(primary.new_database(), hurried=True)
    with pytest.raises(OperationalError) as told, database.write() as connection:
        connection.execute(text("SELECT 1"))
        primary.freeze()
        try:
            began = time.monotonic()
            connection.execute(text("SELECT 2"))
        finally:
            seconds = time.monotonic() - began
            stalls = database.stalls()
            primary.thaw()
    assert store.is_away(told.value) and "within 0.4 s" in str(told.value.orig)
    assert 0.3 < seconds < 2 and stalls
    with database.read() as connection:
        assert connection.execute(text("SELECT 3")).scalar() == 3
    database.close()


def test_who_takes_his_time(postgresql, monkeypatch):
    monkeypatch.setattr(store, "STATEMENT_S", 0.2)
    database = Database(postgresql.new_database(), hurried=True)
    slow = text("SELECT pg_sleep(0.5)")
    with pytest.raises(OperationalError) as told, database.read() as connection:
        connection.execute(slow)
    assert store.is_away(told.value)
    with patient(), database.read() as connection:
        connection.execute(slow)
    with pytest.raises(OperationalError), database.read() as connection:
        connection.execute(slow)  # its patience was for that block only
    database.close()
    patiently = Database(postgresql.new_database())
    with patiently.read() as connection:
        connection.execute(slow)
    patiently.close()


def test_what_the_url_says_goes_before_our_bounds(postgresql):
    url = f"{postgresql.new_database()}&connect_timeout=9&tcp_user_timeout=7000"
    database = Database(url, hurried=True)
    with database.read() as connection:
        dsn = connection.connection.dbapi_connection.info.get_parameters()
    assert (dsn["connect_timeout"], dsn["tcp_user_timeout"]) == ("9", "7000")
    assert dsn["keepalives_idle"] == "5"
    database.close()


def test_whoever_gets_no_connection_is_told_in_time(postgresql, monkeypatch):
    """All of them are in use, by a database that is slow: nobody waits for one without end."""
    monkeypatch.setattr(store, "WAIT_S", 0.2)
    database = Database(postgresql.new_database(), hurried=True)
    pool = database.engine.pool
    held = [database.engine.connect() for _ in range(pool.size() + pool._max_overflow)]
    began = time.monotonic()
    with pytest.raises(OperationalError) as told, database.read():
        pass
    assert isinstance(told.value.orig, store.PoolExhaustedError)
    assert time.monotonic() - began < 15  # SQLAlchemy's own bound is 30 s
    for one in held:
        one.close()
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.close()
