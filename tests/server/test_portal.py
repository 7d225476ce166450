"""The portal over HTTP, as a browser without JavaScript uses it."""

from __future__ import annotations

import re

import httpx
import pytest

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.portal import (
    faces,
    staff,
    staff_bulk,
    staff_cards,
    staff_invitations,
    staff_lists,
)
from tallystick.server.rules.otp import hotp
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser


def test_first_sign_in_then_a_second_factor_is_needed(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    assert "You are signed in" in browser.page.text
    browser.get("/")
    assert "asks for a second factor" in browser.page.text
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    assert browser.heading == "Sign in"
    browser.sign_in("ann")
    assert browser.heading.startswith("How do you want")
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    assert browser.get(f"/second/totp/{key}").heading == "Authenticator app"
    browser.post(f"/second/totp/{key}", code="000000")
    assert browser.problem == "That was not right."
    code = totp.at(int(portal.clock()))
    browser.post(f"/second/totp/{key}", code=code)
    assert browser.heading == "You are signed in"
    # The same code again, in another browser: replay within the step is refused.
    other = Browser(portal.url).sign_in("ann").get(f"/second/totp/{key}")
    other.post(f"/second/totp/{key}", code=code)
    assert other.problem == "That code was used already."


def test_a_wrong_name_and_a_wrong_password_look_the_same(portal):
    portal.person("ann")
    answers = [
        Browser(portal.url).sign_in(name, "wrong").page.text.replace(name, "NAME")
        for name in ("ann", "nobody")
    ]
    stripped = [re.sub(r'name="csrf" value="\w+"', "", text) for text in answers]
    assert stripped[0] == stripped[1]


def test_password_guesses_are_limited_for_any_name(portal):
    portal.policy(password_max_failures=3)
    portal.person("ann")
    for name in ("ann", "nobody"):
        statuses = [Browser(portal.url).sign_in(name, "x").page.status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
    assert Browser(portal.url).sign_in("ann").page.status_code == 429
    portal.clock.advance(900)
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"


def test_forms_from_elsewhere_are_refused(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/")
    token = re.search(r'name="csrf" value="(\w+)"', browser.page.text).group(1)
    cases = [
        ({}, {}),
        ({"csrf": "0" * 32}, {}),
        ({"csrf": token}, {"origin": "https://evil.example"}),
        ({"csrf": token}, {"origin": "null"}),
        ({"csrf": token}, {"sec-fetch-site": "cross-site"}),
    ]
    for data, headers in cases:
        answer = browser.http.post(browser.base + "/sign-out", data=data, headers=headers)
        assert answer.status_code == 403, (data, headers)
    assert browser.get("/").heading == "My account"
    # A token made for another browser does not do.
    stranger = Browser(portal.url).get("/sign-in")
    foreign = re.search(r'name="csrf" value="(\w+)"', stranger.page.text).group(1)
    answer = browser.http.post(browser.base + "/sign-out", data={"csrf": foreign})
    assert answer.status_code == 403


def test_headers_and_cookies(portal):
    answer = httpx.get(f"{portal.url}/p/default/sign-in", timeout=60)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/p/default" in cookie
    for name in ("style.css", "webauthn.js", "icon.svg"):
        assert httpx.get(f"{portal.url}/static/{name}", timeout=60).status_code == 200
    assert not re.search(r"<script>|style=|onclick=", answer.text)


@pytest.mark.parametrize("kind", ["sms", "email"])
def test_codes_that_are_sent(portal, kind):
    address = "+4740000089" if kind == "sms" else "ann@elsewhere.example"
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get(f"/enrol/{kind}")
    browser.post(f"/enrol/{kind}", address="nonsense")
    assert browser.problem.startswith("This is not")
    browser.post(f"/enrol/{kind}", address=address)
    assert address not in browser.page.text
    key = re.search(rf"/enrol/{kind}/(\d+)/confirm", browser.page.text).group(1)
    (message,) = portal.messages()
    assert message["to"] == address
    code = portal.code(1)
    # Bound to the session that asked: another browser of the same user cannot use it.
    other = Browser(portal.url).sign_in("ann").get(f"/enrol/{kind}")
    other.post(f"/enrol/{kind}/{key}/confirm", code=code)
    assert other.page.status_code in (401, 422)
    browser.post(f"/enrol/{kind}/{key}/confirm", code=code)
    assert "is enrolled" in browser.page.text

    browser.get("/").post("/sign-out")
    browser.sign_in("ann").post(f"/second/{kind}/{key}/ask")
    assert "is on its way" in browser.page.text
    code = portal.code(2)
    portal.clock.advance(301)
    browser.post(f"/second/{kind}/{key}", code=code)
    assert browser.problem.startswith("That code is too old")
    browser.sign_in("ann").post(f"/second/{kind}/{key}/ask")
    code = portal.code(3)
    # Three wrong tries make the right one void.
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(3):
        browser.post(f"/second/{kind}/{key}", code=wrong)
    browser.post(f"/second/{kind}/{key}", code=code)
    assert browser.problem.startswith("That code is too old")
    browser.get("/second").post(f"/second/{kind}/{key}/ask")
    code = portal.code(4)
    browser.post(f"/second/{kind}/{key}", code=code)
    assert browser.heading == "You are signed in"


def test_sending_is_limited(portal):
    portal.policy(sends_per_person_per_hour=2)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/sms")
    for _ in range(2):
        browser.post("/enrol/sms", address="+4740000089")
        assert browser.page.status_code == 200
        browser.get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000090")
    assert browser.page.status_code == 429
    assert len(portal.messages(2)) == 2


def register_card(portal, container_class, serial="A1"):
    import secrets

    from tallystick.server.serving.running import add_credential

    seed = secrets.token_bytes(20)
    station = add_credential(portal.settings, "station", f"station {serial}")
    body = container_class(station.psk.reveal()).add(serial, seed).bytes(portal.folder)
    headers = {"authorization": f"Bearer {station.token.reveal().decode()}"}
    httpx.post(
        f"{portal.url}/v1/cards", content=body, headers=headers, timeout=60
    ).raise_for_status()
    return seed


def test_a_card_is_claimed_used_and_resynchronised(portal, container_class):
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card")
    browser.post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code=hotp(seed, 0, 6), second_code="000000")
    assert browser.problem == "That was not right."
    browser.post("/enrol/card/A1/confirm", code=hotp(seed, 2, 6), second_code=hotp(seed, 3, 6))
    assert "is enrolled" in browser.page.text
    assert "last used never" not in browser.page.text
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading == "Card"
    browser.post("/second/card/A1", code=hotp(seed, 60, 6))
    assert browser.problem == "Your card has drifted from the server."
    browser.post("/second/card/A1", code=hotp(seed, 61, 6), second_code=hotp(seed, 62, 6))
    assert browser.heading == "You are signed in"
    # Another user cannot claim it, and is told nothing more than for a wrong code.
    portal.person("eve")
    thief = Browser(portal.url).sign_in("eve").get("/enrol/card").post("/enrol/card", serial="A1")
    thief.post("/enrol/card/A1/confirm", code=hotp(seed, 63, 6), second_code=hotp(seed, 64, 6))
    assert thief.problem == "That was not right."


def test_a_card_is_claimed_by_its_number_in_small_letters(portal, container_class):
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card")
    browser.post("/enrol/card", serial="a1")
    browser.post("/enrol/card/a1/confirm", code=hotp(seed, 0, 6), second_code=hotp(seed, 1, 6))
    assert "Card A1" in browser.page.text
    browser.get("/").post("/sign-out")
    browser.sign_in("ann").post("/second/card/A1", code=hotp(seed, 2, 6))
    assert browser.heading == "You are signed in"


def test_a_lost_factor_does_not_leave_the_password_alone(portal, container_class):
    seed = register_card(portal, container_class)
    boss = portal.staff("boss", "administrator")
    portal.person("ann")
    boss.get("/cards").post("/cards/A1/lend", user="ann", code=hotp(seed, 0, 6))
    assert "is lent" in boss.page.text
    browser = Browser(portal.url).sign_in("ann")
    assert browser.heading == "Card"
    boss.post("/cards/A1/lost")
    refused = Browser(portal.url).sign_in("ann")
    assert refused.page.status_code == 403
    assert refused.problem == "None of your second factors can be used now."


def test_recovery_with_a_factor(portal):
    portal.person("ann", email="ann@firm.example")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    portal.enrol_email(browser)
    forgot = Browser(portal.url).get("/recover")
    forgot.post("/recover", login="ann", kind="totp")
    assert forgot.heading == "Prove that it is you"
    forgot.post("/recover/prove?kind=totp", code=totp.at(int(portal.clock())))
    assert forgot.heading == "Choose a new password"
    for bad in ("short", "ann-ann-ann-ann", "passwordpassword", "aaaaaaaaaaaaaaaa"):
        forgot.post("/recover/reset", password=bad)
        assert forgot.problem.startswith("The new password"), bad
    forgot.post("/recover/reset", password="another good one")
    assert "new password is set" in forgot.page.text
    assert browser.get("/").heading == "Sign in"  # every session was ended
    assert Browser(portal.url).sign_in("ann").problem == "The name or the password is wrong."
    # What recovered the password is not asked for: that would make one factor of two.
    again = Browser(portal.url).sign_in("ann", "another good one")
    assert "/second/email/" in again.page.text and "/second/totp/" not in again.page.text
    texts = [m["text"] for m in portal.messages(3) if m["to"] == "ann@firm.example"]
    assert any("the password was changed" in text for text in texts)
    assert any("a way to sign in was added" in text for text in texts)


def test_recovery_tells_nothing_about_accounts(portal):
    portal.person("ann")
    portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    pages = {}
    for name in ("ann", "nobody"):
        browser = Browser(portal.url).get("/recover")
        browser.post("/recover", login=name, kind="totp")
        seen = []
        for _ in range(6):
            browser.post("/recover/prove?kind=totp", code="000000")
            text = re.sub(r'value="\w+"', "", browser.page.text)
            seen.append((browser.page.status_code, text))
            if browser.page.status_code == 401:
                break
        pages[name] = seen
    assert pages["ann"] == pages["nobody"]
    assert pages["ann"][-1][0] == 401


def test_help_desk_recovery_needs_two(portal):
    portal.person("ann")
    portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    one, two = portal.staff("one", "support"), portal.staff("two", "support")
    person = re.search(r"/people/(\d+)\">ann<", one.get("/people?q=ann").page.text).group(1)
    one.get(f"/people/{person}").post(f"/people/{person}/help/ask")
    request = re.search(r'name="request" value="(\d+)"', two.get(f"/people/{person}").page.text)
    number = request.group(1)
    # Neither alone: the one who asks cannot agree or collect, the other cannot collect.
    assert one.post(f"/people/{person}/help/agree", request=number).page.status_code == 403
    assert one.post(f"/people/{person}/help/collect", request=number).page.status_code == 403
    two.post(f"/people/{person}/help/agree", request=number)
    assert two.post(f"/people/{person}/help/collect", request=number).page.status_code == 403
    one.get(f"/people/{person}").post(f"/people/{person}/help/collect", request=number)
    code = re.search(r'secret big">([\w-]+)<', one.page.text).group(1)
    user = Browser(portal.url).get("/recover/help")
    user.post("/recover/help", login="ann", code="AAAA-AAAA-AAAA")
    assert user.page.status_code == 401
    user.post("/recover/help", login="ann", code=code.lower())
    user.post("/recover/reset", password="brand new password")
    # Nothing was named as lost: what ann has is asked for.
    assert Browser(portal.url).sign_in("ann", "brand new password").heading.startswith("How")
    again = Browser(portal.url).get("/recover/help").post("/recover/help", login="ann", code=code)
    assert again.page.status_code == 401


def test_remembered_device_only_where_policy_allows(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)

    def second(remember: str) -> Browser:
        browser.get("/").post("/sign-out")
        browser.sign_in("ann")
        key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
        browser.get(f"/second/totp/{key}")
        browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember=remember)
        portal.clock.advance(30)
        return browser

    second("yes")
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading.startswith("How")
    portal.policy(remember_device_days=7)
    browser.sign_in("ann")
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember="yes")
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading == "You are signed in"
    portal.clock.advance(7 * 86400)
    assert browser.sign_in("ann").heading.startswith("How")


def test_sessions_end(portal):
    portal.person("ann")
    first, second = (Browser(portal.url).sign_in("ann") for _ in range(2))
    first.get("/").post("/sessions/end-others")
    assert second.get("/").heading == "Sign in"
    portal.clock.advance(61 * 60)
    assert first.get("/").heading == "Sign in"


def test_next_never_leads_elsewhere(portal):
    portal.person("ann")
    for evil in ("https://evil.example/", "//evil.example", "/p/default/..//x", "/\\evil"):
        browser = Browser(portal.url).get(f"/sign-in?next={evil}")
        browser.post("/sign-in", login="ann", password=PASSWORD, next=evil)
        assert 'url=/p/default/"' in browser.page.text
    browser = Browser(portal.url).get("/password")
    assert browser.heading == "Sign in"
    assert 'value="/p/default/password"' in browser.page.text


def test_the_policy_form(portal):
    boss = portal.staff("boss", "administrator").get("/policy")
    everything = dict(re.findall(r'name="([\w.]+)" type="\w+" value="([^"]*)"', boss.page.text))
    everything |= dict.fromkeys(
        re.findall(r'name="([\w.]+)" value="yes" checked', boss.page.text), "yes"
    )
    # None chosen, or of many lines: test_key_trust.py, test_people_pages.py.
    of_keys = {"key_alone", "key_trust", "key_roots", "key_models"}
    of_keys |= {"group_roles", "directory_passwords"}
    shown = {name.split(".")[0] for name in everything}
    assert set(FirmPolicy.model_fields) - of_keys == shown - of_keys
    boss.post("/policy", **everything)
    assert "in force" in boss.page.text

    def stored() -> FirmPolicy:
        with opened(portal.settings) as parts, parts.database.read() as connection:
            return firms.by_name(connection, "default").policy

    assert stored() == FirmPolicy()
    del everything["methods.sms"]
    boss.get("/policy").post("/policy", **everything | {"look_ahead": "3", "day_ends": "16:30"})
    assert stored() == FirmPolicy(
        methods=FirmPolicy().methods - {"sms"}, look_ahead=3, day_ends="16:30"
    )
    for wrong in ({"look_ahead": "0"}, {"time_zone": "Mars/Phobos"}, {"session_hours": "x"}):
        boss.get("/policy").post("/policy", **everything | wrong)
        assert boss.page.status_code == 422
        assert next(iter(wrong)) in boss.problem
        assert stored().look_ahead == 3
    assert Browser(portal.url).sign_in("boss").page.status_code == 200


OF_STAFF = [
    one.router for one in (faces, staff, staff_bulk, staff_lists, staff_invitations, staff_cards)
]


def posts_of_staff() -> set[str]:
    return {
        route.path.removeprefix("/p/{firm}")
        for router in OF_STAFF
        for route in router.routes
        if "POST" in route.methods
    }


@pytest.mark.parametrize("role", ["user", "support", "auditor", "administrator"])
def test_each_role_sees_its_pages_and_no_others(portal, role):
    allowed = {
        "user": set(),
        "support": {"/people", "/waiting", "/cards"},
        "auditor": {"/people", "/waiting", "/cards", "/policy", "/face", "/audit"},
        "administrator": {"/people", "/waiting", "/cards", "/policy", "/face", "/audit"},
    }[role]
    browser = portal.staff("someone", role)
    for path in ("/people", "/waiting", "/cards", "/policy", "/face", "/audit"):
        status = browser.get(path).page.status_code
        assert status == (200 if path in allowed else 403), path
    browser.get("/")
    changes = {
        "/policy": {"administrator"},
        "/face": {"administrator"},
        "/people": {"administrator"},
        "/people/1": {"administrator"},
        "/people/import": {"administrator"},
        "/invitations": {"administrator"},
        "/people/many/X": {"support", "administrator"},
        "/people/1/invite/mail": {"administrator"},
        "/people/1/leave": {"administrator"},
        "/people/1/delete": {"administrator"},
        "/people/1/merge": {"administrator"},
        "/people/1/release": {"administrator"},
        "/people/1/help/ask": {"support", "administrator"},
        "/people/1/unlock": {"support", "administrator"},
        "/people/1/methods/totp/1/remove": {"support", "administrator"},
        "/cards/X": {"support", "administrator"},
        "/cards/X/lend": {"support", "administrator"},
        "/cards/X/assign": {"support", "administrator"},
        "/cards/X/take-back": {"support", "administrator"},
        "/cards/X/lost": {"support", "administrator"},
        "/cards/X/undo": {"support", "administrator"},
        "/cards/X/found": {"support", "administrator"},
        "/cards/X/retire": {"administrator"},
        "/cards/X/unlock": {"support", "administrator"},
        "/people/1/end-sessions": {"support", "administrator"},  # the last: it ends our own
    }
    # Whoever adds a page of staff decides here who may.
    known = {re.sub(r"/(X|1|ask|totp|mail)(?=/|$)", "/*", path) for path in changes}
    assert known == {re.sub(r"{\w+}", "*", path) for path in posts_of_staff()}
    for path, roles in changes.items():
        browser.get("/").post(path)
        assert (browser.page.status_code == 403 and "role does not" in browser.page.text) == (
            role not in roles
        ), path


def test_firms_are_apart(portal, container_class):
    """As an attacker would: an administrator of one firm against another."""
    register_card(portal, container_class)
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=0, actor="test")
    portal.person("ann")
    portal.person("ann", firm="other")
    boss = portal.staff("boss", "administrator")
    ann = Browser(portal.url, "other").sign_in("ann")
    assert ann.heading == "You are signed in"
    # The session of one firm is none in another, even when its cookie is carried over.
    stolen = ann.http.cookies["tally_session"]
    cookie = {"cookie": f"tally_session={stolen}"}
    assert httpx.get(f"{portal.url}/p/default/", headers=cookie, timeout=60).status_code == 303
    assert httpx.get(f"{portal.url}/p/other/", headers=cookie, timeout=60).status_code == 200
    with opened(portal.settings) as parts, parts.database.read() as connection:
        other_id = firms.by_name(connection, "other").id
        victim = people.by_login(connection, other_id, "ann").id
    for path in (f"/people/{victim}",):
        assert boss.get(path).page.status_code == 404
    for path in (f"/people/{victim}", f"/people/{victim}/unlock", f"/people/{victim}/help/ask"):
        assert boss.get("/").post(path, role="user").page.status_code == 404, path
    assert "A1" in boss.get("/cards").page.text
    from tallystick.server.serving.running import add_credential

    intruder = add_credential(portal.settings, "admin", "x", firm="other")
    headers = {"authorization": f"Bearer {intruder.token.reveal().decode()}"}
    with httpx.Client(base_url=portal.url, headers=headers, timeout=60) as http:
        assert http.get("/v1/cards/A1").status_code == 404
        assert http.delete("/v1/cards/A1").status_code == 404
        assert http.put("/v1/cards/A1/assignment", json={"user": "eve"}).status_code == 404
        assert http.post("/v1/cards/A1/loan", json={"user": "ann"}).status_code == 404
        shown = http.get("/v1/credentials").json()["credentials"]
        assert [one["name"] for one in shown] == ["x"]
