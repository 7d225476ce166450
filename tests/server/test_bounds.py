"""What keeps the server answering: addresses behind proxies, limits, passwords, slow clients."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tallystick.common.errors import BadInputError
from tallystick.server.accounts import hashing, passwords
from tallystick.server.checking import group
from tallystick.server.errors import ApiError
from tallystick.server.rules.addresses import client_of, counted_by, networks
from tallystick.server.rules.otp import hotp
from tallystick.server.serving import answers, protocol
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store import database, schema
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal

PROXIES = networks(["10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("peer", "plain", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.1"], [], "192.0.2.1"),  # not a proxy: not believed
        ("10.0.0.1", [], [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], [], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], [], "198.51.100.1"),  # the left is the client's
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.1.1.1"], [], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], [], "198.51.100.1"),  # two lines
        ("10.0.0.1", ["198.51.100.1:4711"], [], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:2::1]:443"], [], "2001:db8:2::1"),
        ("10.0.0.1", ["10.9.9.9"], [], "10.9.9.9"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.2.2.2"], [], "10.2.2.2"),
        ("10.0.0.1", ["nonsense"], [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], [], "198.51.100.1"),
        ("2001:db8:1::5", [], ['for="[2001:db8:2::1]:1234";proto=https'], "2001:db8:2::1"),
        ("10.0.0.1", [], ["for=203.0.113.9, For=198.51.100.1;by=10.0.0.1"], "198.51.100.1"),
        ("10.0.0.1", [], ["for=203.0.113.9, by=10.0.0.1"], "10.0.0.1"),  # it does not say for whom
        ("10.0.0.1", ["198.51.100.1"], ["for=198.51.100.1"], "198.51.100.1"),
        # The proxy writes one header and passes the other one on: neither is believed.
        ("10.0.0.1", ["198.51.100.1"], ["for=203.0.113.9"], "10.0.0.1"),
        ("", ["198.51.100.1"], [], ""),
        # What a proxy quotes is its client's: there is no hop in it.
        ("10.0.0.1", [], ['proto=http;host="a;for=203.0.113.9";for=198.51.100.1'], "198.51.100.1"),
        ("10.0.0.1", [], ['host="a,for=203.0.113.9;x";for=198.51.100.1'], "198.51.100.1"),
        ("10.0.0.1", [], ['host="a\\";for=203.0.113.9";for=198.51.100.1'], "198.51.100.1"),
        ("10.0.0.1", [], ["for=203.0.113.9, , for=198.51.100.1 ; proto=http,"], "198.51.100.1"),
        # Nobody knows where an element ends, or who is meant.
        (
            "10.0.0.1",
            [],
            ['for=", proto=http;host=", for=203.0.113.9;a=";for=198.51.100.1'],
            "10.0.0.1",
        ),
        ("10.0.0.1", [], ["for=203.0.113.9;for=198.51.100.1"], "10.0.0.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], [], "198.51.100.1"),
        ("10.0.0.1", ["fe80::1%eth0"], [], "fe80::1"),
        ("::ffff:192.0.2.1", ["198.51.100.1"], [], "192.0.2.1"),
    ],
)
def test_the_rightmost_hop_that_is_not_trusted(peer, plain, forwarded, client):
    assert client_of(peer, PROXIES, forwarded_for=plain, forwarded=forwarded) == client


@given(st.lists(st.text(max_size=60), max_size=5), st.lists(st.text(max_size=60), max_size=5))
def test_whatever_headers_say_it_is_an_address(plain, forwarded):
    client = client_of("10.0.0.1", PROXIES, forwarded_for=plain, forwarded=forwarded)
    assert networks([client])


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),  # behind a translator, each is a place
        ("00-11-22-33-44-55", "00-11-22-33-44-55"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_place(source, counted):
    assert counted_by(source) == counted


def test_proxies_that_are_no_networks_stop_the_start(monkeypatch, tmp_path):
    monkeypatch.setenv("TALLY_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, proxy.example")
    with pytest.raises(BadInputError, match=r"proxy\.example") as error:
        settings_from(f"sqlite:///{tmp_path / 'x.db'}")
    assert error.value.todo


def try_to_sign_in(portal: Portal, login: str, password: str, **headers: str) -> Browser:
    browser = Browser(portal.url)
    browser.http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return browser.sign_in(login, password)


@pytest.fixture
def behind_a_proxy(settings, clock, tmp_path):
    """The tests are the proxy."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink, trusted_proxies=("127.0.0.1",))
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


def test_an_office_behind_one_address_may_sign_in(portal):
    portal.policy(sign_in_failures_per_source=10)
    portal.person("ann")
    for _ in range(15):
        assert Browser(portal.url).sign_in("ann").heading == "You are signed in"


def test_failures_of_a_place_count_for_all_names(behind_a_proxy):
    portal = behind_a_proxy
    portal.policy(sign_in_failures_per_source=10)
    portal.person("ann")
    for number in range(10):
        there = f"2001:db8:5:5:{number}::1"  # one /64
        browser = try_to_sign_in(portal, f"u{number}", "wrong", x_forwarded_for=there)
        assert browser.page.status_code == 401
    refused = try_to_sign_in(portal, "ann", "wrong", x_forwarded_for="2001:db8:5:5:ffff::1")
    assert refused.page.status_code == 429
    assert int(refused.page.headers["retry-after"]) > 0
    right = try_to_sign_in(portal, "ann", "correct horse battery", x_forwarded_for="2001:db8:5:6::")
    assert right.heading == "You are signed in"


def test_a_place_has_so_many_entries_of_what_was_refused(behind_a_proxy, settings):
    """Whoever has a network of IPv6 would fill the log with one from each of its addresses."""
    http = httpx.Client(base_url=behind_a_proxy.url, timeout=60)
    for number in range(30):
        headers = {"authorization": "Bearer x", "x-forwarded-for": f"2001:db8:5:5:{number}::1"}
        assert http.get("/v1/whoami", headers=headers).status_code == 401
    http.get("/v1/whoami", headers=headers | {"x-forwarded-for": "2001:db8:5:6::1"})
    wrong = "SELECT count(*) FROM audit WHERE action = 'token-wrong'"
    with opened(settings) as parts:

        def entries() -> int:
            with parts.database.read() as connection:
                return int(connection.exec_driver_sql(wrong).scalar() or 0)

        for _ in range(2000):  # an entry is written when the answer is out
            if entries() >= 20 + 1:
                break
            http.get("/v1/health")
        assert entries() == 20 + 1
    http.close()


def test_a_strangers_wrong_passwords_leave_the_name_to_its_owner(behind_a_proxy):
    portal = behind_a_proxy
    portal.person("ann")
    tries = [
        try_to_sign_in(portal, "ann", "wrong", x_forwarded_for="203.0.113.9").page.status_code
        for _ in range(11)
    ]
    assert tries == [401] * 10 + [429]
    owner = try_to_sign_in(portal, "ann", "correct horse battery", x_forwarded_for="198.51.100.2")
    assert owner.heading == "You are signed in"


def test_all_places_together_have_a_bound(behind_a_proxy):
    portal = behind_a_proxy
    portal.policy(password_max_failures=3)
    portal.person("ann")
    tries = [
        try_to_sign_in(portal, "ann", "wrong", x_forwarded_for=f"203.0.113.{n}").page.status_code
        for n in range(31)
    ]
    assert tries == [401] * 30 + [429]


def test_strangers_recoveries_leave_the_name_to_its_owner(behind_a_proxy):
    portal = behind_a_proxy
    portal.person("ann")
    for number in range(11):
        stranger = Browser(portal.url)
        stranger.http.headers["x-forwarded-for"] = "203.0.113.9"
        stranger.get("/recover").post("/recover", login="ann", kind="totp")
        assert stranger.page.status_code == (200 if number < 10 else 429)
    owner = Browser(portal.url)
    owner.http.headers["x-forwarded-for"] = "198.51.100.2"
    assert owner.get("/recover").post("/recover", login="ann", kind="totp").page.is_success


def test_where_nothing_is_sent_no_limit_of_messages_is_met(portal):
    """It would stand in the log as a refusal of whoever begins, and nobody was refused."""
    portal.person("ann")
    portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    for _ in range(8):
        browser = Browser(portal.url).get("/recover").post("/recover", login="ann", kind="totp")
        assert browser.heading == "Prove that it is you"
    with opened(portal.settings) as parts, parts.database.read() as connection:
        query = text("SELECT count(*) FROM audit WHERE action = 'limit-reached'")
        assert connection.scalar(query) == 0


def test_an_address_is_not_believed_of_anybody(portal):
    portal.policy(sign_in_failures_per_source=10)
    for number in range(10):
        try_to_sign_in(portal, f"u{number}", "wrong", x_forwarded_for=f"203.0.113.{number}")
    browser = try_to_sign_in(portal, "other", "wrong", x_forwarded_for="203.0.113.99")
    assert browser.page.status_code == 429


@pytest.mark.parametrize(("cores", "many"), [(1, 1), (2, 1), (3, 2), (4, 3), (64, 3)])
def test_a_core_is_left_for_checks(monkeypatch, cores, many):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores))
    assert hashing.at_once() == many


def test_threads_that_hash_yield_to_checks():
    """Those that check codes have niceness 0. docs/reference/server.md has the figures."""
    kiln = hashing.Hashing(at_once=1)
    nice = kiln.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert nice == min(19, max(hashing.NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    assert (hashing.MOST_AT_ONCE, hashing.QUEUE) == (3, 64)


def test_passwords_wait_for_their_turn_and_the_queue_has_an_end(monkeypatch):
    kiln = hashing.Hashing(at_once=2, queue=3)
    monkeypatch.setattr(passwords, "_hashing", lambda: kiln)
    started, release = threading.Semaphore(0), threading.Event()
    now, most = [0], [0]
    lock = threading.Lock()

    class Slow:
        def hash(self, _password: str) -> str:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            started.release()
            assert release.wait(30)
            with lock:
                now[0] -= 1
            return "hashed"

    monkeypatch.setattr(passwords, "HASHER", Slow())
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda: done.append(passwords.hash_new("x"))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    assert started.acquire(timeout=30) and started.acquire(timeout=30)
    while kiln._taken < 5:
        pass
    with pytest.raises(ApiError) as refused:
        passwords.hash_new("one too many")
    assert (refused.value.status, refused.value.retry_after_s > 0) == (503, True)
    release.set()
    for thread in threads:
        thread.join()
    assert (len(done), most[0], kiln._taken) == (5, 2, 0)


def test_a_sign_in_that_cannot_wait_says_when_to_come_back(portal, monkeypatch):
    portal.person("ann")
    monkeypatch.setattr(passwords, "_hashing", lambda: hashing.Hashing(at_once=0 + 1, queue=-1))
    browser = Browser(portal.url).sign_in("ann")
    assert browser.page.status_code == 503
    assert browser.page.headers["retry-after"] == "5"
    assert "Too many people sign in" in browser.problem


def talk(url: str, *parts: bytes) -> bytes:
    """Send the parts, and read until the server closes."""
    host = urlsplit(url)
    with closing(socket.create_connection((host.hostname, host.port), timeout=30)) as sock:
        try:
            for part in parts:
                sock.sendall(part)
        except OSError:  # closed meanwhile
            pass
        answer = b""
        try:
            while chunk := sock.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


HEAD = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n"


def test_a_head_without_end_is_refused(portal):
    long = b"x: " + b"a" * 1024 + b"\r\n"
    assert b" 431 " in talk(portal.url, HEAD, long * 40, b"\r\n")
    assert b" 431 " in talk(portal.url, HEAD + b"x: ", *[b"a" * 8000] * 6)
    assert b" 200 " in talk(portal.url, HEAD + long * 20 + b"connection: close\r\n\r\n")


@pytest.mark.parametrize("part", [b"", b"G", b"\r\n", HEAD])
def test_a_head_that_does_not_come_is_not_waited_for(portal, part, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    assert talk(portal.url, part).startswith(b"HTTP/1.1 408")


def test_a_body_that_does_not_come_is_not_waited_for(portal, monkeypatch):
    monkeypatch.setattr(protocol, "BODY_S", 0.2)
    head = b"POST /v1/verify HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    assert talk(portal.url, head, b"{").startswith(b"HTTP/1.1 408")


def test_one_who_sends_slowly_keeps_nobody_from_signing_in(portal):
    """Bodies of sign-ins are read before their turn comes."""
    portal.person("ann")
    url = urlsplit(portal.url)
    slow = []
    for _ in range(hashing.at_once() + 3):
        sock = socket.create_connection((url.hostname, url.port))
        sock.sendall(
            b"POST /p/default/sign-in HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
            b"content-type: application/x-www-form-urlencoded\r\n\r\nlogin"
        )
        slow.append(sock)
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"
    for sock in slow:
        sock.close()


def test_https_is_kept_to(settings):
    with running_in_thread(replace(settings, public_url="https://login.example")) as url:
        browser = Browser(url).get("/sign-in")
        assert re.fullmatch(r"max-age=\d{8,}.*", browser.page.headers["strict-transport-security"])
    with running_in_thread(settings) as url:
        assert "strict-transport-security" not in Browser(url).get("/sign-in").page.headers
    Browser.close_all()


# what takes too long ------------------------------------------------------------------------------


@contextmanager
def locked(portal):
    """Somebody else writes, and does not come to an end."""
    path = portal.folder / "server.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_an_answer_begins_in_time(portal, monkeypatch):
    """As a page and as JSON; and the server goes on."""
    portal.person("ann")
    browser = Browser(portal.url).get("/sign-in")
    with locked(portal):
        monkeypatch.setattr(answers, "STALLED_S", 0.2)
        monkeypatch.setattr(answers, "ANSWER_S", 0.3)
        monkeypatch.setattr(answers, "BODY_S", 0.0)
        browser.post("/sign-in", login="ann", password="correct horse battery")
        assert (browser.page.status_code, browser.page.headers["retry-after"]) == (503, "30")
        assert "did not get it done in time" in browser.page.text
        assert browser.page.headers["x-content-type-options"] == "nosniff"
    monkeypatch.undo()
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"


def test_so_does_that_of_an_api(server, monkeypatch):
    server.card(user=None)
    with locked(server):
        monkeypatch.setattr(answers, "STALLED_S", 0.2)
        monkeypatch.setattr(answers, "ANSWER_S", 0.3)
        monkeypatch.setattr(answers, "BODY_S", 0.0)
        answer = server.assign("1000000001", "ann")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too-slow")


def test_so_does_that_of_a_check(server, monkeypatch):
    """The code may be used up all the same: the answer says so."""
    seed = server.card()
    with locked(server):
        monkeypatch.setattr(group, "ANSWER_S", 0.3)
        answer = server.verify(hotp(seed, 0, 6))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too-slow")
        assert "used up" in answer.json()["error"]["kept"]
    monkeypatch.undo()
    assert server.reason(hotp(seed, 1, 6)) == "ok"


def test_a_lock_of_sqlite_is_waited_for_as_long_as_somebody_should_wait(tmp_path, monkeypatch):
    """A request's transaction is given up in time for an answer within six seconds; a sweep's, an
    import's and a command's wait longer."""
    url = f"sqlite:///{tmp_path / 'server.db'}"
    asked, command = database.Database(url, hurried=True), database.Database(url)

    def waits_ms(of: database.Database) -> int:
        with of.write() as connection:
            return connection.execute(text("PRAGMA busy_timeout")).scalar_one()

    assert waits_ms(asked) == 3500 and waits_ms(command) == 15_000
    with database.patient():
        assert waits_ms(asked) == 15_000
    assert waits_ms(asked) == 3500  # the same connection
    monkeypatch.setattr(database, "STATEMENT_S", 0.05)
    with command.write(), pytest.raises(OperationalError, match="locked"), asked.write():
        pass
    asked.close()
    command.close()


def test_whoever_waited_for_a_lock_is_told_so_and_not_judged(server, monkeypatch):
    """Nobody's check waits a second time: the answer would come too late."""
    monkeypatch.setattr(database, "STATEMENT_S", 0.1)
    seed = server.card()
    with locked(server):
        answer = server.verify(hotp(seed, 0, 6))
        assert answer.status_code == 503 and answer.headers["retry-after"] == "2"
        assert answer.json()["error"]["what"] == "The database is locked by somebody else."
        assert answer.json()["error"]["kept"] == "Nothing was changed."
    assert server.reason(hotp(seed, 0, 6)) == "ok"


def test_no_lock_of_postgresql_is_waited_for_without_end(postgresql, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    waits = database.Database(postgresql.new_database())
    schema.ensure(waits)
    with waits.write() as first:
        first.execute(text("SELECT * FROM audit_head FOR UPDATE"))
        with pytest.raises(OperationalError, match="lock timeout"), waits.write() as second:
            second.execute(text("SELECT * FROM audit_head FOR UPDATE"))
    waits.close()
