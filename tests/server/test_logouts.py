"""Services hear of a sign-out (OpenID Connect Back-Channel Logout 1.0), whatever ends a session."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from joserfc import jws

from tallystick.server.accounts import sessions
from tallystick.server.errors import ApiError
from tallystick.server.messages import logouts, sending
from tallystick.server.services import oidc_clients
from tallystick.server.serving.running import running_in_thread
from tallystick.server.state import open_state
from tallystick.server.store import housekeeping
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_oidc_profile import Service

WAIT_S = 60


class Receiver:
    """A service's end: keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.statuses: list[int] = []
        self._came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                assert self.headers["content-type"] == "application/x-www-form-urlencoded"
                with outer._came:
                    outer.tokens += parse_qs(body)["logout_token"]
                    status = outer.statuses.pop(0) if outer.statuses else 200
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.send_header("location", "/elsewhere")
                    self.end_headers()
                    outer._came.notify_all()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/logout"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int) -> list[str]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.tokens) >= count, WAIT_S), self.tokens
            return list(self.tokens)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def portal(settings, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "POLL_S", 0.02)
    with running_in_thread(settings) as url:
        yield Portal(url.replace("127.0.0.1", "localhost"), settings, clock, tmp_path)
        Browser.close_all()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def service(portal, receiver) -> Service:
    service = Service(portal)
    change(portal, service, backchannel_logout_uri=receiver.url)
    return service


def change(portal: Portal, service: Service, **values: str) -> None:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        client = oidc_clients.named(connection, 1, service.id)
        now = portal.clock()
        oidc_clients.change(connection, parts.ring, client, now=now, actor="test", **values)


def acts(portal: Portal, service: Service, what: str, count: int = 1) -> list[str]:
    """Details of such entries of the audit log, once there are so many."""
    for _ in range(1000):
        with opened(portal.settings) as parts, parts.database.read() as connection:
            query = "SELECT detail FROM audit WHERE subject = ? AND action = ?"
            found = list(connection.exec_driver_sql(query, (service.id, what)).scalars())
        if len(found) >= count:
            return found
    raise AssertionError(f"no {what}")


def waiting(portal: Portal) -> list[tuple[int, int | None]]:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        return [
            (row.tries, row.due_at)
            for row in connection.exec_driver_sql("SELECT tries, due_at FROM oidc_logout")
        ]


def test_a_logout_token_is_as_the_specification_has_it(portal, service, receiver):
    ann = portal.staff("ann", "user")
    tokens = service.tokens(ann)
    identity = service.claims(tokens["id_token"])
    assert receiver.tokens == []
    ann.post("/sign-out")
    (token,) = receiver.wait(1)
    claims = service.claims(token)
    now = int(portal.clock())
    assert claims.pop("jti")
    assert claims == {
        "iss": identity["iss"],
        "aud": service.id,
        "sub": identity["sub"],
        "sid": identity["sid"],
        "iat": now,
        "exp": now + logouts.TOKEN_LIFE_S,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }  # and no nonce (2.4)
    assert jws.extract_compact(token.encode()).headers()["typ"] == "logout+jwt"
    assert service.discovered["backchannel_logout_supported"] is True
    assert service.discovered["backchannel_logout_session_supported"] is True
    assert acts(portal, service, "oidc-logout-told") and waiting(portal) == []


def test_it_is_no_id_token_here(portal, service, receiver):
    """Not a hint of who signs out, nor an access token: a service could send it back."""
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    ann.post("/sign-out")
    (token,) = receiver.wait(1)
    assert service.info(token).status_code == 401
    bob = portal.staff("bob", "user")
    bob.get(f"/oidc/end-session?id_token_hint={token}")
    assert bob.get("/").heading != "Sign in"


@pytest.mark.parametrize("how", ["elsewhere", "disabled", "service"])
def test_whatever_ends_the_session(portal, service, receiver, how):
    ann = portal.staff("ann", "user")
    tokens = service.tokens(ann)
    sid = service.claims(tokens["id_token"])["sid"]
    if how == "elsewhere":
        with opened(portal.settings) as parts, parts.database.write() as connection:
            sessions.end_all(connection, person_id(portal, "ann"))
    elif how == "disabled":
        boss = portal.staff("boss", "administrator")
        boss.get(f"/people/{person_id(portal, 'ann')}")
        boss.post(f"/people/{person_id(portal, 'ann')}", role="user", disabled="yes")
    else:
        ann.get(f"/oidc/end-session?id_token_hint={tokens['id_token']}")
    assert service.claims(receiver.wait(1)[0])["sid"] == sid


def test_signing_in_anew_ends_the_session_before(portal, service, receiver):
    portal.person("eve")
    eve = Browser(portal.url).sign_in("eve")
    totp = portal.enrol_totp(eve)
    eve.get("/").post("/sign-out")
    portal.with_app(eve, "eve", totp)
    sid = service.claims(service.tokens(eve)["id_token"])["sid"]
    eve.get("/sign-in?again=yes").post("/sign-in", login="eve", password=PASSWORD)
    key = re.search(r"/second/totp/(\d+)", eve.page.text).group(1)
    eve.get(f"/second/totp/{key}").post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    assert service.claims(receiver.wait(1)[0])["sid"] == sid
    assert service.claims(service.tokens(eve)["id_token"])["sid"] != sid
    assert len(receiver.tokens) == 1


def person_id(portal: Portal, login: str) -> int:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        query = "SELECT id FROM person WHERE login = ?"
        return int(connection.exec_driver_sql(query, (login,)).scalar_one())


def test_one_session_of_two_and_one_firm_of_two(portal, service, receiver):
    """Only services of that very session, and each of them once."""
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    service.tokens(ann)  # twice in one session
    bob = portal.staff("bob", "user")
    service.tokens(bob)
    silent = Service(portal, "Silent")
    silent.tokens(ann)
    ann.post("/sign-out")
    acts(portal, service, "oidc-logout-told")
    bob.post("/sign-out")
    acts(portal, service, "oidc-logout-told", 2)
    assert len({service.claims(token)["sid"] for token in receiver.wait(2)}) == 2
    assert len(receiver.tokens) == 2


def test_a_service_that_is_down_is_told_later(portal, service, receiver):
    receiver.statuses = [503, 302, 200]  # redirects are not followed
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    ann.post("/sign-out")
    receiver.wait(1)
    portal.clock.advance(59)
    assert len(receiver.tokens) == 1
    portal.clock.advance(1)
    receiver.wait(2)
    portal.clock.advance(120)
    last = service.claims(receiver.wait(3)[2])
    assert last["iat"] == int(portal.clock())  # signed anew: the first one is over
    assert '"tries": 3' in acts(portal, service, "oidc-logout-told")[0].replace(
        '":', '": '
    ).replace(":  ", ": ")
    assert waiting(portal) == []


def test_a_service_that_is_down_holds_up_no_other(portal, service, receiver):
    """And is tried once a minute, whatever waits for it."""
    down = Service(portal, "Down")
    away = Receiver()
    change(portal, down, backchannel_logout_uri=away.url)
    away.statuses = [503] * 3
    # All of them now: each takes a minute of the server's clock.
    *people, last = [portal.staff(name, "user") for name in ("ann", "bob", "eve", "fay")]
    for one in people:
        down.tokens(one)
    for one in people:
        one.post("/sign-out")
    away.wait(1)
    service.tokens(last)
    last.post("/sign-out")
    receiver.wait(1)
    assert len(away.tokens) <= 3
    for count in range(2, 7):
        portal.clock.advance(121)
        away.wait(count)
    acts(portal, down, "oidc-logout-told", 3)
    assert waiting(portal) == []
    away.close()


def test_after_eight_tries_it_is_given_up(portal, service, receiver, caplog):
    receiver.statuses = [500] * logouts.MOST_TRIES
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    ann.post("/sign-out")
    for count in range(1, logouts.MOST_TRIES + 1):
        receiver.wait(count)
        portal.clock.advance(64 * 60)
    assert acts(portal, service, "oidc-logout-failed")
    assert waiting(portal) == []
    assert all(token not in caplog.text for token in receiver.tokens)


def test_a_service_that_refuses_is_not_asked_again(portal, service, receiver):
    receiver.statuses = [400]
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    ann.post("/sign-out")
    assert "400" in acts(portal, service, "oidc-logout-refused")[0]
    assert waiting(portal) == []


def test_what_waits_survives_the_process(portal, service, receiver, monkeypatch):
    """The session's end and what is to be told of it are one transaction."""
    monkeypatch.setattr(logouts, "_post", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    ann.post("/sign-out")
    while waiting(portal) == [(0, 0)]:
        pass
    monkeypatch.undo()
    state = open_state(portal.settings)  # another process of the same server
    portal.clock.advance(61)
    assert receiver.wait(1)
    state.close()


def test_an_address_is_checked_and_can_be_taken_away(portal, service, receiver):
    for bad in ("http://service.example/out", "https://x/#f", "ftp://x", "javascript:1"):
        with pytest.raises(ApiError, match="address of a service"):
            change(portal, service, backchannel_logout_uri=bad)
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    change(portal, service, backchannel_logout_uri="")
    ann.post("/sign-out")
    while waiting(portal):
        pass
    assert receiver.tokens == []


def test_a_removed_service_and_a_session_that_is_over_leave_nothing(portal, service):
    ann = portal.staff("ann", "user")
    service.tokens(ann)
    other = Service(portal, "Other")
    other.tokens(ann)
    with opened(portal.settings) as parts:
        with parts.database.write() as connection:
            client = oidc_clients.named(connection, 1, other.id)
            oidc_clients.remove(connection, parts.ring, client, now=portal.clock(), actor="test")
        assert len(waiting(portal)) == 1
        portal.clock.advance(30 * 86400)
        housekeeping.sweep(parts.database, portal.clock())
    assert waiting(portal) == []
