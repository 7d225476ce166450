"""Verification over HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from tallystick.server.accounts import credentials
from tallystick.server.accounts.credentials import hash_token
from tallystick.server.checking import group
from tallystick.server.checking.answers import KEPT_S, keep
from tallystick.server.checking.verification import CodeCheck, Verifier
from tallystick.server.errors import ApiError
from tallystick.server.rules.judge import CodePolicy
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.store import audit
from tallystick.server.store.database import Database, StaleError
from tallystick.server.store.models import AuditEntry
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer

CARD = {"method": "card", "serial": "1000000001"}


def test_a_right_code_is_right_once(server):
    seed = server.card()
    answer = server.verify(hotp(seed, 0, 6))
    assert answer.status_code == 200
    assert answer.json() == {"accepted": True, "reason": "ok", **CARD}
    again = server.verify(hotp(seed, 0, 6))
    assert again.json() == {"accepted": False, "reason": "replayed", **CARD}


def test_look_ahead_then_resynchronise(server):
    seed = server.card()
    assert server.reason(hotp(seed, 9, 6)) == "ok"
    assert server.reason(hotp(seed, 30, 6)) == "resynchronise"
    answer = server.resynchronise(hotp(seed, 31, 6), hotp(seed, 32, 6))
    assert answer.json()["accepted"]
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 33


def test_resynchronisation_refuses_codes_that_do_not_follow(server):
    seed = server.card()
    assert not server.resynchronise(hotp(seed, 30, 6), hotp(seed, 32, 6)).json()["accepted"]
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 0


def test_exactly_the_limit_of_guesses_is_evaluated(server, wrong_code):
    seed = server.card()
    wrong = wrong_code(seed)
    limit = CodePolicy().max_failures
    assert [server.reason(wrong) for _ in range(limit + 2)] == ["wrong"] * limit + ["throttled"] * 2
    answer = server.verify(hotp(seed, 0, 6))
    assert answer.status_code == 429
    assert answer.json() == {"reason": "throttled", "retry_after_s": 60}
    assert answer.headers["retry-after"] == "60"
    server.clock.advance(60)
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    assert [server.reason(wrong) for _ in range(limit)] == ["wrong"] * limit


def test_throttling_covers_resynchronisation(server, wrong_code):
    seed = server.card()
    wrong = wrong_code(seed)
    for _ in range(CodePolicy().max_failures):
        server.resynchronise(wrong, wrong)
    assert server.resynchronise(hotp(seed, 0, 6), hotp(seed, 1, 6)).status_code == 429


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_wrong_length_is_an_error_and_no_guess(server, digits):
    seed = server.card(response_length=digits)
    for length in {5, 6, 7, 8, 9} - {digits}:
        for _ in range(CodePolicy().max_failures):
            answer = server.verify("1" * length)
            assert answer.status_code == 422
            assert answer.json()["error"]["code"] in ("wrong-length", "invalid-request")
    assert server.reason(hotp(seed, 0, digits)) == "ok"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "ann"},
        {"code": "123456"},
        {"user": "ann", "serial": "1", "code": "123456"},
        {"user": "ann", "code": "12345a"},
        {"user": "ann", "code": "１２３４５６"},
        {"user": "ann", "code": 123456},
        {"user": "", "code": "123456"},
        {"user": "ann", "code": "123456", "extra": 1},
        [],
    ],
)
def test_invalid_requests(server, body):
    token = server.service.token.reveal().decode()
    headers = {"authorization": f"Bearer {token}"}
    answer = server.client.post("/v1/verify", json=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid-request"
    assert "123456" not in answer.text


ODD = [
    b'{"user":"ann","code":"000000"}',
    b'{"user":"ANN","code":"000000","code":"000001"}',
    b'{"user":"ann","serial":null,"code":"000000"}',
    b' {"serial": "1000000001", "code": "000000"}\n',
    b'{"user":"nobody","code":"000000"}',
    b'{"user":"ann","code":"0000000"}',
    b'{"user":"ann","code":"000000"',
    b'{"user":"ann","code":"000000"} {}',
    b'{"user":"\\ud800","code":"000000"}',
    b'{"user":"a\\u0000n","code":"000000"}',
    b'{"user":"\xff","code":"000000"}',
    b'\xef\xbb\xbf{"user":"ann","code":"000000"}',
    '{"user":"ann","code":"000000"}'.encode("utf-16"),
    b'{"user":"ann","code":1e5}',
    b'{"user":NaN,"code":"000000"}',
    b'["ann","000000"]',
    b"null",
    b"",
]


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("key", ["", "k" * 32, '"' + "k" * 32 + '"', "short", "ä" * 20])
def test_the_quick_way_answers_as_the_long_one_does(server, body, key):
    """Only a body that is said to be JSON, and nothing more, is read the quick way."""
    server.card()
    headers = bearer(server.service) | ({"idempotency-key": key.encode()} if key else {})
    quick, usual = (
        server.client.post(
            "/v1/verify", content=body, headers=headers | {"content-type": content_type}
        )
        for content_type in ("application/json", "application/json; charset=utf-8")
    )
    assert (quick.status_code, quick.json()) == (usual.status_code, usual.json())


JSON_TYPES = ("application/json", "application/json; charset=utf-8")  # the quick way, the long one


def answered(server, headers: dict[str, str], body: bytes, content_type: str) -> tuple:
    more = {"content-type": content_type, "accept-language": "de"} | headers
    answer = server.client.post("/v1/verify", content=body, headers=more)
    told = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, told, answer.json()


def test_the_quick_way_refuses_as_the_long_one_does(server, wrong_code):
    """With the same words and headers. Programs read English, whatever they ask for."""
    seed = server.card()
    station = add_credential(server.settings, "station", "s")
    revoked = add_credential(server.settings, "service", "old")
    with opened(server.settings) as parts, parts.database.write() as connection:
        credentials.revoke(
            connection, parts.ring, revoked.id, now=server.clock(), actor="console", firm_id=1
        )
    right = json.dumps({"user": "ann", "code": "0" * 7}).encode()
    wrong = json.dumps({"user": "ann", "code": wrong_code(seed)}).encode()
    cases = [
        ({}, right, 401), ({"authorization": "Basic x"}, right, 401),
        ({"authorization": "Bearer tally_x"}, right, 401), (bearer(revoked), right, 401),
        (bearer(station), right, 403), (bearer(server.service), right, 422),
        (bearer(server.service), right + b" " * 200_000, 413),
    ]  # fmt: skip
    for _ in range(CodePolicy().max_failures):
        assert answered(server, bearer(server.service), wrong, JSON_TYPES[0])[0] == 200
    cases.append((bearer(server.service), wrong, 429))
    for headers, body, status in cases:
        quick, long = (answered(server, headers, body, one) for one in JSON_TYPES)
        assert quick == long and quick[0] == status


def test_a_check_that_nobody_can_judge_is_refused_the_same_way(server, monkeypatch):
    monkeypatch.setattr("tallystick.server.store.database.STATEMENT_S", 0.05)
    seed = server.card()
    body = json.dumps({"user": "ann", "code": hotp(seed, 0, 6)}).encode()
    path = server.settings.db_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        quick, long = (answered(server, bearer(server.service), body, one) for one in JSON_TYPES)
        assert quick == long and quick[0] == 503 and quick[1]["retry-after"] == "2"
        assert quick[2]["error"]["what"] == "The database is locked by somebody else."
        holder.execute("ROLLBACK")


@pytest.mark.parametrize("name", ["authorization", "idempotency-key", "content-type"])
def test_a_header_that_comes_twice_is_read_as_on_the_long_way(server, name):
    """The first one counts."""
    server.card()
    answers = []
    for content_type in JSON_TYPES:
        usual = bearer(server.service) | {
            "idempotency-key": "k" * 32, "content-type": content_type,
        }  # fmt: skip
        headers = [*usual.items(), (name, "Bearer tally_x")]
        body = b'{"user":"nobody","code":"000000"}'
        answers.append(server.client.post("/v1/verify", content=body, headers=headers))
    assert answers[0].status_code == answers[1].status_code == 200
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_a_check_that_was_not_sent_to_its_end_uses_no_code_up(server, content_type):
    """What came of it may read like a whole one: the quick way took it for that."""
    seed = server.card()
    code = hotp(seed, 0, 6)
    body = json.dumps({"user": "ann", "code": code}).encode()
    head = (
        f"POST /v1/verify HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        f"authorization: {bearer(server.service)['authorization']}\r\n"
        f"content-type: {content_type}\r\ncontent-length: {len(body) + 20}\r\n\r\n"
    )
    with running_in_thread(server.settings) as url:
        where = httpx.URL(url)
        with socket.create_connection((where.host, where.port)) as client:
            client.sendall(head.encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")  # it is being received
            client.sendall(body)
    assert server.reason(code) == "ok"


def test_a_check_whose_commit_had_no_answer_is_not_said_to_have_changed_nothing(server):
    """It may be done: whoever is told that its code was not accepted may believe it."""
    lost = DBAPIError("COMMIT", None, Exception(), connection_invalidated=True)
    failures = [lost, RuntimeError("something else, when it is tried again")]
    seed = server.card()
    check = CodeCheck(
        hash_token(server.service.token.reveal().decode()), "ann", None, (hotp(seed, 0, 6),)
    )
    with opened(server.settings) as parts:
        judges = group.GroupCommit(
            parts.database, Verifier(parts.ring), server.clock, background=False
        )
        write = parts.database.write

        @contextmanager
        def without_an_answer():
            if len(failures) == 1:
                raise failures.pop()
            with write() as connection:
                yield connection
            raise failures.pop(0)

        parts.database.write = without_an_answer
        with pytest.raises(ApiError) as told:
            asyncio.run(judges.check(check))
        parts.database.write = write
        judges.close()
    assert (told.value.code, told.value.retry_after_s) == ("too-slow", 2)
    assert "may be judged yet" in told.value.kept and not failures
    assert server.reason(hotp(seed, 0, 6)) == "replayed"  # it was


def test_a_check_is_refused_once_nobody_should_wait(monkeypatch):
    monkeypatch.setattr(group, "STALLED_S", 0.0)
    monkeypatch.setattr(group, "LOOK_S", 0.0)
    asked = []

    async def wait(*answers: bool) -> str:
        left = list(answers)
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def over() -> bool:
            asked.append(1)
            return left.pop(0)

        patience = group._Patience(future, loop, over)
        with pytest.raises(ApiError) as refused:
            await future
        patience.end()
        return refused.value.code

    assert asyncio.run(wait(False, False, True)) == "too-slow" and len(asked) == 3
    monkeypatch.setattr(group, "ANSWER_S", 0.0)
    assert asyncio.run(wait(False)) == "too-slow"


def test_a_header_that_a_page_sets_is_there_once(server):
    answer = server.client.get("/p/default/sign-in")
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert "default-src 'none'; frame" not in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("x-content-type-options")) == 1


def test_a_check_in_two_pieces_goes_the_quick_way(server, monkeypatch):
    seed = server.card()
    monkeypatch.setattr("fastapi.routing.solve_dependencies", None)
    body = json.dumps({"user": "ann", "code": hotp(seed, 0, 6)}).encode()
    headers = bearer(server.service) | {
        "content-type": "application/json", "content-length": str(len(body)),
    }  # fmt: skip
    answer = server.client.post("/v1/verify", content=iter([body[:9], body[9:]]), headers=headers)
    assert answer.json()["accepted"]


def test_what_is_usual_goes_the_quick_way(server, monkeypatch):
    seed = server.card()

    def long_way(*_arguments, **_named):
        raise AssertionError("the long way")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", long_way)
    assert server.verify(hotp(seed, 0, 6)).json()["accepted"]
    assert named(server, "k" * 32, hotp(seed, 1, 6)).json()["accepted"]
    assert server.resynchronise(hotp(seed, 30, 6), hotp(seed, 31, 6)).json()["accepted"]


def lost_answers(monkeypatch, *, done: list[bool]) -> None:
    """The connection breaks in one commit after the other: what was sent was done, or was not."""
    usual, left = Database.write, list(done)

    @contextmanager
    def write(self, *gathered):
        was_done = left.pop(0) if left else None
        with usual(self, *gathered) as connection:
            yield connection
            if was_done is False:
                raise OperationalError(None, None, Exception())
        if was_done:
            raise OperationalError(None, None, Exception())

    monkeypatch.setattr(Database, "write", write)


def accepted_in_the_log(settings) -> int:
    query = select(func.count()).where(AuditEntry.action == "verified")
    with opened(settings) as parts, parts.database.read() as connection:
        assert all(one.broken_at is None for one in audit.check(connection, parts.ring))
        return connection.scalar(query.where(AuditEntry.detail.contains('"reason":"ok"')))


@pytest.mark.parametrize("done", [[True], [False], [False, True], [False, False, True], [True] * 2])
def test_a_right_code_is_right_when_the_database_goes_in_its_commit(server, monkeypatch, done):
    """It was committed, and nobody said so: judged again it would be one that was used."""
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    with monkeypatch.context() as patched:
        lost_answers(patched, done=done)
        assert server.reason(hotp(seed, 1, 6)) == "ok"
    assert server.reason(hotp(seed, 1, 6)) == "replayed"
    assert server.reason(hotp(seed, 2, 6)) == "ok"
    assert accepted_in_the_log(server.settings) == 3


def test_whether_a_code_was_used_is_not_claimed_when_nobody_knows(server, monkeypatch):
    seed = server.card()
    for done, then in ((True, "replayed"), (False, "ok")):
        factor = 0 if done else 2
        monkeypatch.setattr(group, "RECONNECT_S", 0.01)
        with monkeypatch.context() as patched:
            lost_answers(patched, done=[done])
            error = server.verify(hotp(seed, factor, 6)).json()["error"]
        assert error["code"] == "too-slow" and "used up" in error["kept"]
        assert server.reason(hotp(seed, factor, 6)) == then


def test_by_serial_too(server):
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6), user=None, serial="1000000001") == "ok"


def test_an_unassigned_card_verifies_nothing(server):
    seed = server.card(user=None)
    assert server.reason(hotp(seed, 0, 6), user=None, serial="1000000001") == "no-card"
    assert server.reason(hotp(seed, 0, 6), user="ann") == "no-card"
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 0


def test_of_two_cards_either_serves_and_neither_can_be_guessed_longer(server, wrong_code):
    first, second = server.card("C1"), server.card("C2")
    assert server.verify(hotp(second, 0, 6)).json() == {
        "accepted": True,
        "reason": "ok",
        "method": "card",
        "serial": "C2",
    }
    assert server.verify(hotp(first, 0, 6)).json()["serial"] == "C1"
    taken = {hotp(s, n, 6) for s in (first, second) for n in range(400)}
    wrong = next(code for code in (f"{n:06}" for n in range(2000)) if code not in taken)
    limit = CodePolicy().max_failures
    assert [server.reason(wrong) for _ in range(limit + 1)] == ["wrong"] * limit + ["throttled"]


def test_unknown_and_revoked_credentials(server):
    seed = server.card()
    body = {"user": "ann", "code": hotp(seed, 0, 6)}
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer tally_unknown"},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer " + "x" * 5000},
    ):
        answer = server.client.post("/v1/verify", json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unknown-credential"
        assert answer.headers["www-authenticate"] == "Bearer"
    admin = {"authorization": f"Bearer {server.admin.token.reveal().decode()}"}
    revoked = server.client.delete(f"/v1/credentials/{server.service.id}", headers=admin)
    assert revoked.status_code == 204
    answer = server.verify(hotp(seed, 0, 6))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "revoked-credential")
    assert server.get("/v1/whoami", server.service).status_code == 401
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 0


def test_wrong_roles(server):
    server.card()
    for who in (server.station, server.admin):
        token = who.token.reveal().decode()
        answer = server.client.post(
            "/v1/verify",
            json={"user": "ann", "code": "123456"},
            headers={"authorization": f"Bearer {token}"},
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong-role")
    assert server.get("/v1/cards/1000000001", server.service).status_code == 403
    assert server.register(server.container(), who=server.service).status_code == 403


def test_whoami_and_health(server):
    assert server.client.get("/v1/health").json()["status"] == "ok"
    assert server.get("/v1/whoami").json() == {
        "id": server.station.id,
        "role": "station",
        "name": "station",
        "firm": "default",
        "contact": "",
        "languages": ["en"],
        "time_zone": "UTC",
    }


def test_credentials_over_http(server):
    admin = {"authorization": f"Bearer {server.admin.token.reveal().decode()}"}
    made = server.client.post(
        "/v1/credentials", json={"role": "station", "name": "line 2"}, headers=admin
    )
    assert made.status_code == 201
    assert set(made.json()) == {"id", "role", "token", "psk"}
    assert len(bytes.fromhex(made.json()["psk"])) == 16
    same = server.client.post(
        "/v1/credentials", json={"role": "service", "name": "line 2"}, headers=admin
    )
    assert (same.status_code, same.json()["error"]["code"]) == (409, "duplicate-name")
    shown = server.client.get("/v1/credentials", headers=admin)
    assert "token" not in shown.text and made.json()["psk"] not in shown.text
    missing = server.client.delete("/v1/credentials/st-nothere", headers=admin)
    assert missing.status_code == 404
    second = add_credential(server.settings, "admin", "second admin")
    assert server.get("/v1/credentials", second).status_code == 200


def test_a_swapped_seed_does_not_open(server):
    """A database thief cannot put the seed of his own card into another's row."""
    import sqlite3

    mine = server.card("M1", user="mallory")
    server.card("V1", user="victim")
    connection = sqlite3.connect(server.folder / "server.db")
    with connection:
        connection.execute(
            "UPDATE card SET seed_box = (SELECT seed_box FROM card WHERE serial = 'M1') "
            "WHERE serial = 'V1'"
        )
    connection.close()
    answer = server.verify(hotp(mine, 0, 6), user="victim")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "seed-unreadable"
    assert server.reason(hotp(mine, 0, 6), user="mallory") == "ok"


def batch(server, *codes: str) -> list[CodeCheck]:
    token = hash_token(server.service.token.reveal().decode())
    return [CodeCheck(token, user, None, (code,)) for user, code in zip("aab", codes, strict=False)]


@pytest.fixture
def two_cards(server) -> tuple[bytes, bytes]:
    return server.card("C1", user="a"), server.card("C2", user="b")


def test_checks_of_one_batch_move_a_card_one_after_the_other(server, two_cards):
    first, second = two_cards
    with opened(server.settings) as parts, parts.database.write() as connection:
        checks = batch(server, hotp(first, 0, 6), hotp(first, 1, 6), hotp(second, 0, 6))
        answers = Verifier(parts.ring).run(connection, [*checks, checks[0]], server.clock())
    assert [answer.reason for answer in answers] == ["ok", "ok", "ok", "replayed"]
    assert server.get("/v1/cards/C1").json()["moving_factor"] == 2
    assert server.get("/v1/cards/C2").json()["moving_factor"] == 1


@pytest.mark.parametrize("changed", ["moving_factor = 1", "failures = 1", "blocked_until = 1"])
def test_a_batch_is_judged_again_when_one_of_its_cards_was_changed(server, two_cards, changed):
    first, second = two_cards
    with opened(server.settings) as parts, parts.database.write() as connection:
        real = parts.ring.decrypt

        def decrypt(box, bound_to):  # called when the cards have been read, and are judged
            connection.exec_driver_sql(f"UPDATE card SET {changed} WHERE serial = 'C2'")
            return real(box, bound_to)

        parts.ring.decrypt = decrypt
        checks = batch(server, hotp(first, 0, 6), hotp(first, 1, 6), hotp(second, 0, 6))
        with pytest.raises(StaleError):
            Verifier(parts.ring).run(connection, checks, server.clock())


# ---- the answer that was lost


def named(server, key: str, code: str, **more: object):
    headers = bearer(server.service) | {"idempotency-key": key}
    body = {"user": "ann", "code": code} | more
    return server.client.post("/v1/verify", json=body, headers=headers)


def test_who_asks_again_gets_the_answer_that_was_lost(server):
    seed, key = server.card(), secrets.token_urlsafe(24)
    code = hotp(seed, 0, 6)
    assert named(server, key, code).json()["accepted"]
    assert named(server, key, code).json() == {"accepted": True, "reason": "ok", **CARD}
    assert named(server, f'"{key}"', code).json()["accepted"]  # as RFC 8941 writes it
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 1


def test_nobody_else_gets_it(server):
    seed, key = server.card(), secrets.token_urlsafe(24)
    code = hotp(seed, 0, 6)
    assert named(server, key, code).json()["accepted"]
    assert server.reason(code) == "replayed"
    assert named(server, secrets.token_urlsafe(24), code).json()["reason"] == "replayed"
    other = add_credential(server.settings, "service", "other")
    headers = bearer(other) | {"idempotency-key": key}
    body = {"user": "ann", "code": code}
    answer = server.client.post("/v1/verify", json=body, headers=headers)
    assert answer.json()["reason"] == "replayed"
    # Another check of the same name is another check.
    assert named(server, key, code, user=None, serial="1000000001").json()["reason"] == "replayed"
    assert named(server, key, hotp(seed, 1, 6)).json()["accepted"]


def test_an_answer_is_kept_for_ten_minutes(server):
    seed, key = server.card(), secrets.token_urlsafe(24)
    code = hotp(seed, 0, 6)
    assert named(server, key, code).json()["accepted"]
    server.clock.advance(KEPT_S - 1)
    assert named(server, key, code).json()["accepted"]
    server.clock.advance(1)
    assert named(server, key, code).json()["reason"] == "replayed"
    assert named(server, key, code).json()["reason"] == "replayed"


def test_a_wrong_code_that_comes_again_is_one_guess(server, wrong_code):
    seed, key = server.card(), secrets.token_urlsafe(24)
    wrong = wrong_code(seed)
    for _ in range(CodePolicy().max_failures + 5):
        assert named(server, key, wrong).json()["reason"] == "wrong"
    assert named(server, key, hotp(seed, 0, 6)).json()["accepted"]


def test_who_had_to_wait_is_judged_when_he_comes_again(server, wrong_code):
    seed, key = server.card(), secrets.token_urlsafe(24)
    for _ in range(CodePolicy().max_failures):
        server.verify(wrong_code(seed))
    assert named(server, key, hotp(seed, 0, 6)).status_code == 429
    server.clock.advance(60)
    assert named(server, key, hotp(seed, 0, 6)).json()["accepted"]


def test_a_revoked_credential_gets_no_answer_again(server):
    seed, key = server.card(), secrets.token_urlsafe(24)
    assert named(server, key, hotp(seed, 0, 6)).json()["accepted"]
    with opened(server.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE credential SET revoked_at = 1 WHERE role = 'service'")
    assert named(server, key, hotp(seed, 0, 6)).status_code == 401


@pytest.mark.parametrize(
    "key", ["short", "x" * 129, "has blanks in it, many", '"half-quoted-name-1']
)
def test_a_name_that_is_none_is_refused(server, key):
    server.card()
    assert named(server, key, "123456").status_code == 422


def test_twice_in_one_batch_and_in_two_at_once(server, two_cards):
    first, _ = two_cards
    (check,) = batch(server, hotp(first, 0, 6))
    check = replace(check, key="k" * 32)
    with opened(server.settings) as parts, parts.database.write() as connection:
        answers = Verifier(parts.ring).run(connection, [check, check], server.clock())
        assert [answer.reason for answer in answers] == ["ok", "ok"]
        name = connection.exec_driver_sql("SELECT id_hash FROM check_answer").scalar_one()
        with pytest.raises(StaleError):  # as where another worker was first
            keep(connection, {name: (1, "")}, server.clock())
