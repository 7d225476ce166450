"""What was given in one attempt, session or firm is good for nothing else: RADIUS, OpenID Connect,
access tokens, security keys, old databases."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import threading
from base64 import urlsafe_b64encode
from dataclasses import replace

import cbor2
import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from pyrad import packet
from sqlalchemy import text

from tallystick.server.accounts import factors, firms, people, sessions
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context, Owner
from tallystick.server.rules.otp import hotp
from tallystick.server.services import oidc, radius
from tallystick.server.services.radius import Mode
from tallystick.server.serving.running import running_in_thread
from tallystick.server.signing_in import second
from tallystick.server.store import schema, signing_keys
from tallystick.server.store.database import Database
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_oidc import CALLBACK, VERIFIER, client, code_of, start, visit
from tests.server.test_radius import mode, seed, terms, vpn
from tests.server.test_two_factors import app_code, sql

__all__ = ["client", "mode", "seed", "terms", "vpn"]  # fixtures of theirs


@pytest.fixture
def portal(settings, clock, tmp_path):
    """It names itself by host name, and its messages go to a file."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        yield Portal(url.replace("127.0.0.1", "localhost"), settings, clock, tmp_path)
        Browser.close_all()


# RADIUS -------------------------------------------------------------------------------------------


def ask(vpn, name: str, typed: str, state: bytes = b"") -> tuple[int, bytes, str]:
    request = vpn.request(
        User_Name=name, User_Password=typed, **({"State": state} if state else {})
    )
    reply = request.CreateReply(packet=vpn.raw(request.RequestPacket()))
    said = reply.get("Reply-Message", [""])[0]
    return reply.code, bytes(reply.get("State", [b""])[0]), str(said)


def test_state_is_good_for_the_name_that_it_was_given_to(vpn, portal, seed):
    portal.person("eve")
    _, state, _ = ask(vpn, "ann", PASSWORD)
    assert ask(vpn, "eve", hotp(seed, 2, 6), state)[0] == packet.AccessReject
    assert ask(vpn, "nobody", hotp(seed, 2, 6), state)[0] == packet.AccessReject
    assert ask(vpn, "ANN", hotp(seed, 2, 6), state)[0] == packet.AccessAccept


def test_state_is_good_for_the_client_that_asked(vpn, portal, seed, monkeypatch):

    _, state, _ = ask(vpn, "ann", PASSWORD)
    real = radius._Judging.judge
    monkeypatch.setattr(
        radius._Judging,
        "judge",
        lambda self, request, _, *more: real(self, request, "10.0.0.9", *more),
    )
    assert ask(vpn, "ann", hotp(seed, 2, 6), state)[0] == packet.AccessReject
    monkeypatch.undo()
    assert ask(vpn, "ann", hotp(seed, 2, 6), state)[0] == packet.AccessAccept


def test_a_browsers_attempt_is_no_state_nor_the_other_way_round(vpn, portal, seed):
    browser = Browser(portal.url).sign_in("ann")
    attempt = browser.http.cookies["tally_attempt"].encode()
    assert ask(vpn, "ann", hotp(seed, 2, 6), attempt)[0] == packet.AccessReject
    _, state, _ = ask(vpn, "ann", PASSWORD)
    browser.http.cookies.clear()
    browser.get("/sign-in")
    browser.http.cookies.set("tally_attempt", state.decode(), path="/p/default")
    assert browser.post("/second/card/A1", code=hotp(seed, 2, 6)).page.status_code == 401


def test_state_is_over_after_a_while_and_after_use(vpn, portal, seed):
    _, state, _ = ask(vpn, "ann", PASSWORD)
    assert ask(vpn, "ann", hotp(seed, 2, 6), state)[0] == packet.AccessAccept
    assert ask(vpn, "ann", hotp(seed, 3, 6), state)[0] == packet.AccessReject
    _, state, _ = ask(vpn, "ann", PASSWORD)
    portal.clock.advance(901)
    assert ask(vpn, "ann", hotp(seed, 4, 6), state)[0] == packet.AccessReject


def test_whoever_left_the_card_at_home(vpn, portal, seed):
    browser = Browser(portal.url).sign_in("ann").get("/second/card/A1")
    browser.post("/second/card/A1", code=hotp(seed, 2, 6))
    totp = portal.enrol_totp(browser)
    portal.enrol_email(browser)
    code, state, said = ask(vpn, "ann", PASSWORD)
    assert "Card A1" in said and "Phone" in said and "email" in said
    assert ask(vpn, "ann", app_code(portal, totp), state)[0] == packet.AccessAccept
    _, state, _ = ask(vpn, "ann", PASSWORD)
    before = portal.codes_sent()
    code, again, said = ask(vpn, "ann", "email", state)
    assert (code, again) == (packet.AccessChallenge, state) and "was sent" in said
    sent = portal.code(before + 1)
    assert ask(vpn, "ann", sent, state)[0] == packet.AccessAccept
    # None of these was a guess at the card or at the app.
    assert sql(portal, "SELECT failures FROM card") == [(0,)]
    assert {row[0] for row in sql(portal, "SELECT failures FROM factor")} == {0}


@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_right_codes_lock_nothing(vpn, portal, seed):
    """The app's code is no guess at the card, nor the card's at the app."""
    browser = Browser(portal.url).sign_in("ann").get("/second/card/A1")
    browser.post("/second/card/A1", code=hotp(seed, 2, 6))
    totp = portal.enrol_totp(browser)
    for _ in range(14):
        code = ask(vpn, "ann", PASSWORD + app_code(portal, totp))[0]
        assert code == packet.AccessAccept
    assert ask(vpn, "ann", PASSWORD + hotp(seed, 3, 6))[0] == packet.AccessAccept
    assert sql(portal, "SELECT failures FROM card") == sql(portal, "SELECT failures FROM factor")


@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_a_wrong_code_counts_once_at_each(vpn, portal, seed, wrong_code):
    browser = Browser(portal.url).sign_in("ann").get("/second/card/A1")
    browser.post("/second/card/A1", code=hotp(seed, 2, 6))
    portal.enrol_totp(browser)
    assert ask(vpn, "ann", PASSWORD + wrong_code(seed))[0] == packet.AccessReject
    assert sql(portal, "SELECT failures FROM card") == [(1,)]
    assert sql(portal, "SELECT failures FROM factor") == [(1,)]


def test_what_recovered_the_password_gets_no_accept(vpn, portal, seed):
    browser = Browser(portal.url).sign_in("ann").get("/second/card/A1")
    browser.post("/second/card/A1", code=hotp(seed, 2, 6))
    portal.enrol_totp(browser)
    sql(portal, "UPDATE person SET recovered_by = 'card'")
    _, state, said = ask(vpn, "ann", PASSWORD)
    assert "A1" not in said
    assert ask(vpn, "ann", hotp(seed, 3, 6), state)[0] == packet.AccessReject


# OpenID Connect -----------------------------------------------------------------------------------


def stripped(url: str) -> str:
    return re.sub(r"&(prompt|max_age)=\w+", "", url)


@pytest.mark.parametrize("asked", [{"prompt": "login"}, {"max_age": "10"}])
def test_a_new_sign_in_is_not_passed_by_opening_what_comes_next(portal, client, asked):
    browser = portal.staff("ann", "user")
    portal.clock.advance(60)
    url = start(client, **asked)
    for again in (url, url, stripped(url), stripped(url) + "&prompt=none"):
        answer = visit(browser, again).headers["location"]
        assert "/sign-in?" in answer or "error=login_required" in answer, again
    # Whoever has the browser can put the service's state back in the answer: another one is no way.
    bare = stripped(url)
    for changed in (
        bare.replace("s-1", "s-2"),
        bare.replace("n-1", "n-2"),
        bare.replace("state=s-1", "").replace("nonce=n-1", ""),
    ):
        assert "/sign-in?" in visit(browser, changed).headers["location"], changed
    other = start(client, "w" * 64)  # another request of the service is not touched
    assert visit(browser, other).headers["location"].startswith(CALLBACK + "?code=")


def test_nor_by_waiting(portal, client):
    portal.policy(session_idle_minutes=240)
    browser = portal.staff("ann", "user")
    portal.clock.advance(60)
    url = start(client, prompt="login")
    assert "/sign-in?" in visit(browser, url).headers["location"]
    for _ in range(3):
        portal.clock.advance(3 * 3600)
        browser.get("/")
        assert "/sign-in?" in visit(browser, stripped(url)).headers["location"]


def test_a_new_sign_in_is_enough_once_it_was_made(portal, client):
    portal.policy(minimum_methods=0)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    portal.clock.advance(60)
    for asked in ({"prompt": "login"}, {"max_age": "0"}):
        url = start(client, **asked).replace("s-1", "s-" + secrets.token_hex(3))
        assert "/sign-in?" in visit(browser, url).headers["location"]
        browser.get("/sign-in?again=yes").post("/sign-in", login="ann", password=PASSWORD)
        portal.clock.advance(5)
        assert visit(browser, url).headers["location"].startswith(CALLBACK + "?code="), asked


def test_mfa_is_not_answered_by_someone_who_has_no_second_factor(portal, client):
    portal.policy(minimum_methods=0)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    code_of(visit(browser, start(client)))
    assert visit(browser, start(client, acr_values="mfa")).status_code == 403
    none = visit(browser, start(client, acr_values="mfa", prompt="none"))
    assert none.headers["location"].startswith(CALLBACK + "?error=interaction_required")


def test_a_token_of_an_ended_session_stays_dead(portal, client):
    """Also where the database gives the session's number again, to the same person."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    portal.with_app(browser, "ann", totp)
    token = token_of(client, browser)
    assert info(client, token).status_code == 200
    number = sql(portal, "SELECT max(id) FROM session")
    browser.get("/").post("/sign-out")
    assert info(client, token).status_code == 401
    portal.with_app(browser, "ann", totp)
    latest = "(SELECT max(id) FROM session)"
    sql(portal, f"UPDATE session SET id = {number[0][0]} WHERE id = {latest}")
    assert sql(portal, "SELECT max(id) FROM session") == number
    assert info(client, token).status_code == 401


def token_of(client, browser) -> str:
    answer = code_of(visit(browser, start(client)))
    return client.fetch_token(
        client.metadata_["token_endpoint"], authorization_response=answer, code_verifier=VERIFIER
    )["access_token"]


def info(client, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(client.metadata_["userinfo_endpoint"], headers=headers, timeout=60)


def test_a_token_expires(portal, client):
    token = token_of(client, portal.staff("ann", "user"))
    portal.clock.advance(oidc.TOKEN_LIFE_S)
    assert info(client, token).status_code == 401


@pytest.mark.parametrize("token", ["x", "a.b.c", "é", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token(portal, client, token):
    portal.staff("ann", "user")
    headers = {"authorization": b"Bearer " + token.encode()}
    answer = httpx.get(client.metadata_["userinfo_endpoint"], headers=headers, timeout=60)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "change", [{"sub": "someone else"}, {"aud": "x"}, {"iss": "x"}, {"sid": "x"}, {"exp": "soon"}]
)
def test_a_token_with_another_claim(portal, client, change):
    """Signed by the server's own key: as if it had been given for something else."""
    token = token_of(client, portal.staff("ann", "user"))
    with opened(portal.settings) as parts, parts.database.read() as connection:
        key = signing_keys.current(connection, parts.ring, portal.clock())
        made = jwt.decode(token, key, algorithms=["RS256"])
    assert info(client, jwt.encode(made.header, made.claims, key)).status_code == 200
    assert info(client, jwt.encode(made.header, made.claims | change, key)).status_code == 401


def test_a_token_of_a_disabled_user(portal, client):
    token = token_of(client, portal.staff("ann", "user"))
    sql(portal, "UPDATE person SET disabled_at = 1")
    assert info(client, token).status_code == 401


def test_an_address_goes_only_to_services_that_asked(portal, client):
    portal.person("ann", email="ann@firm.example")
    browser = Browser(portal.url).sign_in("ann")
    portal.enrol_totp(browser)
    client.scope = "openid"
    assert set(info(client, token_of(client, browser)).json()) == {"sub"}


# sessions -----------------------------------------------------------------------------------------


def test_a_longer_policy_prolongs_nothing(portal):
    portal.policy(session_hours=1, session_idle_minutes=1440)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    portal.policy(session_hours=100)
    portal.clock.advance(3600)
    assert browser.get("/").heading == "Sign in"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_removals_at_once_leave_what_policy_asks_for(database, request, settings):
    """Each alone would leave one; together they must not leave none."""
    url = settings.db_url
    if database == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    db = Database(url)
    schema.ensure(db)
    with opened(settings) as parts:
        ring = parts.ring
    with db.write() as connection:
        person_id = people.add(
            connection, firm_id=1, login="ann", role=people.PersonRole.USER, email=None, now=0
        )
        keys = [
            factors.create(
                connection, ring, firm_id=1, person_id=person_id, kind=kind, label="x",
                facts={}, secret=b"x" * 20, now=0,
            )
            for kind in (MethodKind.TOTP, MethodKind.EMAIL)
            if True
        ]  # fmt: skip
        for key in keys:
            factors.confirm(connection, person_id, key, 0)
    from tallystick.server.errors import ApiError
    from tallystick.server.portal import account

    together, outcomes = threading.Barrier(2, timeout=5), []

    class Meeting:
        """Both have removed theirs before either looks at what is left, if they can."""

        def too_few(self, policy, held):
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(1)
            return second.too_few(policy, held)

    def remove(kind: MethodKind, key: int) -> None:
        try:
            with db.write() as connection:
                people.get(connection, 1, person_id, lock=True)
                context = Context(
                    connection, ring, FirmPolicy(), 1, "default", 0.0, b"", "", "http://localhost"
                )
                person = people.get(connection, 1, person_id)
                METHODS[kind].remove(context, Owner(person_id, "ann", None), str(key))
                if Meeting().too_few(FirmPolicy(), second.usable(context, person)):
                    raise ApiError(409, "too-few-methods", "")
            outcomes.append("removed")
        except ApiError:
            outcomes.append("kept")

    threads = [
        threading.Thread(target=remove, args=pair)
        for pair in zip((MethodKind.TOTP, MethodKind.EMAIL), keys, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept", "removed"]
    # The page takes the same lock first.
    import inspect

    assert "lock=True" in inspect.getsource(account.remove)
    db.close()


# security keys ------------------------------------------------------------------------------------


class SoftKey:
    """An authenticator that does as it is told, also what it should not."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)
        self.count = 0

    def _client(self, kind: str, challenge: bytes, **more: object) -> bytes:
        data = {
            "type": kind,
            "challenge": _b64(challenge),
            "origin": "http://localhost",
            "crossOrigin": False,
        }
        return json.dumps(data | more).encode()

    def _data(self, flags: int) -> bytes:
        self.count += 1
        rp = hashlib.sha256(b"localhost").digest()
        return rp + bytes([flags]) + self.count.to_bytes(4, "big")

    def make(self, challenge: bytes, **more: object) -> dict:
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        tail = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        attested = {"fmt": "none", "attStmt": {}, "authData": self._data(0x45) + tail}
        return self._answer(
            clientDataJSON=_b64(self._client("webauthn.create", challenge, **more)),
            attestationObject=_b64(cbor2.dumps(attested)),
        )

    def get(self, challenge: bytes, user: bytes | None = None, **more: object) -> dict:
        client_data, data = self._client("webauthn.get", challenge, **more), self._data(0x05)
        signature = self.key.sign(
            data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256())
        )
        handle = {} if user is None else {"userHandle": _b64(user)}
        return self._answer(
            clientDataJSON=_b64(client_data),
            authenticatorData=_b64(data),
            signature=_b64(signature),
            **handle,
        )

    def _answer(self, **response: str) -> dict:
        name = _b64(self.id)
        return {"id": name, "rawId": name, "type": "public-key", "response": response}


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
def keys(settings):
    """→ a function that gives a firm's context and person, with a fresh challenge"""
    with opened(settings) as parts, parts.database.write() as connection:
        firm_ids = [1, firms.add(connection, parts.ring, "acme", now=0, actor="test")]
        owners = []
        for firm_id in firm_ids:
            person_id = people.add(
                connection, firm_id=firm_id, login="ann", role=people.PersonRole.USER,
                email=None, now=0,
            )  # fmt: skip
            owners.append(Owner(person_id, "ann", None))

        def at(index: int = 0) -> tuple[Context, Owner]:
            return Context(
                connection, parts.ring, FirmPolicy(), firm_ids[index], "x", 1.0, b"a", "",
                "http://localhost", secrets.token_bytes(32),
            ), owners[index]  # fmt: skip

        yield at


WEBAUTHN = METHODS[MethodKind.WEBAUTHN]


def enrol_key(keys, key: SoftKey, index: int = 0, **more: object) -> str:
    context, owner = keys(index)
    answer = {"response": json.dumps(key.make(context.challenge, **more))}
    return WEBAUTHN.finish(context, owner, "new", answer).reason.value


def use_key(keys, key: SoftKey, **more: object) -> str:
    context, owner = keys()
    (held,) = WEBAUTHN.held(context, owner)
    answer = {"response": json.dumps(key.get(context.challenge, **more))}
    return WEBAUTHN.verify(context, owner, held.key, answer).reason.value


def test_a_key_of_another_user_or_in_a_frame_is_refused(keys):
    key = SoftKey()
    assert enrol_key(keys, SoftKey(), crossOrigin=True) == "wrong"
    assert enrol_key(keys, SoftKey(), topOrigin="https://elsewhere.example") == "wrong"
    assert enrol_key(keys, key) == "ok"
    context, owner = keys()
    own = context.ring.tag("webauthn-user", str(owner.id).encode())
    assert use_key(keys, key) == "ok"
    assert use_key(keys, key, user=own) == "ok"
    assert use_key(keys, key, user=b"somebody else") == "wrong"
    assert use_key(keys, key, crossOrigin=True) == "wrong"
    assert use_key(keys, key, crossOrigin="yes") == "wrong"
    assert use_key(keys, key, topOrigin="https://elsewhere.example") == "wrong"


def test_a_key_whose_counter_did_not_grow_is_refused(keys):
    """As a copy's does not."""
    key = SoftKey()
    assert enrol_key(keys, key) == "ok"
    assert use_key(keys, key) == "ok"
    key.count -= 1  # the copy was made before
    assert use_key(keys, key) == "wrong"
    assert use_key(keys, key) == "ok"


def test_one_credential_in_two_firms_is_refused_in_words(keys):
    from tallystick.server.errors import ApiError

    key = SoftKey()
    assert enrol_key(keys, key) == "ok"
    for index in (0, 1):
        with pytest.raises(ApiError, match="enrolled here already") as caught:
            enrol_key(keys, key, index)
        assert caught.value.status == 409


# old databases ------------------------------------------------------------------------------------


def test_names_that_differ_in_case_are_both_kept(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    schema.migrate(database, "0003")
    with database.write() as connection:
        for login in ("Ann", "ann", "Bob"):
            connection.execute(
                text("INSERT INTO person (firm_id, login, role, created_at) "
                     "VALUES (1, :login, 'user', 0)"), {"login": login},
            )  # fmt: skip
        connection.execute(
            text("INSERT INTO session (token_hash, firm_id, person_id, amr, browser, source, "
                 "created_at, seen_at, expires_at) VALUES (x'00', 1, 1, 'pwd', '', '', 0, 0, 9)")
        )  # fmt: skip
    schema.ensure(database)
    with database.write() as connection:
        names = [people.by_login(connection, 1, name).login for name in ("ANN", "ann~2", "bob")]
        assert names == ["Ann", "ann~2", "Bob"]
        (handle,) = connection.execute(text("SELECT handle FROM session")).one()
        assert len(handle) == 32
    schema.migrate(database, "0003")
    schema.ensure(database)
    database.close()


def test_a_session_has_a_handle_that_is_never_used_again(settings):
    with opened(settings) as parts, parts.database.write() as connection:
        person_id = people.add(
            connection, firm_id=1, login="ann", role=people.PersonRole.USER, email=None, now=0
        )
        handles = set()
        for _ in range(3):
            token = sessions.open_session(
                connection, person=people.get(connection, 1, person_id), policy=FirmPolicy(),
                amr=("pwd",), browser="", source="", now=1,
            )  # fmt: skip
            session = sessions.current(connection, token, 1, 1)
            handles.add(session.handle)
            sessions.end(connection, person_id, session.id)
        assert len(handles) == 3
