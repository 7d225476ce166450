"""Staff's list of cards: searched, filtered, sorted, by pages; acts on many at once."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain

import pytest
from sqlalchemy import insert, select

from tallystick.server.accounts import firms
from tallystick.server.loans import card_list
from tallystick.server.loans.card_list import CardFilter, CardOrder, CardQuery
from tallystick.server.store.models import CardRow
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal
from tests.server.test_desk import OTHER, OWN, SPARE, Desk

REASON, COUNT = "reason-take-back", "count-retire"


@pytest.fixture
def settings(settings, tmp_path):
    """Messages go to a file."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    return replace(settings, sms=sink, smtp=sink)


@pytest.fixture
def desk(server) -> Desk:
    return Desk(server)


@pytest.fixture
def portal(server):
    url = str(server.client.base_url).rstrip("/")
    yield Portal(url, server.settings, server.clock, server.folder)
    Browser.close_all()


def serials(server, **asked) -> list[str]:
    with opened(server.settings) as parts, parts.database.read() as connection:
        found = card_list.page(connection, 1, CardQuery(**asked), server.clock())
    return [row.serial for row in found.rows]


def all_pages(server, size: int, **asked) -> list[list[str]]:
    pages, after = [], ""
    with opened(server.settings) as parts, parts.database.read() as connection:
        while len(pages) < 20 and (after or not pages):
            asking = CardQuery(after=after, **asked)
            page = card_list.page(connection, 1, asking, server.clock(), size=size)
            pages.append([row.serial for row in page.rows])
            back = CardQuery(before=page.earlier, **asked)
            if len(pages) > 1:
                before = card_list.page(connection, 1, back, server.clock(), size=size)
                assert [row.serial for row in before.rows] == pages[-2]
            after = page.later
    return pages


def test_sorted_by_each(desk):
    server = desk.server
    server.clock.advance(60)
    server.card("A-LAST", user="zoe")
    desk.lend(SPARE, user="bob")
    desk.lend(OTHER, user="bob", until=int(server.clock()) + 7200)
    assert server.verify(desk.code(OWN, 0), user="bob").json()["accepted"]
    order = {one: serials(server, order=one) for one in CardOrder}
    assert order[CardOrder.SERIAL] == ["A-LAST", OWN, SPARE, OTHER]
    assert order[CardOrder.HOLDER][-1] == "A-LAST"
    by_end = {SPARE, OTHER}
    assert set(order[CardOrder.END][:2]) == by_end and set(order[CardOrder.END][2:]).isdisjoint(
        by_end
    )
    ends = [desk.shown(one)["loan_until"] for one in order[CardOrder.END][:2]]
    assert ends == sorted(ends)
    assert order[CardOrder.REGISTERED][-1] == "A-LAST"
    assert order[CardOrder.USED][-1] == OWN
    for one in CardOrder:
        assert serials(server, order=one, down=True) == order[one][::-1]
        for down in (False, True):
            pages = all_pages(server, 3, order=one, down=down)
            assert [len(page) for page in pages] == [3, 1]
            assert list(chain(*pages)) == serials(server, order=one, down=down)


def test_filters(desk):
    server = desk.server
    desk.lend(SPARE)
    desk.call("PUT", f"/cards/{OTHER}/status", {"status": "lost"})
    found = {one: serials(server, filter=one) for one in CardFilter}
    assert found[CardFilter.LENT] == [SPARE] and found[CardFilter.LOST] == [OTHER]
    assert found[CardFilter.ASSIGNED] == [OWN] and found[CardFilter.LOCKED] == []
    assert found[CardFilter.POOL] == found[CardFilter.OVERDUE] == found[CardFilter.RETIRED] == []
    assert found[CardFilter.ALL] == [OWN, SPARE, OTHER]
    for _ in range(12):
        server.verify("000000", user=None, serial=OWN)
    assert serials(server, filter=CardFilter.LOCKED) == [OWN]
    assert serials(server, text="PARE") == [SPARE, OTHER] and serials(server, text="bo") == [
        OWN,
        SPARE,
    ]
    for nothing in ("%", "_", "\\"):
        assert serials(server, text=nothing) == []


def test_the_page_sorts_and_goes_on(desk, portal, monkeypatch):
    boss = portal.staff("boss", "administrator")
    monkeypatch.setattr(card_list.page, "__kwdefaults__", {"size": 2})
    page = boss.get("/cards?sort=serial&down=yes").page.text
    assert page.index(OTHER) < page.index(SPARE) and OWN not in page
    assert "1 to 2 of 3" in page and 'rel="prev"' not in page
    later = re.search(r'rel="next" href="/p/default([^"]+)"', page).group(1).replace("&amp;", "&")
    page = boss.get(later).page.text
    assert "3 to 3 of 3" in page and OWN in page and SPARE not in page and 'rel="next"' not in page
    earlier = re.search(r'rel="prev" href="/p/default([^"]+)"', page).group(1)
    assert "1 to 2 of 3" in boss.get(earlier.replace("&amp;", "&")).page.text
    assert "3 in all" in boss.get("/cards").page.text or "1 to 2" in boss.page.text
    assert boss.get("/cards?sort=mars").page.status_code == 422


def chosen(browser: Browser, *names: str) -> dict[str, str]:
    page = browser.get("/cards").page.text
    found = dict(re.findall(r'name="(p\.\d+)" value="yes" aria-label="Choose ([\w.-]+)"', page))
    assert set(names) <= set(found.values())
    return {field: "yes" for field, name in found.items() if name in names}


def test_many_at_once(desk, portal):
    boss = portal.staff("boss", "administrator")

    def all_are(status: str) -> bool:
        return {desk.shown(one)["status"] for one in (SPARE, OTHER)} == {status}

    boss.post("/cards/lost", **chosen(boss, SPARE, OTHER))
    assert "Lost: 2" in boss.page.text and all_are("lost")
    boss.post("/cards/found", **chosen(boss, SPARE, OTHER))
    assert "Found: 2" in boss.page.text and all_are("registered")
    # Each can be undone by itself.
    boss.get("/cards").post(f"/cards/{SPARE}/undo")
    assert desk.shown(SPARE)["status"] == "lost" and desk.shown(OTHER)["status"] == "registered"
    boss.post("/cards/found", **chosen(boss, SPARE))

    desk.lend(SPARE)
    boss.post("/cards/take-back", **chosen(boss, SPARE, OWN))
    assert "No reason" in boss.problem and desk.shown(SPARE)["user"] == "bob"
    boss.post("/cards/take-back", **chosen(boss, SPARE, OWN), **{REASON: "moved out"})
    assert "Take back: 2" in boss.page.text
    assert desk.shown(SPARE)["user"] is desk.shown(OWN)["user"] is None
    (entry, *_) = desk.call("GET", f"/cards/{OWN}/history").json()["entries"]
    assert entry["actor"] == "boss" and entry["detail"]["without_code"] == "moved out"

    why = {"reason-retire": "of an old batch"}
    for fields in ({}, why, why | {COUNT: "3"}, {COUNT: "2"}, why | {COUNT: "2", "p.0": "yes"}):
        boss.post("/cards/retire", **chosen(boss, SPARE, OTHER), **fields)
        assert boss.page.status_code == 422 and all_are("registered"), fields
    boss.post("/cards/retire", **chosen(boss, SPARE, OTHER), **why, **{COUNT: "2"})
    assert "Retire for good: 2" in boss.page.text and all_are("retired")
    # On all of them, or on none.
    boss.post("/cards/lost", **chosen(boss, OWN, SPARE))
    assert boss.page.status_code == 409 and desk.shown(OWN)["status"] == "registered"
    boss.post("/cards/lost", **chosen(boss, OWN), **{"p.999999": "yes"})
    assert boss.page.status_code == 404 and desk.shown(OWN)["status"] == "registered"
    for wrong, status in (({}, 422), ({"p.x": "yes"}, 422), ({"p.999999": "yes"}, 404)):
        assert boss.get("/cards").post("/cards/lost", **wrong).page.status_code == status
    assert boss.get("/cards").post("/cards/odd", **chosen(boss, OWN)).page.status_code == 404


def test_many_lock_outs_at_once(desk, portal):
    portal.policy(lockout_lifted_by=["support"])
    sue = portal.staff("sue", "support")
    desk.lend(SPARE)
    for one in (OWN, SPARE):
        for _ in range(12):
            desk.server.verify("000000", user=None, serial=one)
    assert serials(desk.server, filter=CardFilter.LOCKED) == [OWN, SPARE]
    sue.post("/cards/unlock", **chosen(sue, OWN, SPARE))
    assert "Lift lock-out: 2" in sue.page.text
    assert serials(desk.server, filter=CardFilter.LOCKED) == []
    page = sue.get("/cards").page.text
    assert "/cards/lost" in page and "/cards/retire" not in page
    fields = {COUNT: "1", "reason-retire": "x"}
    assert sue.post("/cards/retire", **chosen(sue, OWN), **fields).page.status_code == 403


def test_no_more_without_a_code_than_in_a_day_allowed(desk, portal):
    portal.policy(desk_without_code_per_day=1)
    boss = portal.staff("boss", "administrator")
    desk.lend(SPARE)
    boss.post("/cards/take-back", **chosen(boss, SPARE, OWN), **{REASON: "moved out"})
    assert boss.page.status_code == 429 and desk.shown(OWN)["user"] == "bob"
    boss.post("/cards/take-back", **chosen(boss, OWN), **{REASON: "moved out"})
    assert desk.shown(OWN)["user"] is None


def test_cards_of_another_firm_cannot_be_ticked(desk, portal):
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "acme", now=0, actor="test")
        # A card of theirs has the same number.
        table = CardRow.__table__
        ours = dict(connection.execute(select(table).where(table.c.serial == OWN)).one()._mapping)
        theirs = firms.by_name(connection, "acme").id
        mine = {"id": None, "firm_id": theirs, "seed_fingerprint": b"x" * 32}
        connection.execute(insert(table), ours | mine)
    boss = portal.staff("boss", "administrator")
    ours = chosen(boss, OWN)
    portal.person("carl", "administrator", firm="acme")
    carl = Browser(portal.url, "acme").sign_in("carl")
    totp = portal.enrol_totp(carl)
    carl.get("/").post("/sign-out")
    portal.with_app(carl, "carl", totp)
    carl.get("/cards").post("/cards/lost", **ours)
    assert carl.page.status_code == 404 and desk.shown(OWN)["status"] == "registered"
    assert "Lost: 1" not in carl.page.text and "<b>lost</b>" not in carl.get("/cards").page.text
