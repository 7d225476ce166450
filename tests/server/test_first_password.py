"""The password of somebody who never enrolled a second factor: it opens his account for a while."""

from __future__ import annotations

import re
import time
from contextlib import nullcontext

import pyotp
import pytest
from sqlalchemy import text

from tallystick.server.accounts import passwords, people
from tallystick.server.accounts.passwords import SmallBreachList
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.settings import settings_from
from tallystick.server.store import schema
from tallystick.server.store.opened import opened
from tests.server.house import refused
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_two_factors import console_code
from tests.server.test_under_way import enrolled

DAY_S = 86400
TOO_LATE = "No second factor was enrolled in the time for it."


def test_it_opens_nothing_when_the_time_to_enrol_is_over(portal):
    portal.person("ann")
    portal.clock.advance(14 * DAY_S - 60)
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"
    portal.clock.advance(60)
    late = Browser(portal.url).sign_in("ann")
    assert (late.page.status_code, late.problem) == (403, TOO_LATE)
    assert late.get("/").heading == "Sign in"


def test_a_wrong_password_does_not_tell_that_it_is_over(portal):
    portal.person("ann")
    portal.clock.advance(15 * DAY_S)
    assert Browser(portal.url).sign_in("ann", "wrong").page.status_code == 401


def test_the_help_desk_gives_time_again(portal):
    portal.person("ann")
    portal.clock.advance(15 * DAY_S)
    user = Browser(portal.url).get("/recover/help")
    user.post("/recover/help", login="ann", code=console_code(portal))
    user.post("/recover/reset", password="another good one")
    assert user.sign_in("ann", "another good one").heading == "You are signed in"


@pytest.mark.parametrize("policy", [{"first_enrolment_days": 0}, {"minimum_methods": 0}])
def test_a_firm_may_let_it_be(portal, policy):
    portal.policy(**policy)
    portal.person("ann")
    portal.clock.advance(300 * DAY_S)
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"


def test_whoever_has_enrolled_has_all_the_time(portal):
    totp = enrolled(portal)
    portal.clock.advance(300 * DAY_S)
    assert portal.with_app(Browser(portal.url), "ann", totp).get("/").heading == "My account"


def test_passwords_of_before_have_their_time_from_the_migration_on(tmp_path):
    """Down and up again, as an old database comes."""
    began = int(time.time())
    with opened(settings_from(f"sqlite:///{tmp_path / 'server.db'}")) as parts:
        with parts.database.write() as connection:
            for login, hashed in (("ann", "x"), ("bob", None)):
                people.ensure(connection, 1, login, 0)
                connection.execute(
                    text("UPDATE person SET password_hash = :h WHERE login = :l"),
                    {"h": hashed, "l": login},
                )
        schema.migrate(parts.database, "0005")
        schema.migrate(parts.database, schema.HEAD)
        with parts.database.read() as connection:
            found = connection.execute(text("SELECT login, password_at FROM person ORDER BY login"))
            (_, ann), (_, bob) = found.all()
    assert began <= ann <= time.time() and bob is None


@pytest.mark.parametrize(
    ("login", "password", "good"),
    [
        ("an", "planning a quiet evening walk", True),
        ("li", "the lilies of some other field", True),
        ("anna", "for joanna the lilies bloom", False),
        ("ANNA", "for joanna the lilies bloom", False),
        ("an", "an", False),
    ],
)
def test_a_short_login_name_is_in_most_passwords(login, password, good):
    policy = FirmPolicy()
    with nullcontext() if good else refused("bad-password"):
        passwords.check_new(password, login, policy, SmallBreachList(), 0)


@pytest.mark.parametrize(
    "password",
    [
        "anna.lindqvist@firm.example", "Lindqvist.2024", "AnnaLindqvist1", "nordsjofisk1",
        "firm.example",
    ],
)  # fmt: skip
def test_no_password_is_made_of_what_is_known_of_its_owner(portal, password):
    """Her address, her name, the firm's: who guesses tries them first (NIST SP 800-63B)."""
    portal.policy(display_name="Nordsjofisk AS", minimum_methods=0, password_min_length_alone=8)
    portal.person("al", email="anna.lindqvist@firm.example")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET full_name = 'Anna Lindqvist'")
    browser = Browser(portal.url).sign_in("al").get("/password")
    browser.post("/password", old=PASSWORD, password=password)
    assert browser.problem == "The new password is one that guessers try early."


def test_what_it_opened_elsewhere_ends_when_its_owner_enrols(portal):
    """Whoever else has read it has a session of one factor, and may have begun to enrol his own."""
    portal.person("ann")
    thief, owner = Browser(portal.url).sign_in("ann"), Browser(portal.url).sign_in("ann")
    thief.get("/enrol/totp").post("/enrol/totp", label="His")
    key = re.search(r"/enrol/totp/(\d+)/confirm", thief.page.text).group(1)
    secret = re.search(r'class="secret">(\w+)<', thief.page.text).group(1)
    page = thief.page
    portal.enrol_totp(owner)
    assert owner.get("/").heading == "My account"
    assert thief.get("/").heading == "Sign in"
    thief.page = page
    thief.post(f"/enrol/totp/{key}/confirm", code=pyotp.TOTP(secret).at(int(portal.clock())))
    assert "is enrolled" not in thief.page.text
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM factor WHERE confirmed_at > 0")) == 1


def test_a_further_factor_ends_nothing(portal):
    totp = enrolled(portal)
    one = portal.with_app(Browser(portal.url), "ann", totp)
    two = portal.with_app(Browser(portal.url), "ann", totp)
    portal.enrol_totp(one)
    assert two.get("/").heading == "My account"
