"""What is sent slowly is judged by what its sender may do when it is there: a form of the portal, a
file, a container."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy

from tallystick.server.accounts import credentials
from tallystick.server.api import access
from tallystick.server.portal import web
from tallystick.server.serving import whole
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser
from tests.server.test_two_factors import sql
from tests.server.test_under_way import person_id

FORM = "application/x-www-form-urlencoded"


def until(done: Callable[[], object]) -> None:
    """The server is a thread of its own."""
    for _ in range(1500):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


class Slow:
    """A request whose last bytes are not there yet."""

    def __init__(self, url: str, path: str, body: bytes, kind: str, **headers: str) -> None:
        where = urlsplit(url)
        head = [f"POST {path} HTTP/1.1", f"host: {where.netloc}", f"content-type: {kind}"]
        head += [f"content-length: {len(body)}", "connection: close"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._rest = body[-1:]
        self._socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self._socket.sendall("\r\n".join([*head, "", ""]).encode() + body[:-1])

    def rest(self) -> tuple[int, str]:
        """→ status and text of the answer"""
        self._socket.sendall(self._rest)
        answer = b""
        while piece := self._socket.recv(65536):
            answer += piece
        self._socket.close()
        return int(answer.split()[1]), answer.decode()


def slow_form(browser: Browser, path: str, fields: dict[str, str], *, file: str = "") -> Slow:
    token = re.search(r'name="csrf" value="(\w+)"', browser.page.text).group(1)
    fields = {"csrf": token} | fields
    body, kind = urlencode(fields).encode(), FORM
    if file:
        parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
        parts += [f'name="file"; filename="people.csv"\r\n\r\n{file}']
        begins = "--edge\r\ncontent-disposition: form-data; "
        body = ("".join(f"{begins}{part}\r\n" for part in parts) + "--edge--\r\n").encode()
        kind = "multipart/form-data; boundary=edge"
    cookies = "; ".join(f"{name}={value}" for name, value in browser.http.cookies.items())
    return Slow(
        browser.origin, browser.base + path, body, kind, cookie=cookies, origin=browser.origin
    )


@pytest.fixture
def looked_up(monkeypatch):
    """Wait until a request got as far as the look at who sends it."""
    real, seen = web.sessions.current, []

    def current(*args):
        seen.append(args)
        return real(*args)

    monkeypatch.setattr(web.sessions, "current", current)

    @contextmanager
    def watching():
        seen.clear()
        yield
        until(lambda: seen)

    return watching


@pytest.fixture
def as_it_comes(monkeypatch):
    """Forms are not waited for: who sends is looked up first, as with a file."""
    monkeypatch.setattr(whole, "_is_short", lambda path: False)


def taken(portal, boss, how: str) -> None:
    number = person_id(boss, "eve")
    boss.get(f"/people/{number}")
    if how == "role":
        boss.post(f"/people/{number}", role="support")
    elif how == "barred":
        boss.post(f"/people/{number}", disabled="yes")
    else:
        boss.post(f"/people/{number}/end-sessions")


FORMS = {
    "/people": {"login": "mallory", "role": "administrator"},
    "/policy": {"password_min_length": "9"},
    "/people/1/end-sessions": {},
    "/cards/many/lost": {"card.A1": "yes"},
}


@pytest.mark.parametrize("how", ["role", "barred", "signed-out"])
@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_whoever_lost_the_right_does_nothing(portal, as_it_comes, looked_up, path, how):
    boss, eve = portal.staff("boss", "administrator"), portal.staff("eve", "administrator")
    eve.get("/people")
    with looked_up():
        slow = slow_form(eve, path, FORMS[path])
    before = sql(portal, "SELECT login, role FROM person WHERE login != 'eve'")
    taken(portal, boss, how)
    policy, sessions = (sql(portal, f"SELECT * FROM {table}") for table in ("firm", "session"))
    status, text = slow.rest()
    assert (status, "Your role does not allow this." in text) == (
        (403, True) if how == "role" else (303, False)
    )
    assert sql(portal, "SELECT login, role FROM person WHERE login != 'eve'") == before
    assert sql(portal, "SELECT * FROM firm") == policy
    assert len(sql(portal, "SELECT * FROM session")) == len(sessions)


def test_nor_does_it_change_ones_own_account(portal, as_it_comes, looked_up):
    """The browser was found, and its owner has signed it out from elsewhere."""
    portal.person("ann", email="ann@firm.example")
    ann = Browser(portal.url).sign_in("ann")
    ann.get("/address")
    with looked_up():
        slow = slow_form(ann, "/address", {"address": "eve@evil.example"})
    Browser(portal.url).sign_in("ann").get("/").post("/sessions/end-others")
    assert slow.rest()[0] == 303
    assert sql(portal, "SELECT email FROM person") == [("ann@firm.example",)]


def test_a_form_is_there_as_a_whole_before_anybody_looks_who_sends_it(portal):
    boss, eve = portal.staff("boss", "administrator"), portal.staff("eve", "administrator")
    slow = slow_form(eve.get("/people"), "/people", FORMS["/people"])
    taken(portal, boss, "role")
    status, text = slow.rest()
    assert status == 403 and "Your role does not allow this." in text
    assert sql(portal, "SELECT login FROM person WHERE login = 'mallory'") == []


@pytest.mark.parametrize("how", ["role", "barred", "signed-out"])
def test_a_file_of_whoever_lost_the_right_is_not_taken_in(portal, looked_up, how):
    boss, eve = portal.staff("boss", "administrator"), portal.staff("eve", "administrator")
    eve.get("/people/import")
    with looked_up():
        slow = slow_form(
            eve, "/people/import", {"now": "yes"}, file="login,role\nmallory,administrator\n"
        )
    taken(portal, boss, how)
    assert slow.rest()[0] == (403 if how == "role" else 303)
    assert sql(portal, "SELECT login FROM person WHERE login = 'mallory'") == []


@pytest.mark.parametrize("what", ["cards", "people", "container"])
def test_nor_is_one_of_a_credential_that_was_revoked(server, monkeypatch, what):
    """While the last bytes of it were on their way."""
    asked = []
    real = access.authenticate
    monkeypatch.setattr(access, "authenticate", lambda *args: asked.append(1) or real(*args))
    who = server.station if what == "container" else server.admin
    content = server.container().add("A1", bytes(range(20))).bytes(server.folder)
    path, kind = "/v1/cards", "application/pskc+xml"
    if what != "container":
        path, kind = f"/v1/{what}/imports", "multipart/form-data; boundary=edge"
        options = {"cards": {"psk": server.station.psk.reveal().hex()}, "people": {}}[what]
        file = content if what == "cards" else b"login\nmallory\n"
        begins = b"--edge\r\ncontent-disposition: form-data; "
        content = begins + b'name="options"\r\n\r\n' + json.dumps(options).encode() + b"\r\n"
        content += begins + b'name="file"; filename="f"\r\n\r\n' + file + b"\r\n--edge--\r\n"
    slow = Slow(str(server.client.base_url).rstrip("/"), path, content, kind, **bearer(who))
    until(lambda: asked)
    with opened(server.settings) as parts, parts.database.write() as connection:
        credentials.revoke(connection, parts.ring, who.id, now=server.clock(), actor="console")
    status, text = slow.rest()
    assert "rights-taken" in text and status == (401 if what == "container" else 200)
    with opened(server.settings) as parts, parts.database.read() as connection:
        for table in ("card", "person"):
            assert connection.scalar(sqlalchemy.text(f"SELECT COUNT(*) FROM {table}")) == 0


def test_pages_of_members_write_as_that_member():
    """By `Member.acting` or `Member.act`, which look again: but for those that nobody has to be
    signed in for, and those that end a session or choose a language."""
    others = {"oidc.py", "signin.py", "web.py", "languages.py"}
    pages = Path(web.__file__).parent.glob("*.py")
    straight = {
        page.name
        for page in pages
        if re.search(r"database\.(write|run)\(", page.read_text(encoding="utf-8"))
    }
    assert straight == others
