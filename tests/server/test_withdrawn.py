"""What waits for a colleague can be withdrawn by who asked, and refused by another."""

from __future__ import annotations

import re

import pytest

from tests.server.portal_driver import Browser, Portal
from tests.server.test_new_colleagues import number_of
from tests.server.test_two_factors import sql
from tests.server.test_under_way import enrolled


@pytest.fixture
def staff(portal: Portal) -> tuple[Browser, Browser, str]:
    """→ who asked for a recovery of ann's account, a colleague, and ann's page"""
    portal.person("ann")
    one, two = portal.staff("one", "support"), portal.staff("two", "support")
    page = f"/people/{number_of(portal, 'ann')}"
    one.get(page).post(f"{page}/help/ask", reason="telephone lost")
    return one, two, page


def request(browser: Browser, page: str) -> str:
    return re.search(r'name="request" value="(\d+)"', browser.get(page).page.text).group(1)


@pytest.mark.parametrize("agreed", [False, True])
def test_who_asked_withdraws_and_asks_anew(portal, staff, agreed):
    one, two, page = staff
    number = request(two, page)
    if agreed:
        two.post(f"{page}/help/agree", request=number)
        one.get(page).post(f"{page}/help/collect", request=number)
        code = re.search(r'secret big">([\w-]+)<', one.page.text).group(1)
    assert "Withdraw the request" in one.get(page).page.text
    one.post(f"{page}/help/withdraw", request=number)
    assert "Ask for a recovery" in one.page.text
    (entry,) = sql(portal, "SELECT subject, detail FROM audit WHERE action = 'help-withdrawn'")
    assert entry[0] == "ann" and "one" in entry[1]
    two.get(page).post(f"{page}/help/agree", request=number)
    assert two.page.status_code == 404
    if agreed:
        user = Browser(portal.url).get("/recover/help")
        assert user.post("/recover/help", login="ann", code=code).page.status_code == 401
    one.get(page).post(f"{page}/help/ask", reason="telephone and card lost")
    assert "Waiting for a colleague" in one.page.text


def test_a_colleague_refuses(portal, staff):
    one, two, page = staff
    number = request(two, page)
    assert "Refuse the request" in two.page.text
    two.post(f"{page}/help/withdraw", request=number)
    assert "Ask for a recovery" in one.get(page).page.text
    one.post(f"{page}/help/withdraw", request=number)
    assert one.page.status_code == 404


def test_no_other_request_is_meant(portal, staff):
    """Shown on another's page, or an invitation, which has ways of its own."""
    _one, two, page = staff
    number = request(two, page)
    portal.person("bob")
    other = f"/people/{number_of(portal, 'bob')}"
    assert two.get(other).post(f"{other}/help/withdraw", request=number).page.status_code == 404
    sql(portal, "UPDATE help_request SET kind = 'invitation'")
    assert two.get(page).post(f"{page}/help/withdraw", request=number).page.status_code == 404
    auditor = portal.staff("eye", "auditor")
    auditor.get("/").post(f"{page}/help/withdraw", request=number)
    assert auditor.page.status_code == 403
    assert sql(portal, "SELECT count(*) FROM help_request")[0][0] == 1


def test_a_colleague_reads_which_methods_will_be_void(portal):
    totp = enrolled(portal)
    assert totp
    one, two = portal.staff("one", "support"), portal.staff("two", "support")
    page = f"/people/{number_of(portal, 'ann')}"
    field = re.search(r"void\.totp\.\d+", one.get(page).page.text).group()
    one.post(f"{page}/help/ask", reason="telephone lost", **{field: "yes"})
    assert "1 way to sign in will be void. (Phone)" in two.get(page).page.text


def test_a_code_for_an_administrator_needs_one_of_them_to_its_end(portal):
    """Whoever agreed has less rights than he had: neither of the two has those of the helped."""
    portal.staff("boss", "administrator")
    one, two = portal.staff("one", "support"), portal.staff("two", "administrator")
    page = f"/people/{number_of(portal, 'boss')}"
    one.get(page).post(f"{page}/help/ask", reason="telephone lost")
    number = request(two, page)
    two.post(f"{page}/help/agree", request=number)
    one.get(page).post(f"{page}/help/collect", request=number)
    code = re.search(r'secret big">([\w-]+)<', one.page.text).group(1)
    sql(portal, "UPDATE person SET role = 'support' WHERE login = 'two'")
    helped = Browser(portal.url).get("/recover/help")
    assert helped.post("/recover/help", login="boss", code=code).page.status_code == 401
    sql(portal, "UPDATE person SET role = 'administrator' WHERE login = 'two'")
    helped.get("/recover/help").post("/recover/help", login="boss", code=code)
    assert helped.heading == "Choose a new password"
