"""What serves once, for one attempt, or never for oneself."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from sqlalchemy import select

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods import METHODS
from tallystick.server.signing_in.second import as_person
from tallystick.server.store.models_login import Attempt, HelpRequest
from tallystick.server.store.opened import opened
from tests.server.house import refused
from tests.server.portal_driver import Browser, Portal
from tests.server.test_two_factors import sql


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


def test_a_code_is_looked_for_in_its_own_attempt(portal):
    """Where none was sent, no code is a guess: neither at the factor, nor at another attempt's."""
    path = enrol_sms(portal, "ann")
    mine = Browser(portal.url).sign_in("ann").post(f"{path}/ask")
    code = portal.code(2)
    other = Browser(portal.url).sign_in("ann").get(path)
    for typed in (code, "000000"):
        assert other.post(path, code=typed).heading != "You are signed in"
    assert sql(portal, "SELECT failures FROM factor") == [(0,)]
    assert sql(portal, "SELECT tries FROM sent_code") == [(0,)]
    assert mine.post(path, code=code).heading == "You are signed in"


def test_a_code_that_was_moved_to_another_attempt_opens_nothing(portal):
    """Whoever writes the database does not make a message to somebody one for his own sign-in."""
    path = enrol_sms(portal, "ann")
    mine = Browser(portal.url).sign_in("ann").post(f"{path}/ask")
    code = portal.code(2)
    other = Browser(portal.url).sign_in("ann").get(path)
    of_mine = sql(portal, "SELECT hex(attempt) FROM sent_code")[0][0]
    query = (
        "SELECT hex(token_hash) FROM attempt WHERE hex(token_hash) != :mine AND purpose = 'login'"
    )
    of_other = sql(portal, query, mine=of_mine)[0][0]
    sql(portal, f"UPDATE sent_code SET attempt = X'{of_other}'")
    assert other.post(path, code=code).heading != "You are signed in"
    sql(portal, f"UPDATE sent_code SET attempt = X'{of_mine}'")
    assert mine.post(path, code=code).heading == "You are signed in"


def test_a_code_is_there_for_its_attempt_in_its_time(house):
    sms, ann = METHODS[MethodKind.SMS], as_person(house.person("ann", enrolled=False))
    with house.write() as connection:
        mine = replace(house.context(connection), attempt=b"m" * 32)
        key = sms.start(mine, ann, {"address": "+4740000089"}).key
        assert sms.has_sent(mine, key)
        assert not sms.has_sent(replace(mine, attempt=b"o" * 32), key)
        life_s = house.firm.policy.sent_code_life_s
        assert sms.has_sent(replace(mine, now=mine.now + life_s - 1), key)
        assert not sms.has_sent(replace(mine, now=mine.now + life_s), key)


@pytest.mark.parametrize("by", ["person", "address", "source"])
def test_codes_are_sent_so_often(house, by):
    """To one person, to one address, and for one place, whoever asks there."""
    most = dict.fromkeys(("person", "address", "source"), 99) | {by: 2}
    house.policy(**{f"sends_per_{name}_per_hour": number for name, number in most.items()})
    sms = METHODS[MethodKind.SMS]
    people = [as_person(house.person(name, enrolled=False)) for name in ("ann", "bob")]
    # What is not counted is otherwise each time.
    same = {"person": 0, "address": 0, "source": 0} | {by: 1}

    def send(turn: int) -> None:
        who = people[0 if same["person"] else turn % 2]
        number = "+4740000089" if same["address"] else f"+474000000{turn:02}"
        place = "192.0.2.1" if same["source"] else f"192.0.2.{turn}"
        with house.write() as connection:
            context = replace(house.context(connection), attempt=bytes([turn]) * 32, source=place)
            sms.start(context, who, {"address": number})

    send(1)
    send(2)
    with refused("too-many"):
        send(3)
    house.clock.advance(3600)
    send(4)


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
