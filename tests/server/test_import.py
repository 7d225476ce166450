"""Cards of other makers: imported by an administrator, HOTP and TOTP, and then verified."""

from __future__ import annotations

import hashlib
import json
import re
import secrets

import pyotp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pskc import PSKC
from sqlalchemy import Engine, event

from tallystick.server.operating import operations
from tallystick.server.operating.cli import server as command
from tallystick.server.rules.judge import CodePolicy, CodeState, Generator, Reason, judge
from tallystick.server.rules.otp import hotp
from tallystick.server.store.database import Database
from tallystick.server.store.opened import opened

TOTP = "urn:ietf:params:xml:ns:keyprov:pskc:totp"
HOTP = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
PASSPHRASE = "by another way"
# RFC 6238 appendix B: the seeds of its test vectors, and some of them.
SEED = b"12345678901234567890"
SEED_256 = b"12345678901234567890123456789012"
SEED_512 = b"1234567890123456789012345678901234567890123456789012345678901234"
VECTORS = [
    (59, "sha1", "94287082"),
    (59, "sha256", "46119246"),
    (59, "sha512", "90693936"),
    (1111111109, "sha1", "07081804"),
    (1111111109, "sha256", "68084774"),
    (1111111109, "sha512", "25091201"),
    (20000000000, "sha1", "65353130"),
    (20000000000, "sha256", "77737706"),
    (20000000000, "sha512", "47863826"),
]
POLICY = CodePolicy()
STEPS = Generator("sha1", 30)


@pytest.mark.parametrize(("moment", "algorithm", "code"), VECTORS)
def test_rfc_6238_appendix_b(moment, algorithm, code):
    seed = {"sha1": SEED, "sha256": SEED_256, "sha512": SEED_512}[algorithm]
    assert hotp(seed, moment // 30, 8, algorithm) == code
    generator = Generator(algorithm, 30)
    verdict = judge(seed, CodeState(0), (code,), POLICY, moment, generator=generator)
    assert verdict.reason is Reason.OK
    assert verdict.state.moving_factor == moment // 30 + 1


def code_at(step: int) -> str:
    return hotp(SEED, step, 6)


def test_a_step_comes_once_and_never_again():
    state, now = CodeState(0), 30 * 1000
    verdict = judge(SEED, state, (code_at(1000),), POLICY, now, generator=STEPS)
    assert (verdict.reason, verdict.state) == (Reason.OK, CodeState(1001))
    for step in (1000, 999):
        again = judge(SEED, verdict.state, (code_at(step),), POLICY, now, generator=STEPS)
        assert again.reason is Reason.REPLAYED
    ahead = judge(SEED, verdict.state, (code_at(1001),), POLICY, now, generator=STEPS)
    assert (ahead.reason, ahead.state) == (Reason.OK, CodeState(1002, drift=1))
    far = judge(SEED, state, (code_at(1010),), POLICY, now, generator=STEPS)
    assert far.reason is Reason.RESYNCHRONISE
    assert far.state.throttle.failures == 1


def test_two_codes_bring_a_clock_back_and_its_drift_is_remembered():
    now = 30 * 1000
    codes = (code_at(1012), code_at(1013))
    verdict = judge(SEED, CodeState(0), codes, POLICY, now, generator=STEPS)
    assert (verdict.reason, verdict.state) == (Reason.OK, CodeState(1014, drift=13))
    later = judge(SEED, verdict.state, (code_at(1023),), POLICY, now + 300, generator=STEPS)
    assert later.reason is Reason.OK
    used = judge(SEED, later.state, codes, POLICY, now + 300, generator=STEPS)
    assert used.reason is Reason.WRONG
    too_far = judge(
        SEED, CodeState(0), (code_at(1022), code_at(1023)), POLICY, now, generator=STEPS
    )
    assert too_far.reason is Reason.WRONG


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 200)), max_size=20))
def test_whatever_the_clocks_do_no_step_is_accepted_twice(moves):
    state, now = CodeState(0), 30_000_000
    accepted: list[int] = []
    for off, passed in moves:
        now += passed
        step = now // 30 + off
        verdict = judge(SEED, state, (code_at(step),), POLICY, now, generator=STEPS)
        assert verdict.state.moving_factor >= state.moving_factor
        if verdict.reason is Reason.OK:
            accepted.append(verdict.state.moving_factor - 1)
        state = verdict.state
    assert len(set(accepted)) == len(accepted)


def container(server, *keys: dict[str, object]) -> str:
    made = PSKC()
    for number, key in enumerate(keys):
        serial = f"V{number:05}"
        made.add_key(
            **{
                "id": serial,
                "serial": serial,
                "algorithm": HOTP,
                "counter": 0,
                "response_length": 6,
            }
            | key
        )
    made.encryption.setup_pbkdf2(PASSPHRASE, iterations=10_000, algorithm="aes256-cbc")
    made.write(str(server.folder / "maker.pskcxml"))
    return (server.folder / "maker.pskcxml").read_text()


def post(server, text: str, who=None, **more: object):
    token = (who or server.admin).token.reveal().decode()
    body = {"container": text, "passphrase": PASSPHRASE} | more
    return server.client.post(
        "/v1/cards/import", json=body, headers={"authorization": f"Bearer {token}"}
    )


def test_a_time_based_card_from_import_to_log_in(server):
    seed = secrets.token_bytes(32)
    key = {"algorithm": TOTP, "secret": seed, "algorithm_suite": "HMAC-SHA256", "counter": None}
    answer = post(server, container(server, key))
    assert (answer.status_code, answer.json()["signature"]) == (201, "none")
    assert post(server, container(server, key)).status_code == 200
    assert server.get("/v1/cards/V00000", server.admin).json()["type"] == "totp"
    assert server.assign("V00000", "ann", server.admin).status_code == 200
    import hashlib

    theirs = pyotp.TOTP(pyotp_secret(seed), digest=hashlib.sha256)
    code = theirs.at(int(server.clock()))
    assert server.reason(code) == "ok"
    assert server.reason(code) == "replayed"
    server.clock.advance(30)
    assert server.reason(theirs.at(int(server.clock()))) == "ok"
    server.clock.advance(3600)
    assert server.reason(code) == "wrong"
    drifted = [theirs.at(int(server.clock()) + 30 * n) for n in (7, 8)]
    assert server.reason(drifted[0]) == "resynchronise"
    assert server.resynchronise(*drifted).json()["reason"] == "ok"


def pyotp_secret(seed: bytes) -> str:
    import base64

    return base64.b32encode(seed).decode().rstrip("=")


def test_a_card_verifies_nothing_once_its_key_has_expired(server):
    import datetime

    seed = secrets.token_bytes(20)
    end = datetime.datetime.fromtimestamp(server.clock() + 100, datetime.UTC)
    post(server, container(server, {"secret": seed, "expiry_date": end})).raise_for_status()
    server.assign("V00000", "ann", server.admin).raise_for_status()
    server.clock.advance(99)
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    server.clock.advance(1)
    assert server.reason(hotp(seed, 1, 6)) == "no-card"
    token = {"authorization": f"Bearer {server.admin.token.reveal().decode()}"}
    server.client.delete("/v1/cards/V00000/assignment", headers=token).raise_for_status()
    again = server.assign("V00000", "ann", server.admin)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "card-expired")


def test_a_thousand_cards_take_few_statements_and_one_derivation(server, monkeypatch):
    """What is done per container is not done per card; what is looked up is 500 at a time."""
    statements, derived = [], []
    derive = hashlib.pbkdf2_hmac
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *a: derived.append(1) or derive(*a))

    def note(_connection, _cursor, statement, *_more):
        if re.search("card|tombstone|audit", statement):  # others look for their own, meanwhile
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        text = container(server, *({"secret": secrets.token_bytes(20)} for _ in range(1000)))
        derived.clear()
        answer = post(server, text)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert answer.status_code == 201 and len(answer.json()["cards"]) == 1000
    assert len(derived) == 1
    assert len(statements) < 15, statements


def test_entries_of_a_container_that_are_no_good_are_numbered(server):
    text = container(server, *({"secret": secrets.token_bytes(n % 3 and 20)} for n in range(9)))
    lines = post(server, text).json()["error"]["entries"]
    assert [line["number"] for line in lines] == [1, 4, 7]


def test_only_administrators_import(server):
    text = container(server, {"secret": SEED})
    for who in (server.station, server.service):
        assert post(server, text, who).status_code == 403
    assert post(server, text, passphrase="wrong").json()["error"]["code"] == "wrong-mac"
    assert post(server, text, psk="zz" * 16).json()["error"]["code"] == "bad-key"
    assert post(server, "x" * (7 * 2**20)).status_code == 413


def test_the_command(server, tmp_path):
    seed = secrets.token_bytes(20)
    container(server, {"secret": seed})
    (tmp_path / "token").write_text(server.admin.token.reveal().decode())
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    words = [
        *("card", "import", str(server.folder / "maker.pskcxml")),
        *("--url", str(server.client.base_url), "--token-file", str(tmp_path / "token")),
    ]
    refused = CliRunner().invoke(command, words)
    assert "passphrase" in str(refused.exception)
    words += ["--passphrase-file", str(tmp_path / "passphrase")]
    done = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["cards"][0]["serial"] == "V00000"
    again = CliRunner().invoke(command, words, catch_exceptions=False)
    assert "already-registered" in again.stdout


def test_a_restored_time_based_card_takes_no_code_of_the_past(server, tmp_path):
    seed = secrets.token_bytes(20)
    key = {"algorithm": TOTP, "secret": seed, "counter": None}
    post(server, container(server, key)).raise_for_status()
    now = server.clock()
    with opened(server.settings) as parts:
        operations.backup(parts.database, tmp_path / "copy.db")
        new = Database(f"sqlite:///{tmp_path / 'new.db'}")
        operations.restore(
            new, tmp_path / "copy.db", ring=parts.ring, advance=100, newer=None, now=now
        )
        with new.read() as connection:
            from sqlalchemy import text

            factor = connection.execute(text("SELECT moving_factor FROM card")).scalar()
        new.close()
    assert factor > int(now) // 30 + POLICY.steps_around


@pytest.mark.parametrize("text", ["é", "𐀀𐀀", "AAA", "====", "A A\n"])
def test_a_container_that_is_not_base_64_is_refused(server, text):
    answer = post(server, "", container=None, container_base64=text)
    assert answer.status_code == 422, answer.text
