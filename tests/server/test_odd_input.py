"""Input that no database column takes is refused politely, and disturbs nobody else."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DataError, IntegrityError

from tallystick.server.accounts.credentials import hash_token
from tallystick.server.checking import verification
from tallystick.server.checking.group import GroupCommit
from tallystick.server.checking.verification import CodeCheck, Verifier
from tallystick.server.errors import ApiError
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store.models import PersonRow
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser, Portal

TOO_BIG = "9" * 30
MORE_DIGITS_THAN_PYTHON_READS = "9" * 5000
LONGEST = "\N{GRINNING FACE}" * 254 + '"'


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def portal(request, settings, clock, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
        settings = replace(settings_from(url, tmp_path / "other.keys"), clock=clock)
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


def test_one_check_that_cannot_be_judged_spoils_no_other(server, monkeypatch):
    """As when the database refuses a value: the rest of the batch is judged, and at once."""
    seed = server.card()
    real = verification._question

    def question(check, caller):
        if check.user == "poison":
            raise DataError("", {}, ValueError("a NUL"))
        return real(check, caller)

    monkeypatch.setattr(verification, "_question", question)
    monkeypatch.setattr("tallystick.server.checking.group.FIRST_PAUSE_S", 60)  # it must not wait
    token = hash_token(server.service.token.reveal().decode())
    checks = [
        CodeCheck(token, user, None, (code,))
        for user, code in (
            ("ann", hotp(seed, 0, 6)),
            ("poison", "123456"),
            ("ann", hotp(seed, 1, 6)),
        )
    ]
    with opened(server.settings) as parts:
        group = GroupCommit(parts.database, Verifier(parts.ring), server.clock)
        answers = group._each_or_all(checks)
        group.close()
    assert [getattr(one, "reason", None) for one in answers] == ["ok", None, "ok"]
    assert isinstance(answers[1], ApiError) and answers[1].status == 500
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 2


@pytest.mark.parametrize(
    ("user", "status"),
    [('"a\\u0000b"', 422), ('"a\\u001fb"', 422), ('"\\ud800"', 422), (f'"{LONGEST[:-1]}x"', 200)],
)
def test_names_that_a_service_passes_on(portal, user, status):
    """Whoever fills in a service's form chooses them."""
    service = bearer(add_credential(portal.settings, "service", "vpn"))
    answer = httpx.post(
        f"{portal.url}/v1/verify",
        content=f'{{"user":{user},"code":"123456"}}'.encode(),
        headers=service | {"content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == status, answer.text


def test_the_longest_name_fits_the_audit_log(portal, container_class):
    station = add_credential(portal.settings, "station", "line")
    content = container_class(station.psk.reveal()).add("S1", b"0123456789abcdefghij")
    sent = httpx.post(
        f"{portal.url}/v1/cards",
        content=content.bytes(portal.folder),
        headers=bearer(station) | {"content-type": "application/pskc+xml"},
        timeout=60,
    )
    assert sent.status_code == 201
    given = httpx.put(
        f"{portal.url}/v1/cards/S1/assignment",
        json={"user": LONGEST, "new_user": True},
        headers=bearer(station),
        timeout=60,
    )
    assert given.json()["user"] == LONGEST


def test_odd_names_at_the_pages(portal):
    browser = Browser(portal.url)
    for path in ("/sign-in", "/recover", "/recover/help"):
        browser.get("/sign-in").post(path, login="a\0b", password="x", code="x", kind="totp")
        assert browser.page.status_code == 422, path
    for path in ("/oidc/authorize?client_id=%00&redirect_uri=x", "/%00", "/sign-in?next=%00"):
        assert browser.get(path).page.status_code < 500, path
    assert httpx.get(f"{portal.url}/p/%00/sign-in", timeout=60).status_code in (404, 422)


def test_numbers_that_no_row_has(portal):
    boss = portal.staff("boss", "administrator")
    for path, fields in (
        (f"/sessions/{TOO_BIG}/end", {}),
        (f"/people/{TOO_BIG}", {"role": "user"}),
        ("/people/1/help/agree", {"request": TOO_BIG}),
        ("/people/1/help/agree", {"request": MORE_DIGITS_THAN_PYTHON_READS}),
    ):
        boss.get("/").post(path, **fields)
        assert boss.page.status_code in (200, 403, 404, 422), path
    for path in (
        f"/people/{TOO_BIG}",
        f"/audit?before={TOO_BIG}",
        f"/audit?before=-{TOO_BIG}",
        "/audit?q=%00",
        "/people?q=%00",
    ):
        assert boss.get(path).page.status_code in (200, 404, 422), path


def test_an_error_of_the_database_shows_no_values(portal):
    """Hashes and boxes are parameters: a traceback of an error may end in a log."""
    row = {"login": "a secret", "firm_id": 999, "role": "user", "created_at": 0}
    with (
        opened(portal.settings) as parts,
        pytest.raises(IntegrityError) as caught,
        parts.database.write() as connection,
    ):
        connection.execute(insert(PersonRow), row)
    assert "INSERT" in str(caught.value)
    assert "a secret" not in str(caught.value)
