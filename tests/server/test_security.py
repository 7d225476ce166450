"""The API as an attacker sees it: every role on every call, generated requests, timing."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tallystick.server.accounts.credentials import Role
from tallystick.server.serving.app import create_app
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import Settings, settings_from
from tests.server.portal_driver import PASSWORD, Browser

OPEN = {("GET", "/v1/health")}
ALLOWED = {
    ("GET", "/v1/whoami"): set(Role),
    ("GET", "/v1/metrics"): {Role.MONITOR, Role.ADMIN},
    ("POST", "/v1/cards"): {Role.STATION},
    ("GET", "/v1/cards"): {Role.DESK, Role.ADMIN},
    ("GET", "/v1/people"): {Role.DESK, Role.ADMIN},
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
    ("POST", "/v1/verify"): {Role.SERVICE},
    ("POST", "/v1/resynchronise"): {Role.SERVICE},
    ("POST", "/v1/credentials"): {Role.ADMIN},
    ("GET", "/v1/credentials"): {Role.ADMIN},
    ("DELETE", "/v1/credentials/{credential_id}"): {Role.ADMIN},
}
BODIES = {
    "/v1/cards/import": {"container": "<a/>"},
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
        url = path.format(serial="NOSUCH", credential_id="no-such")
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


def test_a_name_that_exists_takes_as_long_as_one_that_does_not(server, full_cost_passwords):
    """The quickest of nine password checks differ by less than a fifth: argon2 runs either way, and
    whatever else the machine does only adds to it."""
    from tallystick.server.accounts import firms, passwords, people
    from tallystick.server.accounts.policy import FirmPolicy, PersonRole
    from tallystick.server.store.opened import opened

    with opened(server.settings) as parts, parts.database.write() as connection:
        person_id = people.add(
            connection, firm_id=1, login="ann", role=PersonRole.USER, email=None, now=0
        )
        passwords.store(connection, person_id, passwords.hash_new(PASSWORD), 0)
        policy = FirmPolicy(password_max_failures=100)
        firms.set_policy(connection, parts.ring, 1, policy, now=0, actor="test")
    url = str(server.client.base_url)
    times: dict[str, list[float]] = {"ann": [], "nobody": []}
    browser = Browser(url).get("/sign-in")
    for _ in range(9):
        for name, taken in times.items():
            began = time.perf_counter()
            browser.post("/sign-in", login=name, password="wrong password")
            taken.append(time.perf_counter() - began)
            assert browser.page.status_code == 401
    Browser.close_all()
    known, unknown = (min(taken) for taken in times.values())
    assert abs(known - unknown) < 0.2 * max(known, unknown), times


def test_recovery_takes_as_long_for_any_name(server):
    """More is done for a name that exists; the answer waits until that does not show."""
    from tallystick.server.signing_in import recovery
    from tests.server.portal_driver import Portal

    url = str(server.client.base_url).rstrip("/")
    portal = Portal(url, server.settings, server.clock, server.folder)
    portal.person("ann")
    portal.enrol_totp(Browser(url).sign_in("ann"))
    times: dict[str, list[float]] = {"ann": [], "nobody": []}
    for _ in range(3):
        for name, taken in times.items():
            browser = Browser(url).get("/recover")
            for path, fields in (
                ("/recover", {"login": name, "kind": "totp"}),
                ("/recover/prove?kind=totp", {"code": "000000"}),
            ):
                began = time.perf_counter()
                browser.post(path, **fields)
                taken.append(time.perf_counter() - began)
    Browser.close_all()
    assert min(min(taken) for taken in times.values()) > recovery.EVENED_S
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert abs(known - unknown) < 0.2 * max(known, unknown), times


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
