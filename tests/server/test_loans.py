"""Cards that are lent, taken back, lost, retired; and the working day."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.loans.holding import end_of_day
from tallystick.server.rules.otp import hotp
from tallystick.server.store.database import Database
from tallystick.server.store.housekeeping import sweep
from tallystick.server.store.models import Assignment


def call(server, method: str, path: str, body: object = None):
    headers = {"authorization": f"Bearer {server.admin.token.reveal().decode()}"}
    return server.client.request(method, f"/v1/cards/1000000001{path}", json=body, headers=headers)


def know(server, *logins: str) -> None:
    """People become known with a card of their own."""
    for number, login in enumerate(logins):
        server.card(f"own{number}", user=login)


def test_a_loan_ends_to_the_second_and_leaves_nothing(server):
    know(server, "ann", "bob")
    seed = server.card(user=None)
    until = int(server.clock.now) + 3600
    lent = call(server, "POST", "/loan", {"user": "ann", "until": until})
    assert lent.status_code == 200
    assert (lent.json()["user"], lent.json()["loan_until"]) == ("ann", until)
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    assert call(server, "POST", "/loan", {"user": "bob"}).status_code == 409
    assert server.assign("1000000001", "bob").status_code == 409
    server.clock.advance(3599)
    assert server.reason(hotp(seed, 1, 6)) == "ok"
    server.clock.advance(1)
    assert server.reason(hotp(seed, 2, 6), user=None, serial="1000000001") == "no-card"
    shown = call(server, "GET", "").json()
    assert (shown["user"], shown["loan_until"]) == (None, None)
    # The next holder gets it for good: nothing of the loan's end leaks into it.
    assert server.assign("1000000001", "bob").json()["loan_until"] is None
    server.clock.advance(10 * 86400)
    assert server.reason(hotp(seed, 2, 6), user="bob") == "ok"


def test_a_loan_taken_back_early_does_not_shorten_the_next(server):
    know(server, "ann", "bob")
    server.card(user=None)
    now = int(server.clock.now)
    call(server, "POST", "/loan", {"user": "ann", "until": now + 60})
    assert call(server, "DELETE", "/assignment").json()["user"] is None
    call(server, "POST", "/loan", {"user": "bob", "until": now + 7200})
    assert call(server, "GET", "").json()["loan_until"] == now + 7200


@pytest.mark.parametrize("offset", [0, -1, 168 * 3600 + 1, 2**52])
def test_a_loan_has_a_sensible_end(server, offset):
    know(server, "ann")
    server.card(user=None)
    body = {"user": "ann", "until": int(server.clock.now) + offset}
    answer = call(server, "POST", "/loan", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad-loan")
    assert call(server, "GET", "").json()["user"] is None


def test_loans_are_for_people_who_are_known(server):
    server.card(user=None)
    assert call(server, "POST", "/loan", {"user": "nobody"}).status_code == 404


def test_sweeping_leaves_what_is_overdue(server):
    know(server, "ann")
    seed = server.card(user=None)
    call(server, "POST", "/loan", {"user": "ann", "until": int(server.clock.now) + 60})
    database = Database(server.settings.db_url)
    sweep(database, server.clock())
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    server.clock.advance(60)
    sweep(database, server.clock())
    with database.read() as connection:
        left = connection.scalars(select(Assignment.expires_at)).all()
    database.close()
    assert sorted(map(bool, left)) == [False, True]  # ann's own card, and the loan
    assert server.reason(hotp(seed, 1, 6), user=None, serial="1000000001") == "no-card"
    shown = call(server, "GET", "").json()
    assert (shown["user"], shown["overdue_user"]) == (None, "ann")
    assert shown["overdue_since"] == int(server.clock.now)


def test_lost_found_retired(server):
    seed = server.card()
    assert call(server, "PUT", "/status", {"status": "lost"}).json()["status"] == "lost"
    assert server.reason(hotp(seed, 0, 6)) == "no-card"
    assert server.assign("1000000001", "ann").status_code == 409
    call(server, "PUT", "/status", {"status": "registered"})
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    retired = call(server, "PUT", "/status", {"status": "retired"}).json()
    assert (retired["status"], retired["user"]) == ("retired", None)
    assert call(server, "PUT", "/status", {"status": "registered"}).status_code == 409
    assert server.reason(hotp(seed, 1, 6), user=None, serial="1000000001") == "no-card"


def test_a_lock_out_is_lifted(server, wrong_code):
    seed = server.card()
    for _ in range(10):
        server.verify(wrong_code(seed))
    assert server.verify(hotp(seed, 0, 6)).status_code == 429
    assert call(server, "POST", "/unlock").status_code == 204
    assert server.reason(hotp(seed, 0, 6)) == "ok"


@given(
    moment=st.integers(1_700_000_000, 1_900_000_000),
    zone=st.sampled_from(["UTC", "Europe/Oslo", "America/St_Johns", "Asia/Kathmandu"]),
    hour=st.integers(0, 23),
)
def test_the_day_ends_within_a_day_and_at_the_hour(moment: int, zone: str, hour: int):
    policy = FirmPolicy(time_zone=zone, day_ends=f"{hour:02}:30")
    end = end_of_day(policy, moment)
    assert moment < end <= moment + 25 * 3600
    local = datetime.fromtimestamp(end, ZoneInfo(zone))
    # In the hour that daylight saving skips, the day ends an hour later by the clock on the wall.
    assert local.minute == 30 and (local.hour - hour) % 24 in (0, 1)


def test_staff_see_which_cards_are_overdue(server, request):
    from tests.server.portal_driver import Browser, Portal

    url = str(server.client.base_url).rstrip("/")
    request.addfinalizer(Browser.close_all)
    boss = Portal(url, server.settings, server.clock, server.folder).staff("boss", "administrator")
    know(server, "ann")
    seed = server.card(user=None)
    boss.get("/cards").post("/cards/1000000001/lend", user="ann", code=hotp(seed, 0, 6))
    assert "ann, lent until" in boss.page.text
    server.clock.advance(10 * 3600)
    with Database(server.settings.db_url).write() as connection:  # the session lasts as long
        from sqlalchemy import text

        connection.execute(text("UPDATE session SET seen_at = :now"), {"now": server.clock()})
    # Its second factor was shown long ago: staff show it again before they change anything.
    with Database(server.settings.db_url).write() as connection:
        connection.execute(text("UPDATE session SET proved_at = :now"), {"now": server.clock()})
    boss.get("/cards?q=1000000001")
    assert "<b>overdue</b>: lent to ann until" in boss.page.text
    boss.post("/cards/1000000001/take-back", code=hotp(seed, 1, 6))
    assert "nobody" in boss.page.text and "<b>overdue</b>" not in boss.page.text
