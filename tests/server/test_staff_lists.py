"""Staff's day: the list of people searched, filtered, by pages; many at once; an overview."""

from __future__ import annotations

import re
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.server.accounts import firms
from tallystick.server.accounts import people as accounts
from tallystick.server.joining import leaving, listing, overview
from tallystick.server.joining.listing import PeopleFilter, PeopleOrder, PeopleQuery
from tallystick.server.portal.plots import HEIGHT, bars
from tallystick.server.stock import cards
from tallystick.server.store import audit
from tallystick.server.store.opened import opened
from tallystick.server.store.paging import RowMark
from tests.server.conftest import bearer
from tests.server.house import House, refused
from tests.server.portal_driver import Browser
from tests.server.test_people_bulk import FIRM, acts, administrator, import_, ways


def page(house: House, **asked) -> listing.PeoplePage:
    with house.state.database.read() as connection:
        return listing.page(connection, house.firm.id, PeopleQuery(**asked), house.clock())


def logins(house: House, **asked) -> list[str]:
    return [one.login for one in page(house, **asked).people]


def all_pages(house: House, **asked) -> list[listing.PeoplePage]:
    found = [page(house, **asked)]
    while found[-1].later and len(found) < 50:
        found.append(page(house, after=found[-1].later, **asked))
    return found


def test_pages_hold_everybody_once(house):
    import_(house, FIRM)
    for order in PeopleOrder:
        for down in (False, True):
            found = all_pages(house, order=order, down=down)
            seen = [one.login for one in chain(*(one.people for one in found))]
            assert len(seen) == len(set(seen)) == 300 and len(found) == 6
            assert [(one.first, one.last, one.total) for one in found] == [
                (start, start + 49, 300) for start in range(1, 300, 50)
            ]
            assert found[0].earlier == ""
            # And the same pages on the way back.
            for here, ahead in pairwise(found):
                assert page(house, order=order, down=down, before=ahead.earlier) == here
    assert logins(house, order=PeopleOrder.NAME, down=True)[0] == "user99"


def test_who_comes_and_goes_meanwhile_moves_nobody_over_a_page(house):
    import_(house, FIRM)
    first = page(house)
    with house.write() as connection:
        for one in first.people[30:]:
            leaving.remove(connection, ways(house), one)
    second = page(house, after=first.later)
    assert first.people[-1].login < second.people[0].login
    assert (second.first, second.total) == (31, 280)
    # A page that would begin before the list's start is the first one, and a whole one.
    assert page(house, before=second.earlier) == page(house)


def test_a_mark_whose_page_is_gone_or_that_is_none(house):
    import_(house, FIRM)
    start = page(house)
    last = all_pages(house)[-1]
    after_all = str(RowMark("zzzz", 1))
    for odd in (
        after_all, "x", "=", "é", "A" * 5000, str(RowMark(7, 1)), str(RowMark("a\0b", 1)),
        "bnVsbA==", "WyJcdWQ4MDAiLDFd", str(RowMark("a", -1)), str(RowMark("a", True)),
        str(RowMark("a", 2**60)),
    ):  # fmt: skip
        assert page(house, after=odd) == start, odd
        if odd != after_all:
            assert page(house, before=odd) == start, odd
    assert page(house, before=after_all) == page(house, before=last.later or after_all)
    # PostgreSQL compares no text with a number.
    assert (
        RowMark.parse(str(RowMark("a", 1)), int) is None
        and RowMark.parse(str(RowMark(7, 1)), str) is None
    )
    assert RowMark.parse(str(RowMark(7, 1)), int) == RowMark(7, 1)
    made = page(house, order=PeopleOrder.MADE, after=str(RowMark("a", 1)))
    assert made == page(house, order=PeopleOrder.MADE)
    assert page(house, order=PeopleOrder.MADE, after=str(RowMark(2**60, 1))) == made


def test_what_is_searched_for(server):
    headers = bearer(server.admin)
    body = {"csv": "login,name,email\nann,Ann Ö,x@example.org\nbob,Bob_,bob@example.org\n"}
    server.client.post("/v1/people/import", json=body, headers=headers).raise_for_status()
    server.card("TS-77", user="ann")
    with opened(server.settings) as parts, parts.database.read() as connection:
        for text, found in (
            ("AN", ["ann"]), ("Ann Ö", ["ann"]), ("x@", ["ann"]), ("ts-7", ["ann"]),
            ("_", ["bob"]), ("%", []), ("\\", []), ("nobody", []), ("", ["ann", "bob"]),
        ):  # fmt: skip
            people = listing.page(connection, 1, PeopleQuery(text), 0).people
            assert [one.login for one in people] == found, text


@pytest.mark.parametrize(
    "text", ["özdemir", "ÖZDEMIR", "Özdemir", "ÉLODIE", "élodie", "e\u0301lodie", "ÖZ"]
)
def test_letters_beyond_z_are_found_in_any_case(house, text):
    house.person("ann", enrolled=False)
    house.person("bob", enrolled=False)
    # As some systems write it: a letter, and its mark apart.
    house.change("ann", full_name="E\u0301lodie Özdemir")
    assert logins(house, text=text) == ["ann"]
    with house.state.database.read() as connection:
        assert [one.login for one in accounts.search(connection, 1, text)] == ["ann"]
        assert accounts.search(connection, 1, "ö%") == []


def test_filters(house):
    boss = administrator(house)
    house.person("ann")
    house.person("bob", enrolled=False)
    house.person("cat", enrolled=False)
    house.change("cat", disabled_at=1)
    house.person("dan")
    house.change("dan", source="ldap")
    found = {one: logins(house, filter=one) for one in PeopleFilter}
    assert found[PeopleFilter.WITHOUT] == ["bob", "boss"]
    assert found[PeopleFilter.NEW] == ["boss"]
    assert found[PeopleFilter.STAFF] == [boss.login]
    assert found[PeopleFilter.DIRECTORY] == ["dan"]
    assert found[PeopleFilter.DISABLED] == ["cat"]
    assert found[PeopleFilter.LENT] == found[PeopleFilter.OVERDUE] == found[PeopleFilter.LOST] == []
    assert len(found[PeopleFilter.ALL]) == 5


def test_cards_of_people(server):
    headers = bearer(server.admin)
    for serial, user in (("C1", "ann"), ("C2", None), ("C3", "cat")):
        server.card(serial, user=user)
    body = {"login": "bob"}
    server.client.post("/v1/people", json=body, headers=headers).raise_for_status()
    server.client.post(
        "/v1/cards/C2/loan", json={"user": "bob"}, headers=headers
    ).raise_for_status()
    server.client.put("/v1/cards/C3/status", json={"status": "lost"}, headers=headers)

    def found(which: PeopleFilter) -> list[str]:
        with opened(server.settings) as parts, parts.database.read() as connection:
            asked = PeopleQuery(filter=which)
            return [one.login for one in listing.page(connection, 1, asked, server.clock()).people]

    assert found(PeopleFilter.LENT) == ["bob"] and found(PeopleFilter.LOST) == ["cat"]
    server.clock.advance(86400)
    assert found(PeopleFilter.LENT) == [] and found(PeopleFilter.OVERDUE) == ["bob"]
    with opened(server.settings) as parts, parts.database.read() as connection:
        caller = cards.staff(1, 1, "boss", "administrator")
        seen = overview.of_firm(connection, firms.by_id(connection, 1), caller, server.clock())
    assert seen.cards["overdue"] == 1 and seen.cards["lost"] == 1
    assert seen.by_method == {"card": 1} and seen.people == 3  # that which is lost does not count


def chosen(browser: Browser, *names: str) -> dict[str, str]:
    page = browser.get("/people").page.text
    found = dict(re.findall(r'name="(p\.\d+)" value="yes" aria-label="Choose ([\w.]+)"', page))
    return {field: "yes" for field, name in found.items() if name in names}


def test_many_at_once(portal):
    boss = portal.staff("boss", "administrator")
    for login in ("ann", "bob", "cat"):
        boss.get("/people").post("/people", login=login, role="user", email=f"{login}@example.org")
    page = boss.get("/people?sort=email&down=yes&q=example").page.text
    assert page.index(">cat<") < page.index(">bob<") and 'aria-sort="descending"' in page
    boss.get("/people").post("/people/many/invite", **chosen(boss, "ann", "bob"))
    assert "Mail an invitation: 2" in boss.page.text
    boss.post("/people/many/disable", **chosen(boss, "ann", "bob"))
    assert "Disable: 2" in boss.page.text
    # On all of them, or on none: nobody disables himself.
    boss.post("/people/many/disable", **chosen(boss, "cat", "boss"))
    assert "Nobody" in boss.problem
    assert "cat" not in boss.get("/people?show=disabled").page.text
    boss.post("/people/many/leave", **chosen(boss, "ann", "cat"), **{"count-leave": "3"})
    assert "another number" in boss.problem
    boss.post("/people/many/leave", **chosen(boss, "ann", "cat"), **{"count-leave": "2"})
    assert "They leave" in boss.page.text
    for wrong in ({}, {"p.x": "yes"}, {"p.999999": "yes"}):
        boss.get("/people").post("/people/many/disable", **wrong)
        assert boss.page.status_code in (404, 422)
    assert (
        boss.get("/people").post("/people/many/odd", **chosen(boss, "bob")).page.status_code == 404
    )


def test_support_signs_many_out_and_no_more(portal):
    sue = portal.staff("sue", "support")
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    sue.get("/people").post("/people/many/disable", **chosen(sue, "ann"))
    assert sue.page.status_code == 403
    sue.get("/people").post("/people/many/end-sessions", **chosen(sue, "ann"))
    assert browser.get("/").heading == "Sign in"


def test_the_overview(portal):
    boss = portal.staff("boss", "administrator")
    Browser(portal.url).sign_in("nobody")
    page = boss.get("/overview").page.text
    assert re.search(r"<strong>1</strong> person", page)
    assert "app or card" in page and "password alone" in page
    assert page.count("<svg") >= 2 and "style=" not in page
    assert boss.get("/cards?where=overdue").page.status_code == 200
    assert boss.get("/cards?where=mars").page.status_code == 422
    user = portal.staff("ann", "user")
    assert user.get("/overview").page.status_code == 403


def test_each_sign_in_is_counted_where_it_belongs(house):
    house.person("ann")
    house.sign_in()
    with refused("wrong-password"):
        house.first("ann", "wrong")
    with house.state.database.read() as connection:
        caller = cards.staff(1, 1, "boss", "administrator")
        seen = overview.of_firm(connection, house.firm, caller, house.clock())
    assert sum(seen.failed.values()) == 1
    assert sum(day["app or card"] for day in seen.signed_in.values()) == 1
    assert len(seen.signed_in) == overview.DAYS
    assert len(acts(house, "signed-in")) == 1


def test_who_has_a_card_that_works_is_counted(server):
    headers = bearer(server.admin)
    people = [("ann", "T-1"), ("bob", "T-2"), ("cat", "T-3"), ("dan", "T-4")]
    for login, serial in people:
        server.card(serial, user=login)

    def with_card() -> int:
        with opened(server.settings) as parts, parts.database.read() as connection:
            caller = cards.staff(1, 1, "boss", "administrator")
            firm = firms.by_id(connection, 1)
            return overview.of_firm(connection, firm, caller, 0).by_method.get("card", 0)

    assert with_card() == 4
    body = {"status": "lost"}
    answer = server.client.put("/v1/cards/T-1/status", json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    assert with_card() == 3
    found = server.client.get("/v1/people?q=bob", headers=headers).json()["people"]
    path = f"/v1/people/{found[0]['id']}"
    assert server.client.patch(path, json={"disabled": True}, headers=headers).status_code == 200
    assert with_card() == 2


@pytest.mark.parametrize(
    ("reason", "flat"),
    [
        ("battery flat", 1), ("Batterie leer", 1), ("low cell", 1), ("pile vide", 1),
        ("contract cancelled", 0), ("moves to the second floor below", 0), ("follow-up", 0),
        ("a slow fellow", 0), ("compiled list", 0),
    ],
)  # fmt: skip
def test_what_is_a_complaint_of_the_battery(house, reason, flat):
    caller = cards.staff(1, 1, "boss", "administrator")
    with house.write() as connection:
        act = ways(house).act("card-returned", "T-1", without_code=reason)
        audit.record(connection, house.state.ring, [act])
        seen = overview.of_firm(connection, house.firm, caller, house.clock())
    assert seen.flat == flat


@given(
    columns=st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(st.integers(0, 10**6), min_size=2, max_size=2),
        max_size=20,
    )
)
def test_bars_stay_on_the_paper(columns):
    plot = bars(columns)
    for bar in plot.bars:
        assert bar.x >= 0 and bar.x + bar.width <= plot.width
        assert bar.y >= -0.1 and bar.y + bar.height <= HEIGHT + 0.1
    assert len(plot.labels) == len(columns)
