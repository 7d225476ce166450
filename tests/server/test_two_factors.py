"""Nobody takes an account with one factor, nor alone: each skipped step, each foreign hand."""

from __future__ import annotations

import re
import unicodedata

import pytest
from sqlalchemy import text

from tallystick.server.accounts import people
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in import recovery
from tallystick.server.store.opened import opened
from tests.server.conftest import Server, bearer
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_portal import register_card
from tests.server.test_under_way import enrolled, person_id, recovered

NEW = "another good one"


def sql(portal, statement: str, **values: object) -> list:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        result = connection.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def console_code(portal, login: str = "ann", voids=()) -> str:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        person = people.by_login(connection, 1, login)
        return recovery.console_help(parts, connection, person, portal.clock(), voids)


def forgot(portal, kind: str, code: str, login: str = "ann") -> Browser:
    browser = Browser(portal.url).get("/recover").post("/recover", login=login, kind=kind)
    return browser.post(f"/recover/prove?kind={kind}", code=code)


def app_code(portal, totp) -> str:
    portal.clock.advance(30)
    return totp.at(int(portal.clock()))


def with_card(portal, seed: bytes, factor: int, password: str = PASSWORD) -> Browser:
    browser = Browser(portal.url).sign_in("ann", password).get("/second/card/A1")
    return browser.post("/second/card/A1", code=hotp(seed, factor, 6))


# what recovers a password --------------------------------------------------------------------


def test_what_recovered_a_password_is_not_its_second_factor(portal):
    totp = enrolled(portal)
    recovered(portal, totp).post("/recover/reset", password=NEW)
    thief = Browser(portal.url).sign_in("ann", NEW)
    key = sql(portal, "SELECT id FROM factor WHERE kind = 'totp'")[0][0]
    assert f"/second/totp/{key}" not in thief.page.text
    thief.get("/second").post(f"/second/totp/{key}", code=app_code(portal, totp))
    assert thief.page.status_code == 404
    assert thief.get("/").heading == "Sign in"


def test_it_serves_again_once_something_else_has_signed_in(portal):
    totp = enrolled(portal)
    recovered(portal, totp).post("/recover/reset", password=NEW)
    mail = sql(portal, "SELECT id FROM factor WHERE kind = 'email'")[0][0]
    before = portal.codes_sent()
    owner = Browser(portal.url).sign_in("ann", NEW).post(f"/second/email/{mail}/ask")
    owner.post(f"/second/email/{mail}", code=portal.code(before + 1))
    assert owner.heading == "You are signed in"
    assert "/second/totp/" in Browser(portal.url).sign_in("ann", NEW).page.text


def test_one_factor_does_not_recover(portal):
    """Nor does it change the password, which would lock its owner out; and its code is used up."""
    portal.person("ann")
    totp = portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    code = app_code(portal, totp)
    thief = forgot(portal, "totp", code)
    assert thief.page.status_code == 403
    assert thief.problem == "The code was right, but you have nothing else to sign in with."
    assert thief.post("/recover/reset", password=NEW).page.status_code == 401
    assert Browser(portal.url).sign_in("ann").heading.startswith("How")
    assert forgot(portal, "totp", code).problem == "That was not right."


def test_an_app_and_text_messages_are_one_telephone(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    browser.get("/enrol/sms").post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    assert forgot(portal, "totp", app_code(portal, totp)).page.status_code == 403


def test_a_new_password_is_not_set_before_the_proof(portal):
    enrolled(portal)
    thief = Browser(portal.url).get("/recover").post("/recover", login="ann", kind="totp")
    assert thief.post("/recover/reset", password=NEW).page.status_code == 401
    assert Browser(portal.url).sign_in("ann", NEW).page.status_code == 401


def test_a_recovery_is_over_after_a_while(portal):
    totp = enrolled(portal)
    browser = recovered(portal, totp)
    portal.clock.advance(901)
    assert browser.post("/recover/reset", password=NEW).page.status_code == 401


def test_a_new_password_forgets_remembered_browsers(portal):
    portal.policy(remember_device_days=9)
    totp = enrolled(portal)
    browser = Browser(portal.url).sign_in("ann")
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=app_code(portal, totp), remember="yes")
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading == "You are signed in"
    portal.clock.advance(60)
    recovered(portal, totp).post("/recover/reset", password=NEW)
    browser.get("/sign-in").post("/sign-in", login="ann", password=NEW)
    assert browser.heading != "You are signed in"
    assert browser.get("/").heading == "Sign in"


# cards that change hands ---------------------------------------------------------------------


@pytest.fixture
def handed(portal, container_class):
    """ann has an app and a mailbox, and card A1 was assigned to her by the boss (factor 1 next)."""
    seed = register_card(portal, container_class)
    totp = enrolled(portal, email="ann@firm.example")
    boss = portal.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    assert "is assigned" in boss.page.text
    return seed, totp, boss


def test_a_card_that_was_handed_out_recovers_nothing(portal, handed):
    seed, _, _ = handed
    thief = forgot(portal, "card", hotp(seed, 1, 6))
    assert thief.problem == "That was not right."
    assert thief.post("/recover/reset", password=NEW).page.status_code == 401


def test_its_holder_confirms_it_with_the_password(portal, handed):
    seed, _, _ = handed
    assert with_card(portal, seed, 1).heading == "You are signed in"
    assert forgot(portal, "card", hotp(seed, 2, 6)).heading == "Choose a new password"


def test_a_service_that_checks_a_code_confirms_nothing(portal, handed):
    """It knows nothing of the password."""
    from tallystick.server.serving.running import add_credential

    seed, _, _ = handed
    import httpx

    answer = httpx.post(
        f"{portal.url}/v1/verify",
        json={"user": "ann", "code": hotp(seed, 1, 6)},
        headers=bearer(add_credential(portal.settings, "service", "vpn")),
        timeout=60,
    )
    assert answer.json()["accepted"]
    assert forgot(portal, "card", hotp(seed, 2, 6)).problem == "That was not right."


def test_a_card_handed_out_anew_has_to_be_confirmed_anew(portal, handed):
    seed, _, boss = handed
    with_card(portal, seed, 1)
    boss.get("/cards").post("/cards/A1/take-back", reason="left behind")
    boss.post("/cards/A1/assign", user="ann", code=hotp(seed, 2, 6))
    assert forgot(portal, "card", hotp(seed, 3, 6)).problem == "That was not right."


@pytest.mark.parametrize("act", ["lend", "assign"])
def test_the_portal_hands_out_no_card_without_its_code(portal, container_class, act):
    seed = register_card(portal, container_class)
    portal.person("ann")
    agent = portal.staff("sue", "support").get("/cards")
    for code, status in (("", 422), ("12345", 422), (hotp(seed, 300, 6), 409)):
        agent.post(f"/cards/A1/{act}", user="ann", **({"code": code} if code else {}))
        assert agent.page.status_code == status, code
        assert sql(portal, "SELECT * FROM assignment") == []
    assert sql(portal, "SELECT failures FROM card") == [(1,)]
    agent.post(f"/cards/A1/{act}", user="nobody", code=hotp(seed, 0, 6))
    assert agent.page.status_code == 404
    assert sql(portal, "SELECT login FROM person WHERE login = 'nobody'") == []


@pytest.fixture
def asked(portal, container_class):
    """Agent sue has a card in the hand that is for the boss. → seed, sue's browser, the boss' id"""
    seed = register_card(portal, container_class)
    boss = portal.staff("boss", "administrator")
    sue = portal.staff("sue", "support")
    number = person_id(boss, "boss")
    sue.get("/cards").post("/cards/A1/lend", user="boss", code=hotp(seed, 0, 6))
    assert "a colleague has to agree" in sue.page.text
    assert sql(portal, "SELECT * FROM assignment") == []
    return seed, sue, number


def agree(portal, browser: Browser, number: str) -> int:
    request = sql(portal, "SELECT id FROM help_request WHERE kind = 'hand-over'")[0][0]
    browser.get(f"/people/{number}")
    return browser.post(f"/people/{number}/help/agree", request=str(request)).page.status_code


def test_a_card_for_someone_with_more_rights_needs_a_colleague(portal, asked):
    _, sue, number = asked
    assert agree(portal, sue, number) == 403  # not the one who asks
    assert agree(portal, portal.staff("sam", "support"), number) == 403  # nor without the rights
    assert agree(portal, portal.staff("ada", "auditor"), number) == 403
    assert sql(portal, "SELECT * FROM assignment") == []
    assert agree(portal, portal.staff("chief", "administrator"), number) == 200
    ((confirmed, ends),) = sql(portal, "SELECT confirmed_at, expires_at FROM assignment")
    assert confirmed is None and ends is not None


@pytest.mark.parametrize("then", ["late", "demoted", "disabled", "himself"])
def test_a_colleague_does_not_agree(portal, asked, then):
    _, _, number = asked
    chief = portal.staff("chief", "administrator")
    if then == "late":
        portal.clock.advance(3601)
        sql(portal, "UPDATE session SET proved_at = :now, seen_at = :now", now=int(portal.clock()))
        assert agree(portal, chief, number) == 404
    elif then == "himself":
        sql(
            portal,
            "UPDATE help_request SET person_id = (SELECT id FROM person WHERE login = 'chief')",
        )
        assert agree(portal, chief, person_id(chief, "chief")) == 403
    else:
        change = "role = 'user'" if then == "demoted" else "disabled_at = 1"
        sql(portal, f"UPDATE person SET {change} WHERE login = 'sue'")
        assert agree(portal, chief, number) == 403
    assert sql(portal, "SELECT * FROM assignment") == []


@pytest.fixture
def firm(portal, server: Server) -> Server:
    """The same database by its bearer credentials."""
    return server


def test_credentials_hand_nothing_to_administrators(server, request):
    request.addfinalizer(Browser.close_all)
    url = str(server.client.base_url).rstrip("/")
    Portal(url, server.settings, server.clock, server.folder).person("boss", "administrator")
    from tallystick.server.serving.running import add_credential

    desk = add_credential(server.settings, "desk", "Ann at the desk")
    seed = server.card(user=None)
    assert server.assign("1000000001", "boss").json()["error"]["code"] == "needs-more-rights"
    loan = {"user": "boss", "codes": [hotp(seed, 0, 6)]}
    answer = server.client.post("/v1/cards/1000000001/loan", json=loan, headers=bearer(desk))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "needs-more-rights")
    # An administrator's card is not replaced by one that the desk has in the hand.
    assert server.assign("1000000001", "boss", server.admin).status_code == 200
    other = server.card("1000000002", user=None)
    body = {"by": "1000000002", "codes": [hotp(other, 0, 6)]}
    path = "/v1/cards/1000000001/replacement"
    assert server.client.post(path, json=body, headers=bearer(desk)).status_code == 403


def test_a_misspelt_name_makes_nobody(server):
    server.card(user=None)
    body = {"user": "anne"}
    for who in (server.station, server.admin):
        answer = server.client.put(
            "/v1/cards/1000000001/assignment", json=body, headers=bearer(who)
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no-such-user")
    assert server.client.get("/v1/people?q=anne", headers=bearer(server.admin)).json() == {
        "people": [],
        "more": False,
    }


def test_a_borrower_does_not_take_the_card_off(portal, container_class):
    seed = register_card(portal, container_class)
    totp = enrolled(portal)
    boss = portal.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/lend", user="ann", code=hotp(seed, 0, 6))
    browser = with_card(portal, seed, 1)
    assert "/methods/card/A1/remove" not in browser.get("/").page.text
    browser.get("/methods/card/A1/remove").post("/methods/card/A1/remove")
    assert browser.problem == "Card A1 is lent to you."
    assert len(sql(portal, "SELECT * FROM assignment")) == 1
    assert totp


# the help desk -------------------------------------------------------------------------------


def helped(portal, code: str, login: str = "ann") -> Browser:
    browser = Browser(portal.url).get("/recover/help").post("/recover/help", login=login, code=code)
    return browser.post("/recover/reset", password=NEW)


@pytest.fixture
def enrolling(portal) -> tuple[Browser, object]:
    """ann lost all she had: a browser that may only enrol, and her old app."""
    totp = enrolled(portal)
    browser = helped(portal, console_code(portal, voids=[("totp", "*"), ("email", "*")]))
    assert "Enrol a way to sign in now" in browser.page.text
    return browser, totp


def test_after_help_the_password_alone_opens_nothing(portal, enrolling):
    refused = Browser(portal.url).sign_in("ann", NEW)
    assert refused.problem == "None of your second factors can be used now."
    portal.clock.advance(18 * 60)
    assert Browser(portal.url).sign_in("ann", NEW).page.status_code == 403
    assert sql(portal, "SELECT enrolled_at IS NOT NULL FROM person") == [(1,)]
    assert sql(portal, "SELECT * FROM factor") == []


@pytest.mark.parametrize("path", ["/password", "/address", "/prove", "/people", "/waiting"])
def test_a_session_that_may_only_enrol_does_nothing_else(enrolling, path):
    browser, _ = enrolling
    assert browser.get(path).page.status_code == 403
    assert "Where you are signed in" not in browser.get("/").page.text


@pytest.mark.parametrize("path", ["/password", "/address", "/sessions/end-others"])
def test_nor_does_it_post_anything_else(portal, enrolling, path):
    browser, _ = enrolling
    browser.get("/").post(path, old=NEW, password="yet another good one", address="x@y.example")
    assert browser.page.status_code == 403


def test_it_ends_with_the_enrolment(portal, enrolling):
    browser, _ = enrolling
    browser.get("/enrol/totp").post("/enrol/totp", label="New")
    key = re.search(r"/enrol/totp/(\d+)/confirm", browser.page.text).group(1)
    secret = re.search(r'class="secret">(\w+)<', browser.page.text).group(1)
    import pyotp

    totp = pyotp.TOTP(secret)
    browser.post(f"/enrol/totp/{key}/confirm", code=totp.at(int(portal.clock())))
    assert "Sign in with your password and with it" in browser.page.text
    assert browser.get("/").heading == "Sign in"
    again = Browser(portal.url).sign_in("ann", NEW).get(f"/second/totp/{key}")
    assert again.post(f"/second/totp/{key}", code=app_code(portal, totp)).heading == (
        "You are signed in"
    )


def test_it_ends_after_a_quarter_of_an_hour(portal, enrolling):
    browser, _ = enrolling
    portal.clock.advance(901)
    assert browser.get("/").heading == "Sign in"


def test_only_what_was_named_is_void(portal):
    totp = enrolled(portal)
    browser = helped(portal, console_code(portal, voids=[("totp", "*")]))
    assert "Sign in with it" in browser.page.text  # no session: the mailbox is left
    assert browser.get("/").heading == "Sign in"
    assert sql(portal, "SELECT kind FROM factor") == [("email",)]
    assert "/second/email/" in Browser(portal.url).sign_in("ann", NEW).page.text
    assert totp


def test_a_card_that_was_named_is_lost(portal, handed):
    seed, _, boss = handed
    helped(portal, console_code(portal, voids=[("card", "A1")]))
    assert sql(portal, "SELECT status FROM card") == [("lost",)]
    assert sql(portal, "SELECT * FROM assignment") == []
    assert seed and boss


def test_a_help_code_is_taken_with_an_address_as_a_password_is(portal):
    portal.person("ann", email="ann@firm.example")
    code = console_code(portal)
    browser = Browser(portal.url).get("/recover/help")
    browser.post("/recover/help", login="Ann@firm.example", code=code)
    assert browser.heading == "Choose a new password"


def test_a_help_code_is_good_once(portal):
    enrolled(portal)
    code = console_code(portal)
    helped(portal, code)
    late = Browser(portal.url).get("/recover/help").post("/recover/help", login="ann", code=code)
    assert late.page.status_code == 401


def test_a_help_code_expires(portal):
    enrolled(portal)
    code = console_code(portal)
    portal.clock.advance(recovery.CONSOLE_LIFE_S)
    late = Browser(portal.url).get("/recover/help").post("/recover/help", login="ann", code=code)
    assert late.page.status_code == 401


def test_a_help_code_is_for_one_person(portal):
    enrolled(portal)
    portal.person("bob")
    code = console_code(portal)
    other = Browser(portal.url).get("/recover/help").post("/recover/help", login="bob", code=code)
    assert other.page.status_code == 401


def test_a_help_code_is_for_one_firm(portal):
    from tallystick.server.accounts import firms

    enrolled(portal)
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "acme", now=0, actor="test")
    portal.person("ann", firm="acme")
    other = Browser(portal.url, "acme").get("/recover/help")
    code = console_code(portal)
    assert other.post("/recover/help", login="ann", code=code).page.status_code == 401


def test_a_help_code_has_so_many_tries(portal, monkeypatch):
    enrolled(portal)
    monkeypatch.setattr(recovery, "HELP_TRIES", 2)
    code = console_code(portal)
    browser = Browser(portal.url).get("/recover/help")
    for typed in ("AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB", code):
        assert browser.post("/recover/help", login="ann", code=typed).page.status_code == 401


def test_the_second_agent_is_told(portal):
    enrolled(portal)
    one = portal.staff("one", "support")
    portal.person("two", "support", email="two@firm.example")
    portal.person("off", "support", email="off@firm.example")
    portal.person("eve", email="eve@firm.example")
    sql(portal, "UPDATE person SET disabled_at = 1 WHERE login = 'off'")
    ann = person_id(one)
    one.get(f"/people/{ann}").post(f"/people/{ann}/help/ask", reason="telephone stolen")
    sent = portal.told("waits for a colleague", "asked to recover it for you")
    told = [m for m in sent if "waits for a colleague" in str(m)]
    assert [m["to"] for m in told] == ["two@firm.example"]
    for words in ("one asks", "of ann", "telephone stolen", "/p/default/waiting"):
        assert words in told[0]["text"], words
    page = one.get("/waiting").page.text
    assert "Recover the account of ann" in page and "telephone stolen" in page


# staff -----------------------------------------------------------------------------------------


def test_staffs_pages_are_not_for_a_remembered_browser(portal):
    """It is remembered for the pages of its own account."""
    portal.policy(remember_device_days=30)
    boss = portal.staff("boss", "administrator")
    portal.person("sue", "support")
    sue = Browser(portal.url).sign_in("sue")
    totp = portal.enrol_totp(sue)
    sue.get("/").post("/sign-out")
    sue.sign_in("sue")
    key = re.search(r"/second/totp/(\d+)", sue.page.text).group(1)
    sue.get(f"/second/totp/{key}")
    sue.post(f"/second/totp/{key}", code=app_code(portal, totp), remember="yes")
    assert sue.get("/people").page.status_code == 200
    sue.get("/").post("/sign-out")
    assert sue.sign_in("sue").get("/").heading == "My account"
    for page in ("/people", "/cards", "/waiting"):
        assert sue.get(page).page.status_code == 403
        assert boss.get(page).page.status_code == 200


@pytest.mark.parametrize(
    ("page", "path", "fields"),
    [
        ("/people", "/people", {"login": "mole", "role": "administrator"}),
        ("/people", "/people/1", {"role": "administrator"}),
        ("/people", "/people/1/end-sessions", {}),
        ("/people", "/people/1/unlock", {}),
        ("/people", "/people/1/help/ask", {}),
        ("/people", "/people/1/methods/totp/1/remove", {}),
        ("/policy", "/policy", {"password_min_length": "9"}),
        ("/cards", "/cards/A1/assign", {"user": "ann"}),
        ("/cards", "/cards/A1/lost", {}),
        ("/cards", "/cards/A1/retire", {}),
    ],
)
def test_staff_show_their_second_factor_again(portal, page, path, fields):
    portal.person("ann")
    boss = portal.staff("boss", "administrator")
    before = sql(portal, "SELECT count(*) FROM audit")
    portal.clock.advance(300)
    boss.get(page)
    assert boss.page.status_code == 200  # looking is no change
    boss.post(path, **fields)
    assert boss.heading.startswith(("How", "Authenticator", "Prove")), boss.heading
    assert sql(portal, "SELECT count(*) FROM audit") == before
    assert sql(portal, "SELECT login FROM person WHERE login = 'mole'") == []


def test_staff_remove_a_method_and_its_owner_is_told(portal):
    enrolled(portal, email="ann@firm.example")
    sue = portal.staff("sue", "support")
    ann = person_id(sue)
    key = sql(portal, "SELECT id FROM factor WHERE kind = 'totp' ORDER BY id")[0][0]
    assert "Authenticator app" in sue.get(f"/people/{ann}").page.text
    sue.post(f"/people/{ann}/methods/totp/{key}/remove")
    assert sql(portal, "SELECT id FROM factor WHERE id = :key", key=key) == []
    assert portal.told("the help desk removed a way to sign in", to="ann@firm.example")
    assert sql(portal, "SELECT count(*) FROM audit WHERE action = 'method-removed'") == [(1,)]


def test_staff_remove_nothing_of_someone_with_more_rights_nor_of_themselves(portal):
    boss, sue = portal.staff("boss", "administrator"), portal.staff("sue", "support")
    for name in ("boss", "sue"):
        number = person_id(boss, name)
        key = sql(
            portal,
            "SELECT f.id FROM factor f JOIN person p ON p.id = f.person_id WHERE p.login = :name",
            name=name,
        )[0][0]
        sue.get(f"/people/{number}").post(f"/people/{number}/methods/totp/{key}/remove")
        assert sue.page.status_code == 403
        assert sql(portal, "SELECT count(*) FROM factor WHERE id = :key", key=key) == [(1,)]
    other = person_id(boss, "boss")  # a method of somebody else under this person's number
    sue.get("/people").post(f"/people/{other}/methods/totp/9999/remove")
    assert sue.page.status_code in (403, 404)


# names and passwords -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ANN", "Ann", "ａｎｎ"])
def test_login_names_in_whatever_case(portal, name):
    enrolled(portal)
    assert Browser(portal.url).sign_in(name).heading.startswith("How")
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert people.by_login(connection, 1, name).login == "ann"


def test_names_that_differ_in_case_only_are_one(portal):
    boss = portal.staff("boss", "administrator")
    boss.get("/people").post("/people", login="Boss", role="user")
    assert boss.page.status_code == 409


def test_a_password_in_its_other_unicode_form(portal):
    portal.person("ann")
    browser = Browser(portal.url).get("/recover/help")
    browser.post("/recover/help", login="ann", code=console_code(portal))
    password = unicodedata.normalize("NFD", "crème brûlée façade")
    browser.post("/recover/reset", password=password)
    for form in ("NFC", "NFD"):
        typed = unicodedata.normalize(form, password)
        assert Browser(portal.url).sign_in("ann", typed).heading == "You are signed in", form


@pytest.mark.parametrize(
    "password", ["password1234", "Password1234", "p@ssw0rd1234", "qwertyuiop123", "123456123456"]
)
def test_passwords_that_guessers_try_early(portal, password):
    portal.person("ann")
    browser = Browser(portal.url).get("/recover/help")
    browser.post("/recover/help", login="ann", code=console_code(portal))
    assert "guessers try early" in browser.post("/recover/reset", password=password).problem


# backup codes ----------------------------------------------------------------------------------


@pytest.fixture
def sheet(portal) -> tuple[Browser, str, list[str]]:
    portal.policy(methods=["totp", "codes", "email"])
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/codes").post("/enrol/codes")
    codes = re.findall(r'class="secret">([\w-]+)<', browser.page.text)
    key = re.search(r"/enrol/codes/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/codes/{key}/confirm", code=codes[0])
    assert "is enrolled" in browser.page.text and len(set(codes)) == 10
    return browser, key, codes


def test_backup_codes_are_good_once(portal, sheet):
    _, key, codes = sheet
    outcomes = []
    spoken = codes[2].lower().replace("-", " ")
    for code in (codes[0], codes[1], codes[1], spoken, "", "AAAAA-AAAAA"):
        browser = Browser(portal.url).sign_in("ann").get(f"/second/codes/{key}")
        browser.post(f"/second/codes/{key}", code=code)
        outcomes.append(browser.heading == "You are signed in")
    assert outcomes == [False, True, False, True, False, False]
    stored = str(sql(portal, "SELECT * FROM factor")) + str(sql(portal, "SELECT * FROM audit"))
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


def test_guesses_at_a_sheet_pause_it(portal, sheet):
    _, key, codes = sheet
    portal.policy(max_failures=3)
    browser = Browser(portal.url).sign_in("ann").get(f"/second/codes/{key}")
    for _ in range(3):
        browser.post(f"/second/codes/{key}", code="AAAAA-AAAAA")
    assert browser.post(f"/second/codes/{key}", code=codes[1]).page.status_code == 429
    portal.clock.advance(61)
    again = Browser(portal.url).sign_in("ann").get(f"/second/codes/{key}")
    assert again.post(f"/second/codes/{key}", code=codes[1]).heading == "You are signed in"


def test_backup_codes_are_off_unless_policy_says_so(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    assert "/enrol/codes" not in browser.get("/").page.text
    assert browser.get("/enrol/codes").page.status_code == 403


def test_a_new_sheet_makes_the_old_one_void(portal, sheet):
    browser, key, codes = sheet
    browser.get("/enrol/codes").post("/enrol/codes")
    new = re.search(r"/enrol/codes/(\d+)/confirm", browser.page.text).group(1)
    first = re.search(r'class="secret">([\w-]+)<', browser.page.text).group(1)
    browser.post(f"/enrol/codes/{new}/confirm", code=first)
    assert sql(portal, "SELECT id FROM factor") == [(int(new),)] and new != key and codes
