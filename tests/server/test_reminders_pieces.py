"""Who is reminded of the end of a loan, and when; and who hears that the pool is short."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tallystick.common.errors import BadInputError
from tallystick.server.loans import reminders
from tallystick.server.loans.reminders import Reminder
from tests.server.stock import Stock

HOUR_S = 3600


@pytest.fixture
def stock(quick_house):
    """Whoever borrows a card is reminded an hour before its end."""
    made = Stock(quick_house)
    made.house.clock.now = int(made.now) + 0.5
    return made


@pytest.fixture
def remind(stock, posted):
    """→ at this many seconds from now: what was sent, of how many it was said"""
    begin = stock.now

    def made(at):
        stock.house.clock.now = begin + at
        posted.clear()
        told = reminders.remind(stock.house.state.database, stock.house.state.ring, stock.now)
        return [(one["letter"].to, one["letter"].text.splitlines()[0]) for one in posted], told

    return made


def test_whoever_has_a_card_is_told_before_its_end_and_at_it(stock, remind):
    stock.lend(hours=3)
    second = -0.5  # begins then
    assert remind(2 * HOUR_S + second - 0.1) == ([], 0)
    ((to, soon),), told = remind(2 * HOUR_S + second)
    assert (to, told) == ("ann@x.org", 1) and "A1" in soon and "was over" not in soon
    assert remind(2 * HOUR_S) == remind(3 * HOUR_S + second - 0.1) == ([], 0)  # once
    ((to, over),), told = remind(3 * HOUR_S + second)
    assert (to, told) == ("ann@x.org", 1) and over.startswith("The loan of card A1 was over")
    assert remind(3 * HOUR_S + 1) == ([], 0)


@pytest.mark.parametrize(("hours", "told"), [(1, 0), (1 + 1 / 3600, 1)])
def test_whoever_was_just_told_the_end_is_not_told_again_at_once(stock, remind, hours, told):
    """The loan is no longer than the time before its end."""
    stock.lend(hours=hours)
    assert remind(HOUR_S - 1)[1] == told
    if not told:
        assert remind(HOUR_S - 0.5)[1] == 1  # at its end


def test_a_firm_says_how_long_before(stock, remind):
    stock.house.policy(loan_reminder_minutes=120)
    stock.lend(hours=3)
    assert remind(HOUR_S - 1)[1] == 0 and remind(HOUR_S)[1] == 1


def test_a_week_before_is_the_longest(stock, remind):
    stock.house.policy(loan_reminder_minutes=10_080, loan_max_hours=744)
    stock.lend(hours=24 * 8)
    assert remind(24 * HOUR_S - 1)[1] == 0 and remind(24 * HOUR_S)[1] == 1


def test_what_was_over_a_week_ago_is_no_news(stock, remind):
    stock.lend(hours=1)
    stock.lend("B2", "bob", hours=1)
    with stock.house.write() as connection:
        connection.exec_driver_sql(
            "UPDATE assignment SET expires_at = expires_at + 1"
            " WHERE card_id = (SELECT id FROM card WHERE serial = 'B2')"
        )
    week = 7 * 86400
    sent, told = remind(HOUR_S + week)
    assert ([to for to, _ in sent], told) == (["bob@x.org"], 1)


@pytest.mark.parametrize("status", ["lost", "retired"])
def test_nobody_is_reminded_of_a_card_that_is_lost(stock, remind, status):
    stock.lend(hours=1)
    stock.card(status=status)
    assert remind(HOUR_S) == ([], 0)
    stock.card(status="registered")
    assert remind(HOUR_S)[1] == 1


def test_nor_of_one_that_is_his_for_good(stock, remind):
    stock.assign()
    assert remind(HOUR_S) == ([], 0)


@pytest.mark.parametrize("change", ["back", "longer", "another"])
def test_nor_of_a_loan_that_is_another_meanwhile(stock, posted, change):
    """Between looking and telling, it came back, or was lent anew."""
    stock.lend(hours=1)
    stock.lend("B2", "bob", hours=2)
    stock.house.clock.advance(HOUR_S)
    now = stock.now
    with stock.house.write() as connection:
        row, other = sorted(reminders._loans(connection, now), key=lambda one: one.serial)
    if change == "back":
        stock.take_back()
    else:
        stock.lend(hours=5, login="ann" if change == "longer" else "bob")
    posted.clear()

    def tell(row):
        with stock.house.write() as connection:
            return reminders._tell(connection, ring=stock.house.state.ring, row=row, now=now)

    assert tell(row) == 0 and not posted
    assert tell(other) == 1 and posted


def test_each_loan_by_itself(stock, remind):
    stock.lend(hours=1)
    assert remind(HOUR_S)[1] == 1
    stock.lend(hours=2)
    assert remind(3 * HOUR_S + 1)[1] == 1  # the next of the same card
    stock.lend(hours=2, login="bob")
    stock.lend("B2", hours=2, login="bob")
    sent, told = remind(6 * HOUR_S)
    assert ([to for to, _ in sent], told) == (["bob@x.org"] * 2, 2)


def test_it_is_remembered_for_longer_than_anything_is_told(stock, remind):
    stock.lend(hours=1)
    remind(HOUR_S)
    with stock.house.write() as connection:
        rows = connection.exec_driver_sql("SELECT ends_at FROM rate WHERE bucket LIKE 'loan-%'")
        (ends,) = rows.scalars().all()
    assert ends == int(stock.now) + 60 * 86400 > int(stock.now) + reminders.OLD_S


# -- the pool --------------------------------------------------------------------------------------


def test_a_short_pool_is_told_of_once_a_day(stock, remind):
    """There are two cards in it."""
    midnight = 86400 - stock.now % 86400
    assert remind(0)[1] == 0
    stock.house.policy(desk_pool_minimum=3)
    assert remind(0)[1] == 0  # nobody wants to know
    stock.house.policy(desk_pool_minimum=2, desk_pool_notice_to="it@x.org")
    assert remind(0)[1] == 0
    stock.house.policy(desk_pool_minimum=3)
    ((to, text),), told = remind(0)
    assert (to, told) == ("it@x.org", 1) and "2 cards left; 3 should be there" in text
    assert remind(1) == ([], 0)
    assert remind(midnight - 0.5)[1] == 0 and remind(midnight)[1] == 1


def test_a_day_is_one_of_the_firms_calendar(stock, remind):
    stock.house.policy(desk_pool_minimum=3, desk_pool_notice_to="it@x.org", time_zone="Asia/Tokyo")
    assert remind(0)[1] == 1
    midnight = 86400 - (stock.now + 9 * HOUR_S) % 86400
    assert remind(midnight - 1)[1] == 0 and remind(midnight)[1] == 1


def test_it_is_remembered_for_two_days(stock, remind):
    stock.house.policy(desk_pool_minimum=3, desk_pool_notice_to="it@x.org")
    remind(0)
    with stock.house.write() as connection:
        rows = connection.exec_driver_sql(
            "SELECT bucket, ends_at FROM rate WHERE bucket LIKE 'po%'"
        )
        ((bucket, ends),) = rows.all()
    assert bucket == "pool-short|1|2027-01-15" and ends == int(stock.now) + 2 * 86400


# -- now and then ----------------------------------------------------------------------------------


def reminder(stock, told, *, background=False):
    return Reminder(
        stock.house.state.database, stock.house.state.ring, stock.house.clock,
        lambda: told.append(1), background=background,
    )  # fmt: skip


def test_whoever_sends_is_woken_when_there_is_something(stock):
    told = []
    looks = reminder(stock, told)
    looks.remind_now()
    assert told == []
    stock.lend(hours=1)
    stock.house.clock.advance(HOUR_S)
    looks.remind_now()
    looks.remind_now()
    assert told == [1]
    looks.close()


@pytest.mark.parametrize(
    "error", [OperationalError(None, None, Exception("with a secret")), BadInputError("x")]
)
def test_what_fails_is_told_and_comes_again(stock, monkeypatch, caplog, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(reminders, "remind", fail)
    told = []
    reminder(stock, told).remind_now()
    assert told == [] and caplog.messages == [f"nobody was reminded: {type(error).__name__}"]


@pytest.mark.parametrize("background", [None, True, False])
def test_it_looks_every_minute(stock, monkeypatch, background):
    """By itself, unless somebody else asks it to."""
    made, closed = [], []

    class Thread:
        def __init__(self, name, work, every_s, *, background):
            made.append((name, work, every_s, background))

        def close(self):
            closed.append(1)

    monkeypatch.setattr(reminders, "PeriodicThread", Thread)
    state = stock.house.state
    more = {} if background is None else {"background": background}
    looks = Reminder(state.database, state.ring, stock.house.clock, lambda: None, **more)
    assert made == [("reminder", looks.remind_now, 60.0, background is not False)]
    looks.close()
    assert closed == [1]
