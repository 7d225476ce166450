"""Guards around cards, and the entries that acts leave: each is broken by one skipped operand."""

from __future__ import annotations

import pytest

from tallystick.server.accounts import people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.loans import holding
from tallystick.server.rules.otp import hotp
from tallystick.server.stock import cards
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser
from tests.server.test_portal import register_card
from tests.server.test_two_factors import sql


def entries(portal, action: str) -> list[tuple[str, str]]:
    return sql(portal, "SELECT actor, subject FROM audit WHERE action = :action", action=action)


@pytest.fixture
def claimed(portal, container_class) -> tuple[bytes, Browser]:
    """ann has card A1, and an app; factor 2 is the next."""
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card").post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code=hotp(seed, 0, 6), second_code=hotp(seed, 1, 6))
    portal.enrol_totp(browser)
    return seed, browser


def test_what_is_done_with_a_card_has_its_entry(portal, claimed):
    seed, browser = claimed
    number = sql(portal, "SELECT id FROM person")[0][0]
    assert entries(portal, "card-claimed") == [(f"person:{number}", "A1")]
    thief = Browser(portal.url).sign_in("ann").get("/second/card/A1")
    thief.post("/second/card/A1", code="000000").post("/second/card/A1", code=hotp(seed, 2, 6))
    assert entries(portal, "factor-checked") == [(f"person:{number}", "ann")] * 2
    browser.get("/methods/card/A1/remove").post("/methods/card/A1/remove")
    assert entries(portal, "card-taken-back") == [(f"person:{number}", "A1")]
    assert sql(portal, "SELECT * FROM assignment") == []


def test_a_claim_is_of_the_card_whose_serial_was_typed(portal, container_class):
    register_card(portal, container_class)
    other = register_card(portal, container_class, "B2")
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card").post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code=hotp(other, 0, 6), second_code=hotp(other, 1, 6))
    assert browser.problem == "That was not right."
    assert sql(portal, "SELECT * FROM assignment") == []


@pytest.mark.parametrize("change", ["status = 'lost'", "status = 'retired'", "valid_until = 1"])
@pytest.mark.parametrize("act", ["lend", "assign", "claim"])
def test_a_card_out_of_service_goes_to_nobody(portal, container_class, change, act):
    seed = register_card(portal, container_class)
    portal.person("ann")
    sql(portal, f"UPDATE card SET {change}")
    if act == "claim":
        browser = Browser(portal.url).sign_in("ann")
        browser.get("/enrol/card").post("/enrol/card", serial="A1")
        codes = {"code": hotp(seed, 0, 6), "second_code": hotp(seed, 1, 6)}
        browser.post("/enrol/card/A1/confirm", **codes)
    else:
        agent = portal.staff("sue", "support").get("/cards")
        agent.post(f"/cards/A1/{act}", user="ann", code=hotp(seed, 0, 6))
        assert agent.page.status_code == 409
    assert sql(portal, "SELECT * FROM assignment") == []
    assert sql(portal, "SELECT moving_factor FROM card") == [(0,)]


def test_nobody_takes_back_what_is_anothers(portal, claimed):
    portal.person("eve")
    browser = Browser(portal.url).sign_in("eve")
    portal.enrol_totp(browser)
    browser.get("/password").post("/methods/card/A1/remove")
    assert browser.page.status_code == 404
    with opened(portal.settings) as parts, parts.database.write() as connection:
        eve = people.by_login(connection, 1, "eve")
        caller = cards.staff(eve.id, 1, "eve", PersonRole.USER)
        with pytest.raises(ApiError, match="not yours"):
            holding.take_back(
                connection, parts.ring, caller, "A1", now=portal.clock(), from_person=eve.id
            )
    assert len(sql(portal, "SELECT * FROM assignment")) == 1


def test_a_card_of_another_firm_is_not_there(portal, claimed):
    from tallystick.server.accounts import firms

    with opened(portal.settings) as parts, parts.database.write() as connection:
        acme = firms.add(connection, parts.ring, "acme", now=0, actor="test")
        caller = cards.staff(99, acme, "eve", PersonRole.ADMINISTRATOR)
        for act in (
            lambda: holding.take_back(connection, parts.ring, caller, "A1", now=1),
            lambda: holding.unlock(connection, parts.ring, caller, "A1", now=1),
            lambda: holding.assign(connection, parts.ring, caller, "A1", login="eve", now=1),
        ):
            with pytest.raises(ApiError) as caught:
                act()
            assert caught.value.status == 404
        holding.confirm(connection, acme, "A1", 1, 5)
    ((confirmed,),) = sql(portal, "SELECT confirmed_at FROM assignment")
    assert confirmed != 5
