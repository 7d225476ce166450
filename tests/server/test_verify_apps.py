"""Verification over HTTP of authenticator apps that were enrolled in the portal."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pyotp
import pytest

from tallystick.server.accounts import firms
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.store.audit import check as check_audit
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser, Portal
from tests.server.test_portal import register_card

NOTHING = {"accepted": False, "reason": "no-card", "method": None, "serial": None}


class Service(Portal):
    """A relying party of the firm, beside its portal."""

    def otp(self, app: pyotp.TOTP, steps: int = 0) -> str:
        return app.at(int(self.clock()) + 30 * steps)

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.client.post(f"{self.url}/v1/{path}", json=body, headers=self.headers)

    def ask(self, code: str, user: str = "ann") -> httpx.Response:
        return self.post("verify", user=user, code=code)

    def reason(self, code: str, user: str = "ann") -> str:
        return self.ask(code, user).json()["reason"]

    def wrong(self, app: pyotp.TOTP) -> str:
        taken = {self.otp(app, step) for step in range(-40, 40)}
        return next(code for code in (f"{n:06}" for n in range(1000)) if code not in taken)

    def sign_in(self, code: str) -> Browser:
        """Password and then the app's code, in a new browser."""
        browser = Browser(self.url).sign_in("ann")
        key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
        return browser.get(f"/second/totp/{key}").post(f"/second/totp/{key}", code=code)

    def sql(self, statement: str) -> list:
        with opened(self.settings) as parts, parts.database.write() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []


@pytest.fixture
def service(settings, clock, tmp_path) -> Iterator[Service]:
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    credential = add_credential(settings, "service", "vpn")
    with running_in_thread(settings) as url, httpx.Client(timeout=60) as client:
        made = Service(url, settings, clock, tmp_path)
        made.client, made.headers = client, bearer(credential)
        yield made
        Browser.close_all()


@pytest.fixture
def app(service) -> pyotp.TOTP:
    """Ann's, enrolled a while ago."""
    service.person("ann")
    app = service.enrol_totp(Browser(service.url).sign_in("ann"))
    service.clock.advance(600)
    return app


def test_a_right_code_is_right_once(service, app):
    code = service.otp(app)
    answer = service.ask(code)
    assert (answer.status_code, answer.json()) == (
        200,
        {"accepted": True, "reason": "ok", "method": "totp", "serial": None},
    )
    assert service.reason(code) == "replayed"
    assert service.reason(service.otp(app, -1)) == "replayed"  # older than what was accepted
    assert service.reason(service.otp(app, 1)) == "ok"
    service.clock.advance(30)
    assert service.reason(service.otp(app)) == "replayed"
    assert service.sql("SELECT failures FROM factor") == [(0,)]


def test_an_app_with_sha_256(service):
    service.person("ann")
    browser = Browser(service.url).sign_in("ann")
    browser.get("/enrol/totp").post("/enrol/totp", hash="SHA256")
    key = re.search(r"/enrol/totp/(\d+)/confirm", browser.page.text).group(1)
    secret = re.search(r'class="secret">(\w+)<', browser.page.text).group(1)
    app = pyotp.TOTP(secret, digest=hashlib.sha256)
    assert service.reason(service.otp(app)) == "no-card"  # not confirmed yet
    browser.post(f"/enrol/totp/{key}/confirm", code=service.otp(app))
    assert service.reason(service.otp(app)) == "replayed"
    assert service.reason(service.otp(app, 1)) == "ok"


def test_a_code_that_a_service_had_does_not_sign_in_and_the_other_way_round(service, app):
    code = service.otp(app)
    assert service.ask(code).json()["accepted"]
    assert service.sign_in(code).problem == "That code was used already."
    service.clock.advance(30)
    code = service.otp(app)
    assert service.sign_in(code).heading == "You are signed in"
    assert service.reason(code) == "replayed"


def test_posted_many_times_at_once_it_is_accepted_once(service, app):
    with ThreadPoolExecutor(8) as pool:
        reasons = Counter(pool.map(service.reason, [service.otp(app)] * 24))
    assert reasons == {"ok": 1, "replayed": 23}


def test_guesses_are_counted_together_with_those_in_the_portal(service, app):
    wrong, limit = service.wrong(app), 10
    assert service.sign_in(wrong).problem == "That was not right."
    assert [service.reason(wrong) for _ in range(limit - 1)] == ["wrong"] * (limit - 1)
    right = service.otp(app)
    locked = service.ask(right)
    assert (locked.status_code, locked.json()) == (
        429,
        {"reason": "throttled", "retry_after_s": 60},
    )
    assert locked.headers["retry-after"] == "60"
    assert service.sign_in(right).problem == "Too many wrong codes in a row."
    service.clock.advance(60)
    assert service.reason(service.otp(app)) == "ok"


@pytest.mark.parametrize("steps", [-2, 2, 15])
def test_a_code_of_another_time_is_a_guess(service, app, steps):
    """An app does not drift: it is not asked for a second code."""
    assert service.reason(service.otp(app, steps)) == "wrong"
    assert service.sql("SELECT failures FROM factor") == [(1,)]
    codes = [service.otp(app, 2), service.otp(app, 3)]
    answer = service.post("resynchronise", user="ann", codes=codes)
    assert answer.json() == NOTHING


@pytest.mark.parametrize("typed", ["", "1", "12345", "1234567", "１２３４５６", "12345a"])
def test_what_is_no_code_is_a_guess_in_the_portal(service, app, typed):
    """A shorter code would be easier to guess."""
    assert service.sign_in(typed).problem == "That was not right."
    assert service.sql("SELECT failures, position > 0 FROM factor") == [(1, 1)]


def test_of_another_firm(service, app):
    with opened(service.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "acme", now=0, actor="test")
    foreign = add_credential(service.settings, "service", "vpn of acme", firm="acme")
    answer = httpx.post(
        f"{service.url}/v1/verify",
        json={"user": "ann", "code": service.otp(app)},
        headers=bearer(foreign),
        timeout=60,
    )
    assert answer.json() == NOTHING
    assert service.reason(service.wrong(app), user="bob") == "no-card"
    assert service.sql("SELECT failures FROM factor") == [(0,)]
    assert service.reason(service.otp(app)) == "ok"


def test_what_policy_forbids_verifies_nothing(service, app, container_class):
    seed = register_card(service, container_class)
    boss = service.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    everything = frozenset(MethodKind)
    service.policy(methods=everything - {MethodKind.TOTP})
    assert service.reason(service.otp(app)) in ("wrong", "no-card")
    assert service.sql("SELECT failures FROM factor WHERE person_id = 1") == [(0,)]
    assert service.reason(hotp(seed, 1, 6)) == "ok"
    service.policy(methods=everything - {MethodKind.CARD})
    assert service.ask(service.otp(app)).json()["method"] == "totp"
    assert service.reason(hotp(seed, 2, 6)) == "wrong"
    assert service.post("verify", serial="A1", code=hotp(seed, 2, 6)).json() == NOTHING
    service.policy(methods={MethodKind.WEBAUTHN})
    assert service.reason(service.otp(app, 1)) == "no-card"
    service.policy(methods=everything)
    assert service.reason(service.otp(app, 1)) == "ok"
    assert service.reason(hotp(seed, 2, 6)) == "ok"


def test_nothing_of_a_disabled_person(service, app, container_class):
    seed = register_card(service, container_class)
    boss = service.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    service.sql("UPDATE person SET disabled_at = 1 WHERE login = 'ann'")
    assert service.ask(service.otp(app)).json() == NOTHING
    assert service.ask(hotp(seed, 1, 6)).json() == NOTHING
    assert service.post("verify", serial="A1", code=hotp(seed, 1, 6)).json() == NOTHING
    service.sql("UPDATE person SET disabled_at = NULL WHERE login = 'ann'")
    assert service.reason(service.otp(app)) == service.reason(hotp(seed, 1, 6)) == "ok"


def test_a_wrong_code_is_a_guess_at_each_of_a_persons_tokens(service, app, container_class):
    seed = register_card(service, container_class)
    boss = service.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    taken = {hotp(seed, n, 6) for n in range(200)}
    wrong = next(f"{n:06}" for n in range(2000) if f"{n:06}" not in taken | {service.wrong(app)})
    while wrong in {service.otp(app, step) for step in range(-40, 40)}:
        wrong = f"{int(wrong) + 1:06}"
    assert service.reason(wrong) == "wrong"
    assert service.sql("SELECT failures FROM factor WHERE person_id = 1") == [(1,)]
    assert service.sql("SELECT failures FROM card") == [(1,)]
    # The page asks for the card: a code of the app is as good, and no guess at the card.
    browser = Browser(service.url).sign_in("ann").get("/second/card/A1")
    browser.post("/second/card/A1", code=service.otp(app))
    assert browser.heading == "You are signed in"
    assert service.sql("SELECT failures FROM factor WHERE person_id = 1") == [(0,)]
    assert service.sql("SELECT failures FROM card") == [(1,)]


def test_it_is_in_the_audit_log_without_the_code(service, app):
    code, wrong = service.otp(app), service.wrong(app)
    service.reason(wrong)
    service.reason(code)
    lines = service.sql("SELECT actor, subject, detail FROM audit WHERE action = 'verified'")
    assert [line[2] for line in lines] == [
        '{"reason":"wrong","user":"ann","method":"totp","from":"127.0.0.1"}',
        '{"reason":"ok","user":"ann","method":"totp","from":"127.0.0.1"}',
    ]
    everything = str(service.sql("SELECT * FROM audit"))
    assert code not in everything and app.secret not in everything
    with opened(service.settings) as parts, parts.database.read() as connection:
        assert all(report.broken_at is None for report in check_audit(connection, parts.ring))
