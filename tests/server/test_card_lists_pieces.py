"""Cards as staff looks for them, what became of one, and what a desk did: asked of a stock with a
card in each place."""

from __future__ import annotations

from collections import Counter
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from tallystick.server.loans import card_list, history, statistics
from tallystick.server.loans.card_list import CardFilter, CardOrder, CardQuery
from tallystick.server.loans.history import CardEvent
from tallystick.server.store.audit import Act, record
from tallystick.server.store.models import CardRow
from tests.server.house import stocked
from tests.server.stock import Stock

HOUR_S = 3600


@pytest.fixture
def stock(quick_house):
    return Stock(quick_house)


def write(stock, what, *arguments, **named):
    with stock.house.write() as connection:
        return what(connection, *arguments, **named)


# -- searched, filtered, sorted --------------------------------------------------------------------


@pytest.fixture
def full(stock):
    """A1 in the pool and locked, B2 lent to ann, C3 overdue with bob, D4 assigned to sue, E5 lost,
    F6 retired, G7 of another firm."""
    for serial in ("C3", "D4", "E5", "F6", "G7"):
        stocked(stock.house, serial)
    stock.lend("B2", hours=2)
    stock.lend("C3", "bob", hours=1)
    stock.assign("D4", "sue")
    stock.card("A1", blocked_until=int(stock.now) + HOUR_S + 1, last_used_at=7)
    stock.card("E5", status="lost", blocked_until=int(stock.now) + HOUR_S, last_used_at=9)
    stock.card("F6", status="retired", registered_at=1)
    stock.house.change("sue", full_name="Susan B")
    with stock.house.write() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, name, policy) VALUES (2, 'b', '{}')")
        connection.execute(update(CardRow).where(CardRow.serial == "G7").values(firm_id=2))
    stock.house.clock.now += HOUR_S + 0.5
    return stock


def page(stock, firm_id=1, size=9, **asked):
    with stock.house.write() as connection:
        return card_list.page(connection, firm_id, CardQuery(**asked), stock.now, size=size)


def serials(*arguments, **asked):
    return "".join(row.serial[0] for row in page(*arguments, **asked).rows)


def test_which_cards_are_shown(full):
    assert card_list.PAGE == 50
    assert {where: serials(full, filter=where) for where in CardFilter} == {
        CardFilter.ALL: "ABCDEF", CardFilter.POOL: "A", CardFilter.ASSIGNED: "D",
        CardFilter.LENT: "B", CardFilter.OVERDUE: "C", CardFilter.LOST: "E",
        CardFilter.RETIRED: "F", CardFilter.LOCKED: "A",
    }  # fmt: skip
    assert serials(full, 2) == "G" and serials(full, 3) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [("c3", "C"), ("ANN", "B"), ("bob@x", "C"), ("susan", "D"), ("nobody", ""), ("", "ABCDEF")],
)
def test_what_is_searched(full, text, found):
    assert serials(full, text=text) == found
    assert serials(full, text=text, filter=CardFilter.LOST) == ("E" if not text else "")


def test_how_they_are_sorted(full):
    for order, up in (
        (CardOrder.SERIAL, "ABCDEF"), (CardOrder.HOLDER, "AEFBCD"), (CardOrder.END, "CBADEF"),
        (CardOrder.USED, "BCDFAE"), (CardOrder.REGISTERED, "FABCDE"),
    ):  # fmt: skip
        assert serials(full, order=order) == up
        assert serials(full, order=order, down=True) == up[::-1]


def test_a_page_at_a_time(full):
    first = page(full, size=4)
    second = page(full, size=4, after=first.later)
    assert "".join(row.serial[0] for row in second.rows) == "EF"
    assert serials(full, size=4, before=second.earlier) == "ABCD"


def test_what_a_row_says(full):
    (row,) = page(full, filter=CardFilter.OVERDUE).rows
    assert (row.serial, row.status, row.login, row.last_used_at, row.blocked_until) == (
        "C3", "registered", "bob", None, 0,
    )  # fmt: skip
    assert row.expires_at == int(full.now) and row.id


# -- what became of a card -------------------------------------------------------------------------


def events(stock, what, *arguments):
    return write(stock, what, 1, *arguments)


def test_what_became_of_a_card_newest_first(stock):
    stock.house.clock.now = int(stock.now) + 0.75
    start = int(stock.now)
    stock.lend(facts={"skipped": 2, "secret": "x"})
    stock.house.clock.advance(60)
    stock.take_back()
    stock.assign("B2")
    assert events(stock, history.of_card, "A1")[:2] == [
        CardEvent(start + 60, "boss", "card-taken-back", "A1", {"of": "ann"}),
        CardEvent(start, "boss", "card-lent", "A1",
                  {"to": "ann", "until": start + HOUR_S, "skipped": 2}),
    ]  # fmt: skip
    (first,) = events(stock, history.of_card, "A1")[2:]
    assert (first.act, first.actor, first.detail) == ("card-registered", "A1", {})
    assert write(stock, history.of_card, 2, "A1") == []


def test_what_somebody_had(stock):
    stock.lend()
    stock.take_back()
    stock.assign("B2", "bob")
    found = events(stock, history.of_person, "ann")
    assert [(one.act, one.card) for one in found] == [
        ("card-taken-back", "A1"), ("card-lent", "A1"),
    ]  # fmt: skip
    assert [one.card for one in events(stock, history.of_person, "bob")] == ["B2"]


def test_only_what_is_about_cards(stock):
    ring = stock.house.state.ring
    act = Act(1, 1, "x", "person-added", "A1", {"to": "ann"})
    write(stock, record, ring, [act])
    assert "person-added" not in {one.act for one in events(stock, history.of_card, "A1")}
    assert events(stock, history.of_person, "ann") == []


def test_so_many_and_no_more(stock, monkeypatch):
    assert history.LIMIT == 500
    monkeypatch.setattr(history, "LIMIT", 2)
    stock.lend()
    stock.take_back()
    assert [one.act for one in events(stock, history.of_card, "A1")] == [
        "card-taken-back", "card-lent",
    ]  # fmt: skip


def test_who_did_it_is_named_where_it_is_known(stock):
    ann = stock.house.known()
    with stock.house.write() as connection:
        query = "SELECT id FROM credential WHERE name = 'A1'"
        station = connection.exec_driver_sql(query).scalar()
    actors = [station, "c-gone", f"person:{ann.id}", "person:999"]
    assert write(stock, history.names, 1, iter(actors)) == {
        station: "A1",
        f"person:{ann.id}": "ann",
    }
    assert write(stock, history.names, 2, actors) == {}
    write(stock, record, stock.house.state.ring, [Act(1, 1, "c-gone", "card-x", "A1")])
    assert events(stock, history.of_card, "A1")[-1].actor == "c-gone"


# -- what a desk did -------------------------------------------------------------------------------


def of_desk(stock, days=2, zone="UTC", now=None):
    return write(
        stock, statistics.of_desk, 1, ZoneInfo(zone), days=days, now=now or stock.now
    )  # fmt: skip


def did(stock, *acts):
    """acts: (seconds from now on, action, subject, facts)"""
    written = [
        Act(int((stock.now + at) * 1000), 1, "sue", action, subject, facts)
        for at, action, subject, facts in acts
    ]
    write(stock, record, stock.house.state.ring, written)


@pytest.fixture
def counter(stock):
    """At midnight of the second of two days, where nothing was done."""
    stock.house.clock.now = (int(stock.now) // 86400 + 3) * 86400.0
    return stock


def test_what_was_done_is_counted_by_day(counter):
    did(
        counter,
        (-86401, "card-lent", "Z9", {}),  # before
        (-86400, "card-lent", "A1", {}),
        (-1, "card-returned", "A1", {"overdue_s": 5}),
        (0, "card-lost", "A1", {"without_code": "x"}),
        (1, "card-resynchronised", "B2", {"skipped": 9}),
        (2, "card-code-refused", "B2", None),
        (3, "card-undone", "B2", {"skipped": 4}),
        (4, "card-deleted", "B2", None),  # is not counted
    )
    made = of_desk(counter)
    counts = list(made.days.values())
    assert list(made.days) == sorted(made.days) and len(counts) == 2
    assert counts == [
        Counter(lent=1, returned=1),
        Counter({"lost": 1, "resynchronised": 1, "codes refused": 1, "undone": 1}),
    ]
    assert made.totals == counts[0] + counts[1] and made.by_actor == Counter(sue=6)
    assert (made.late, made.without_code, made.found_again, made.presses) == (1, 1, 2, 9)
    assert made.loan_s == 86399


def test_a_day_is_one_of_the_firms_calendar(counter):
    did(counter, (-1, "card-lost", "A1", {}), (-9 * HOUR_S, "card-lost", "A1", {}),
        (-9 * HOUR_S - 1, "card-lost", "A1", {}))  # fmt: skip
    made = of_desk(counter, zone="Asia/Tokyo")
    assert [day["lost"] for day in made.days.values()] == [1, 2]
    assert of_desk(counter, days=1, zone="Asia/Tokyo").totals["lost"] == 2


def test_how_long_half_of_the_loans_were(counter):
    assert of_desk(counter).loan_s is None
    did(
        counter,
        (0, "card-lent", "A1", {}), (10, "card-returned", "A1", {"overdue_s": 0}),
        (20, "card-returned", "A1", {}),  # it was not lent
        (30, "card-lent", "A1", {}),
        (30, "card-lost", "A1", {"overdue_s": 1}), (31, "card-returned", "A1", {}),
        (40, "card-lent", "A1", {}), (45, "card-lent", "A1", {}), (140, "card-returned", "A1", {}),
        (50, "card-lent", "B2", {}),  # is out yet
    )  # fmt: skip
    made = of_desk(counter)
    assert (made.loan_s, made.late, made.found_again) == (10, 0, 0)


def test_days_on_which_nothing_was_done_are_there_too(counter):
    made = of_desk(counter, days=7)
    assert len(made.days) == 7 and set(made.totals) == {"registered"} and made.presses == 0
