"""The API as an attacker sees it: every role on every call, generated requests, timing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import schemathesis
from argon2 import Type, extract_parameters
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tallystick.server.accounts.credentials import Role
from tallystick.server.serving.app import create_app
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser

OPEN = {("GET", "/v1/health")}
ALLOWED = {
    ("GET", "/v1/whoami"): set(Role),
    ("GET", "/v1/metrics"): {Role.MONITOR, Role.ADMIN},
    ("POST", "/v1/cards"): {Role.STATION},
    ("GET", "/v1/cards"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/people"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/people"): {Role.ADMIN},
    ("POST", "/v1/people/import"): {Role.ADMIN},
    ("POST", "/v1/people/imports"): {Role.ADMIN},
    ("GET", "/v1/people/export"): {Role.ADMIN},
    ("GET", "/v1/people/invitations"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/people/behind"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/people/{person_id}/invitation"): {Role.ADMIN},
    ("DELETE", "/v1/people/{person_id}/invitation"): {Role.ADMIN},
    ("GET", "/v1/people/{person_id}"): {Role.DESK, Role.ADMIN},
    ("PATCH", "/v1/people/{person_id}"): {Role.ADMIN},
    ("DELETE", "/v1/people/{person_id}"): {Role.ADMIN},
    ("POST", "/v1/people/{person_id}/leave"): {Role.ADMIN},
    ("POST", "/v1/people/{person_id}/merge"): {Role.ADMIN},
    ("POST", "/v1/people/{person_id}/release"): {Role.ADMIN},
    ("POST", "/v1/people/{person_id}/unlock"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/people/{person_id}/end-sessions"): {Role.DESK, Role.ADMIN},
    ("DELETE", "/v1/people/{person_id}/methods/{kind}/{key}"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/firm/face"): {Role.ADMIN},
    ("PATCH", "/v1/firm/face"): {Role.ADMIN},
    ("PUT", "/v1/firm/face/logo"): {Role.ADMIN},
    ("DELETE", "/v1/firm/face/logo"): {Role.ADMIN},
    ("GET", "/v1/person"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/login"): {Role.STATION, Role.DESK, Role.ADMIN},
    ("GET", "/v1/desk"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/desk/statistics"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/undo"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/keys/options"): {Role.STATION, Role.ADMIN},
    ("POST", "/v1/keys"): {Role.STATION, Role.ADMIN},
    ("POST", "/v1/tickets"): {Role.STATION},
    ("POST", "/v1/serials"): {Role.STATION},
    ("GET", "/v1/tickets/key"): set(Role),
    ("POST", "/v1/tickets/{ticket_id}/account"): {Role.STATION},
    ("PUT", "/v1/tickets/{ticket_id}/cards/{serial}/certificate"): {Role.STATION},
    ("GET", "/v1/cards/{serial}/history"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/assignment"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/cards/{serial}"): {Role.STATION, Role.DESK, Role.ADMIN},
    ("DELETE", "/v1/cards/{serial}"): {Role.STATION, Role.ADMIN},
    ("PUT", "/v1/cards/{serial}/assignment"): {Role.STATION, Role.ADMIN},
    ("DELETE", "/v1/cards/{serial}/assignment"): {Role.ADMIN},
    ("POST", "/v1/cards/{serial}/loan"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/return"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/replacement"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/resynchronisation"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/retirement"): {Role.DESK, Role.ADMIN},
    ("PUT", "/v1/cards/{serial}/status"): {Role.DESK, Role.ADMIN},
    ("POST", "/v1/cards/{serial}/unlock"): {Role.ADMIN},
    ("POST", "/v1/cards/import"): {Role.ADMIN},
    ("POST", "/v1/cards/imports"): {Role.ADMIN},
    ("POST", "/v1/verify"): {Role.SERVICE},
    ("POST", "/v1/resynchronise"): {Role.SERVICE},
    ("POST", "/v1/credentials"): {Role.ADMIN},
    ("GET", "/v1/credentials"): {Role.ADMIN},
    ("DELETE", "/v1/credentials/{credential_id}"): {Role.ADMIN},
}
BODIES = {
    "/v1/cards/import": {"container": "<a/>"},
    "/v1/serials": {"request": "0" * 32, "first": "TS00000001", "count": 1},
    "/v1/firm/face": {"name": "x"},
    "/v1/firm/face/logo": {"picture_base64": "eA=="},
    "/v1/people": {"login": "matrix"},
    "/v1/people/import": {"csv": "login\nmatrix\n"},
    "/v1/people/{person_id}": {"name": "x"},
    "/v1/people/{person_id}/invitation": {"by": "letter"},
    "/v1/people/{person_id}/merge": {"goes": "x"},
    "/v1/verify": {"user": "x", "code": "123456"},
    "/v1/resynchronise": {"user": "x", "codes": ["123456", "123456"]},
    "/v1/credentials": {"role": "service", "name": "matrix"},
    "/v1/cards/{serial}/assignment": {"user": "x"},
    "/v1/cards/{serial}/loan": {"user": "x"},
    "/v1/cards/{serial}/return": {"codes": ["123456"]},
    "/v1/cards/{serial}/replacement": {"by": "NONE", "codes": ["123456"]},
    "/v1/cards/{serial}/resynchronisation": {"codes": ["123456", "123456"]},
    "/v1/cards/{serial}/retirement": {"codes": ["123456"]},
    "/v1/cards/{serial}/status": {"status": "lost"},
}


def operations(settings) -> set[tuple[str, str]]:
    paths = create_app(settings).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_each_role_on_each_call(server):
    """A call that is not in the matrix fails this test: whoever adds one decides who may."""
    calls = operations(server.settings)
    assert calls == OPEN | set(ALLOWED)
    tokens = {role: add_credential(server.settings, role, f"m-{role}") for role in Role}
    for method, path in sorted(calls - OPEN):
        url = path.format(
            serial="NOSUCH", credential_id="no-such", ticket_id="0" * 32, person_id=99999,
            kind="totp", key="1",
        )  # fmt: skip
        body = BODIES.get(path)
        assert server.client.request(method, url, json=body).status_code == 401, (method, path)
        for role, credential in tokens.items():
            headers = {"authorization": f"Bearer {credential.token.reveal().decode()}"}
            answer = server.client.request(method, url, json=body, headers=headers)
            refused = answer.status_code == 403
            assert refused == (role not in ALLOWED[method, path]), (method, path, role)
            assert answer.status_code < 500


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    settings = settings_from(f"sqlite:///{folder / 's.db'}", folder / "s.keys")
    tokens = {
        role: f"Bearer {add_credential(settings, role, role).token.reveal().decode()}"
        for role in ("admin", "service", "station", "desk")
    }
    with running_in_thread(settings) as url:
        yield url, tokens


DESCRIBED = schemathesis.openapi.from_dict(
    create_app(Settings("sqlite:///unused.db", Path("unused.keys"))).openapi()
)
OPERATIONS = {result.ok().label: result.ok() for result in DESCRIBED.get_all_operations()}


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_generated_requests_never_break_it(label, fuzzed):
    """No answer of 5xx, and every answer as the description says, for each role."""
    url, tokens = fuzzed

    @hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[label].as_strategy(), role=st.sampled_from(sorted(tokens)))
    def check(case, role):
        answer = case.call(base_url=url, headers={"authorization": tokens[role]})
        case.validate_response(
            answer,
            checks=[
                schemathesis.checks.not_a_server_error,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.response_schema_conformance,
            ],
        )

    check()


def test_every_answer_has_its_headers(server):
    for path in ("/v1/health", "/v1/openapi.json", "/v1/nothing", "/v1/cards/x"):
        answer = server.client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_passwords_cost_what_owasp_asks_for(full_cost_passwords):
    """Argon2id with at least 46 MiB once, or less memory and more passes: 64 MiB, three passes."""
    from tallystick.server.accounts import passwords

    made = extract_parameters(passwords.hash_new(PASSWORD))
    assert (made.type, made.memory_cost, made.time_cost) == (Type.ID, 64 * 1024, 3)


def test_a_name_that_exists_is_as_much_work_as_one_that_does_not(server, monkeypatch):
    """Argon2 is what takes time: as often, with the same parameters, in both cases."""
    from tallystick.server.accounts import firms, passwords, people
    from tallystick.server.accounts.policy import FirmPolicy, PersonRole

    with opened(server.settings) as parts, parts.database.write() as connection:
        person_id = people.add(
            connection, firm_id=1, login="ann", role=PersonRole.USER, email=None, now=0
        )
        passwords.store(connection, person_id, passwords.hash_new(PASSWORD), 0)
        policy = FirmPolicy(password_max_failures=100)
        firms.set_policy(connection, parts.ring, 1, policy, now=0, actor="test")
    browser = Browser(str(server.client.base_url)).get("/sign-in")
    browser.post("/sign-in", login="nobody", password="wrong password")  # makes its hash once
    hasher, costs = passwords.HASHER, []

    class Counted:
        def verify(self, stored, password):
            costs.append((extract_parameters(stored), len(password)))
            return hasher.verify(stored, password)

        def __getattr__(self, name):
            return getattr(hasher, name)

    monkeypatch.setattr(passwords, "HASHER", Counted())
    for _ in range(3):
        done = {}
        for name in ("ann", "nobody"):
            costs.clear()
            browser.post("/sign-in", login=name, password="wrong password")
            assert browser.page.status_code == 401
            done[name] = list(costs)
        assert len(done["ann"]) == 1 and done["ann"] == done["nobody"]
    Browser.close_all()


class Stopwatch:
    """Stands in for `moments` and `beside`: work takes what `work` says, and pauses are noted."""

    def __init__(self, work: float) -> None:
        self.now, self.work = 0.0, work
        self.pauses: list[float] = []

    def steady(self) -> float:
        self.now += self.work
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))


@pytest.mark.parametrize(("work", "pause"), [(0.03, 0.07), (0.099, 0.001), (0.2, 0.0)])
def test_an_evened_answer_waits_for_what_is_left(monkeypatch, work, pause):
    from tallystick.server.signing_in import recovery

    watch = Stopwatch(work)
    for name in ("moments", "beside"):
        monkeypatch.setattr(recovery, name, watch)
    assert recovery.evened(lambda: "done")() == "done"
    with pytest.raises(ZeroDivisionError):
        recovery.evened(lambda: 1 / 0)()
    assert watch.pauses == [pause, pause]


def test_every_answer_of_a_recovery_is_evened(server, monkeypatch):
    """More is done for a name that exists; the answer waits until that does not show."""
    from tallystick.server.signing_in import recovery
    from tests.server.portal_driver import Portal

    url = str(server.client.base_url).rstrip("/")
    portal = Portal(url, server.settings, server.clock, server.folder)
    portal.person("ann")
    portal.enrol_totp(Browser(url).sign_in("ann"))
    watch = Stopwatch(0.04)
    for name in ("moments", "beside"):
        monkeypatch.setattr(recovery, name, watch)
    for name in ("ann", "nobody"):
        browser = Browser(url).get("/recover")
        for path, fields in (
            ("/recover", {"login": name, "kind": "totp"}),
            ("/recover/prove?kind=totp", {"code": "000000"}),
            ("/recover/help", {"login": name, "code": "AAAA"}),
        ):
            watch.pauses.clear()
            browser.post(path, **fields)
            assert watch.pauses == [0.06], path
    Browser.close_all()


def test_huge_and_odd_requests_are_refused_politely(server):
    token = {"authorization": f"Bearer {server.service.token.reveal().decode()}"}
    endless = (b"x" * 65536 for _ in range(100))
    for content in (
        endless,
        b"",
        b"{",
        b"[" * 100_000,
        b'{"user":"' + b"x" * 200_000 + b'"}',
        b"\xff",
    ):
        answer = httpx.post(
            f"{server.client.base_url}/v1/verify",
            content=content,
            headers=token | {"content-type": "application/json"},
            timeout=60,
        )
        assert answer.status_code in (400, 413, 422)
        assert answer.json()["error"]["what"]
