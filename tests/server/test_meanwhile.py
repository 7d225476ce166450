"""What is acted on is what was looked at: sessions that ended, requests that changed, cards that
were lost, enrolments of something else."""

from __future__ import annotations

import re
from dataclasses import replace

import pyotp
import pytest

from tallystick.server.accounts import sessions
from tallystick.server.errors import ApiError
from tallystick.server.rules.otp import hotp
from tallystick.server.services import oidc, oidc_clients
from tallystick.server.store import numbers
from tallystick.server.store.models_login import MessageRow, SessionRow
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser, Portal
from tests.server.test_portal import register_card
from tests.server.test_two_factors import forgot, sql, with_card
from tests.server.test_under_way import enrolled, person_id

# sessions whose number is used again --------------------------------------------------------------


@pytest.fixture
def replaced(portal):
    """ann's session was looked up, and ended; bob's has its number now. → ann's"""
    portal.person("ann")
    portal.person("bob")
    ann = Browser(portal.url).sign_in("ann")
    token = ann.http.cookies["tally_session"]
    with opened(portal.settings) as parts, parts.database.read() as connection:
        session = sessions.current(connection, token, 1, portal.clock())
    ann.get("/").post("/sign-out")
    Browser(portal.url).sign_in("bob")
    sql(portal, f"UPDATE session SET id = {session.id}")
    return session


def test_anothers_session_is_not_strengthened(portal, replaced):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        sessions.strengthen(connection, replaced, ("otp",), portal.clock())
    assert sql(portal, "SELECT amr, proved_at FROM session") == [("pwd", None)]


def test_nor_kept_alive(portal, replaced):
    before = sql(portal, "SELECT seen_at FROM session")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        sessions.touch(connection, replaced, portal.clock() + 600)
    assert sql(portal, "SELECT seen_at FROM session") == before


def test_nor_has_a_service_a_code_for_it(portal, replaced):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        client_id, _ = oidc_clients.add_client(
            connection,
            parts.ring,
            firm_id=1,
            name="Service",
            redirect_uris=["https://service.example/"],
            now=portal.clock(),
            actor="test",
        )
        client = oidc_clients.find_client(connection, 1, client_id)
        request = oidc.AuthRequest(client, client.redirect_uris[0], "openid", "", "", "c" * 43)
        with pytest.raises(ApiError) as refused:
            oidc.issue_code(connection, request, replaced, portal.clock())
    assert refused.value.status == 401
    assert sql(portal, "SELECT * FROM oidc_code") == []


def test_an_ended_session_enrols_nothing(portal, monkeypatch):
    """It ends between the look at it and the act."""
    portal.person("ann")
    thief = Browser(portal.url).sign_in("ann")
    thief.get("/enrol/totp").post("/enrol/totp", label="Mine")
    key = re.search(r"/enrol/totp/(\d+)/confirm", thief.page.text).group(1)
    secret = re.search(r'class="secret">(\w+)<', thief.page.text).group(1)
    code = pyotp.TOTP(secret).at(int(portal.clock()))
    # The enrolment is found by the session's handle: the one that was there, but it has ended.
    handle = sql(portal, "SELECT handle FROM session")[0][0]
    real = sessions.current
    monkeypatch.setattr(sessions, "current", lambda c, *a: _as(real(c, *a), handle))
    sql(portal, "UPDATE session SET handle = 'another'")
    thief.post(f"/enrol/totp/{key}/confirm", code=code)
    assert "is enrolled" not in thief.page.text
    assert sql(portal, "SELECT confirmed_at FROM factor") == [(None,)]


def _as(session, handle: str):
    return session and replace(session, handle=handle)


# what two members of staff decide -----------------------------------------------------------------


@pytest.fixture
def desk(portal):
    """ann, her number; agents sue and sam, the boss and his number"""
    enrolled(portal, email="ann@firm.example")
    boss = portal.staff("boss", "administrator")
    return {
        "boss": boss,
        "sue": portal.staff("sue", "support"),
        "sam": portal.staff("sam", "support"),
        "ann_id": person_id(boss, "ann"),
        "boss_id": person_id(boss, "boss"),
    }


def asked(portal, desk, whom: str = "ann") -> str:
    """sue asks. → the number of the request"""
    number = desk[f"{whom}_id"]
    desk["sue"].get(f"/people/{number}").post(f"/people/{number}/help/ask", reason="lost")
    return str(sql(portal, "SELECT id FROM help_request")[0][0])


def step(browser: Browser, number: str, what: str, request: str) -> int:
    browser.get(f"/people/{number}")
    return browser.post(f"/people/{number}/help/{what}", request=request).page.status_code


def test_a_request_for_one_is_not_agreed_to_on_the_page_of_another(portal, desk):
    """The colleague looks at ann's page; the number that he sends is of a request for the boss."""
    request = asked(portal, desk, "boss")
    chief = portal.staff("chief", "administrator")
    assert step(chief, desk["ann_id"], "agree", request) == 404
    assert sql(portal, "SELECT agreed_by FROM help_request") == [(None,)]
    assert step(chief, desk["boss_id"], "agree", request) == 200


def test_nor_is_its_code_collected_there(portal, desk):
    request = asked(portal, desk)
    assert step(desk["sam"], desk["ann_id"], "agree", request) == 200
    assert step(desk["sue"], desk["boss_id"], "collect", request) == 404
    assert step(desk["sue"], desk["ann_id"], "collect", request) == 200


def test_a_number_that_was_seen_does_not_come_again(portal, desk):
    """A request is withdrawn and another is made while a colleague looks at the first one."""
    seen = asked(portal, desk)
    assert asked(portal, desk) != seen
    assert step(desk["sam"], desk["ann_id"], "agree", seen) == 404


def test_a_way_to_sign_in_has_no_number_that_another_had(portal):
    """A help code voids what was named, and not what its owner has enrolled since."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    first = portal.enrol_email(browser, "one@example.org")
    sql(portal, f"DELETE FROM factor WHERE id = {first}")
    assert portal.enrol_email(browser, "two@example.org") != first


def test_nor_has_a_session_or_a_message(portal, settings):
    with opened(settings) as parts, parts.database.write() as connection:
        for table in (SessionRow, MessageRow):
            first = numbers.unused(connection, table.id)
            assert first.keys() <= {"id"}
            again = [numbers.unused(connection, table.id) for _ in range(9)]
            assert not first or all(one != first for one in again)


def test_a_change_of_role_voids_a_request(portal, desk):
    """Who agreed to help a user did not agree to help one of the staff."""
    request = asked(portal, desk)
    assert step(desk["sam"], desk["ann_id"], "agree", request) == 200
    boss = desk["boss"].get(f"/people/{desk['ann_id']}")
    assert boss.post(f"/people/{desk['ann_id']}", role="auditor").page.is_success
    assert sql(portal, "SELECT * FROM help_request") == []
    assert step(desk["sue"], desk["ann_id"], "collect", request) == 404


@pytest.mark.parametrize("what", ["raised", "barred", "demoted"])
def test_what_was_agreed_to_is_void_when_it_would_not_be_now(portal, desk, what):
    request = asked(portal, desk)
    assert step(desk["sam"], desk["ann_id"], "agree", request) == 200
    change = {
        "raised": "role = 'administrator' WHERE login = 'ann'",
        "barred": "disabled_at = 1 WHERE login = 'sam'",
        "demoted": "role = 'user' WHERE login = 'sam'",
    }[what]
    sql(portal, f"UPDATE person SET {change}")
    assert step(desk["sue"], desk["ann_id"], "collect", request) == 403
    assert sql(portal, "SELECT code_tag FROM help_request") == [(None,)]


def test_a_code_for_a_user_does_not_recover_an_administrator(portal, desk):
    request = asked(portal, desk)
    step(desk["sam"], desk["ann_id"], "agree", request)
    step(desk["sue"], desk["ann_id"], "collect", request)
    code = re.search(r'secret big">([\w-]+)<', desk["sue"].page.text).group(1)
    boss, number = desk["boss"], desk["ann_id"]
    boss.get(f"/people/{number}").post(f"/people/{number}", role="administrator")
    user = Browser(portal.url).get("/recover/help")
    user.post("/recover/help", login="ann", code=code)
    assert user.page.status_code == 401


@pytest.mark.parametrize(
    ("who", "what"),
    [
        *((who, what) for who in ("sue", "sam") for what in
          ("disabled_at = 1", "role = 'user'", "role = 'auditor'")),
        ("ann", "role = 'administrator'"),
    ],
)  # fmt: skip
def test_a_code_is_void_once_one_of_the_two_might_not_decide_any_more(portal, desk, who, what):
    request = asked(portal, desk)
    step(desk["sam"], desk["ann_id"], "agree", request)
    step(desk["sue"], desk["ann_id"], "collect", request)
    code = re.search(r'secret big">([\w-]+)<', desk["sue"].page.text).group(1)
    before = sql(portal, f"SELECT disabled_at, role FROM person WHERE login = '{who}'")[0]
    sql(portal, f"UPDATE person SET {what} WHERE login = '{who}'")
    user = Browser(portal.url).get("/recover/help")
    assert user.post("/recover/help", login="ann", code=code).page.status_code == 401
    back = f"disabled_at = NULL, role = '{before[1]}'"
    sql(portal, f"UPDATE person SET {back} WHERE login = '{who}'")
    user.get("/recover/help").post("/recover/help", login="ann", code=code)
    assert user.heading == "Choose a new password"


@pytest.mark.parametrize(
    ("who", "what"),
    [
        ("sue", "disabled_at = 1"),
        ("sue", "role = 'user'"),
        ("sam", "disabled_at = 1"),
        ("sam", "role = 'user'"),
        ("ann", "role = 'administrator'"),
    ],
)
def test_nor_is_a_password_set_by_it_then(portal, desk, who, what):
    """The code was typed before, and the password after one of the two was found out."""
    user = helped(portal, desk)
    before = sql(portal, f"SELECT disabled_at, role FROM person WHERE login = '{who}'")[0]
    sql(portal, f"UPDATE person SET {what} WHERE login = '{who}'")
    assert user.post("/recover/reset", password="another good one").page.status_code == 401
    back = f"disabled_at = NULL, role = '{before[1]}'"
    sql(portal, f"UPDATE person SET {back} WHERE login = '{who}'")
    user.get("/recover/reset").post("/recover/reset", password="another good one")
    assert "new password is set" in user.page.text


def test_who_is_raised_is_not_recovered_by_what_was_begun_for_a_user(portal, desk):
    """Not even when the role is taken back at once."""
    user = helped(portal, desk)
    boss, number = desk["boss"], desk["ann_id"]
    for role in ("administrator", "user"):
        boss.get(f"/people/{number}").post(f"/people/{number}", role=role)
    assert user.post("/recover/reset", password="another good one").page.status_code == 401


def test_nor_enrols_what_a_session_was_opened_for_to_a_user(portal, desk):
    user = helped(portal, desk, void="all")
    user.post("/recover/reset", password="another good one")
    assert user.heading == "My account"
    boss, number = desk["boss"], desk["ann_id"]
    boss.get(f"/people/{number}").post(f"/people/{number}", role="administrator")
    assert user.get("/enrol/totp").heading == "Sign in"
    assert sql(portal, "SELECT * FROM session WHERE enrol_only = 1") == []


def helped(portal, desk, *, void: str = "") -> Browser:
    """ann's browser, with the code of the two agents typed in."""
    number = desk["ann_id"]
    page = desk["sue"].get(f"/people/{number}").page.text
    named = re.findall(r'name="(void\.[^"]+)"', page) if void else []
    desk["sue"].post(f"/people/{number}/help/ask", reason="lost", **dict.fromkeys(named, "yes"))
    request = str(sql(portal, "SELECT id FROM help_request")[0][0])
    step(desk["sam"], number, "agree", request)
    step(desk["sue"], number, "collect", request)
    code = re.search(r'secret big">([\w-]+)<', desk["sue"].page.text).group(1)
    user = Browser(portal.url).get("/recover/help")
    user.post("/recover/help", login="ann", code=code)
    assert user.heading == "Choose a new password"
    return user


# a lost card that is found ------------------------------------------------------------------------


@pytest.fixture
def lost(portal, container_class):
    """ann's card A1 recovers; then it is reported lost. → seed (factor 2 next), the boss"""
    seed = register_card(portal, container_class)
    enrolled(portal, email="ann@firm.example")
    boss = portal.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    assert with_card(portal, seed, 1).heading == "You are signed in"
    boss.get("/cards").post("/cards/A1/lost")
    return seed, boss


def test_a_card_that_was_found_recovers_nothing_before_it_is_confirmed_anew(portal, lost):
    seed, boss = lost
    boss.get("/cards").post("/cards/A1/found")
    assert forgot(portal, "card", hotp(seed, 2, 6)).heading != "Choose a new password"
    assert with_card(portal, seed, 3).heading == "You are signed in"
    assert forgot(portal, "card", hotp(seed, 4, 6)).heading == "Choose a new password"


def test_who_has_fewer_rights_does_not_find_it(portal, lost):
    sql(portal, "UPDATE person SET role = 'administrator' WHERE login = 'ann'")
    sue = portal.staff("sue", "support")
    sue.get("/cards").post("/cards/A1/found")
    assert sue.problem == "ann has rights that you do not have."
    assert sql(portal, "SELECT status FROM card") == [("lost",)]


def test_nor_does_a_desk(server, request):
    from tallystick.server.serving.running import add_credential

    request.addfinalizer(Browser.close_all)
    url = str(server.client.base_url).rstrip("/")
    Portal(url, server.settings, server.clock, server.folder).person("boss", "administrator")
    desk = add_credential(server.settings, "desk", "desk")
    server.card(user=None)
    assert server.assign("1000000001", "boss", server.admin).status_code == 200
    path, headers = "/v1/cards/1000000001/status", bearer(desk)
    assert server.client.put(path, json={"status": "lost"}, headers=headers).status_code == 200
    found = server.client.put(path, json={"status": "registered"}, headers=headers)
    assert (found.status_code, found.json()["error"]["code"]) == (403, "needs-more-rights")


# an enrolment of something else -------------------------------------------------------------------


def test_what_is_confirmed_is_what_was_begun(portal, container_class):
    """Somebody leaves the page on which he was about to type the codes of his card."""
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    browser.get("/enrol/card").post("/enrol/card", serial="B2")
    codes = {"code": hotp(seed, 0, 6), "second_code": hotp(seed, 1, 6)}
    portal.clock.advance(400)  # the start of another one would ask for a proof
    browser.post("/enrol/card/A1/confirm", **codes)
    assert sql(portal, "SELECT * FROM assignment") == []
