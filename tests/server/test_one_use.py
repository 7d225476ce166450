"""What serves once, for one attempt, or never for oneself."""

from __future__ import annotations

import json
import re

from sqlalchemy import select

from tallystick.server.store.models_login import Attempt, HelpRequest
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal


def enrol_sms(portal: Portal, login: str) -> str:
    """→ the path at which a sign-in asks for this person's SMS"""
    portal.person(login)
    browser = Browser(portal.url).sign_in(login).get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    return f"/second/sms/{key}"


def test_a_new_code_voids_the_one_before(portal):
    path = enrol_sms(portal, "ann")
    browser = Browser(portal.url).sign_in("ann").post(f"{path}/ask")
    first = portal.code(2)
    browser.post(f"{path}/ask")
    second = portal.code(3)
    assert browser.post(path, code=first).heading != "You are signed in"
    assert browser.post(path, code=second).heading == "You are signed in"


def test_a_code_is_good_in_the_browser_that_asked_for_it(portal):
    """Somebody who sees a message cannot use it in a sign-in of his own, nor void it by one."""
    path = enrol_sms(portal, "ann")
    mine = Browser(portal.url).sign_in("ann").post(f"{path}/ask")
    code = portal.code(2)
    other = Browser(portal.url).sign_in("ann").post(f"{path}/ask")
    portal.code(3)
    assert other.post(path, code=code).heading != "You are signed in"
    assert mine.post(path, code=code).heading == "You are signed in"


def test_a_challenge_is_used_up_by_a_wrong_answer(portal):
    path = enrol_sms(portal, "ann")
    browser = Browser(portal.url).sign_in("ann").post(f"{path}/ask")

    def challenge() -> str | None:
        with opened(portal.settings) as parts, parts.database.read() as connection:
            query = select(Attempt.context).where(Attempt.purpose == "login")
            return json.loads(connection.scalars(query).one()).get("challenge")

    assert challenge()
    browser.post(path, code="000000")
    assert challenge() is None


def test_nobody_has_a_part_in_his_own_recovery(portal):
    one, two = portal.staff("one", "support"), portal.staff("two", "support")
    found = re.search(r"/people/(\d+)\">one<", one.get("/people?q=one").page.text)
    page = f"/people/{found.group(1)}"
    assert one.post(f"{page}/help/ask").page.status_code == 403
    # A colleague asks for him: he cannot be the one who agrees.
    assert two.get(page).post(f"{page}/help/ask").page.status_code == 200
    with opened(portal.settings) as parts, parts.database.read() as connection:
        number = connection.scalars(select(HelpRequest.id)).one()
    one.get("/people").post(f"{page}/help/agree", request=str(number))
    assert one.page.status_code == 403
    assert one.problem.startswith("A recovery needs two")


def test_claims_of_cards_are_limited(portal):
    """Each wrong claim is a guess at somebody else's card, or pauses a spare one."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    for number in range(21):
        browser.get("/enrol/card").post("/enrol/card", serial=f"S{number}")
        browser.post(f"/enrol/card/S{number}/confirm", code="123456", second_code="234567")
        assert (browser.page.status_code == 429) == (number == 20), number
