"""Undoing at the desk: for two minutes, by whoever did it, where nothing has left the house."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tallystick.server.loans.undo import UNDO_S
from tallystick.server.messages import outbox
from tallystick.server.store.database import is_away
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser
from tests.server.test_desk import OTHER, OWN, SPARE, Desk, refused
from tests.server.test_desk_week import address, boss, desk, portal, settings

__all__ = ["boss", "desk", "portal", "settings"]  # fixtures of theirs


def place(desk: Desk, serial: str) -> tuple[object, ...]:
    card = desk.shown(serial)
    return tuple(card[name] for name in ("status", "user", "loan_until", "overdue_user"))


ACTS = {
    "loan": (SPARE, lambda desk: desk.lend()),
    "assignment": (
        SPARE, lambda desk: desk.post(SPARE, "assignment", user="bob", codes=[desk.code(SPARE, 0)])
    ),
    "retirement": (OTHER, lambda desk: desk.post(OTHER, "retirement", reason="broken")),
    "lost": (OWN, lambda desk: desk.call("PUT", f"/cards/{OWN}/status", {"status": "lost"})),
    "replacement": (
        OWN, lambda desk: desk.post(OWN, "replacement", by=OTHER, codes=[desk.code(OTHER, 0)])
    ),
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_undone_and_nobody_was_told(desk, portal, act):
    address(desk, "bob", "bob@example.com")
    serial, work = ACTS[act]
    before = {one: place(desk, one) for one in (OWN, SPARE, OTHER)}
    done = work(desk)
    assert done.status_code == 200, done.text
    assert done.json()["undo_until"] == int(desk.server.clock.now) + UNDO_S
    assert {one: place(desk, one) for one in before} != before
    desk.server.clock.advance(UNDO_S - 1)
    assert desk.post(serial, "undo").status_code == 200
    assert {one: place(desk, one) for one in before} == before
    refused(desk.post(serial, "undo"), "nothing-to-undo")
    (entry, *_) = desk.call("GET", f"/cards/{serial}/history").json()["entries"]
    assert entry["act"] == "card-undone" and entry["detail"]["undone"]
    desk.server.clock.advance(UNDO_S)
    assert not (desk.server.folder / "sent.jsonl").exists()
    desk.lend(factor=5)
    desk.server.clock.advance(UNDO_S)
    (mail,) = portal.messages(1)  # of this loan alone
    assert "is lent to you until" in mail["subject"]


def test_a_return_is_undone_also_one_that_was_late(desk):
    clock = desk.server.clock
    desk.lend(until=int(clock.now) + 600)
    clock.advance(1200)
    before = place(desk, SPARE)
    assert before[3] == "bob"
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)]).status_code == 200
    assert desk.post(SPARE, "undo").status_code == 200
    assert place(desk, SPARE) == before
    error = refused(desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)]), "replayed-code")
    assert "used before" in error["what"]  # a code that was used stays so


def test_not_after_two_minutes(desk):
    desk.lend()
    desk.server.clock.advance(UNDO_S)
    error = refused(desk.post(SPARE, "undo"), "nothing-to-undo")
    assert "more than two minutes" in error["what"]
    assert place(desk, SPARE)[1] == "bob"


def test_not_by_somebody_else_not_even_an_administrator(desk):
    desk.lend()
    answer = desk.call("POST", f"/cards/{SPARE}/undo", None, desk.server.admin)
    assert "somebody else" in refused(answer, "nothing-to-undo")["what"]


def test_nothing_goes_back_to_someone_with_more_rights_by_now(desk):
    """As it could not be lent to him: whoever hands a card over could use it herself."""
    desk.lend()
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)]).status_code == 200
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        connection.execute(text("UPDATE person SET role = 'administrator' WHERE login = 'bob'"))
    refused(desk.post(SPARE, "undo"), "needs-more-rights", 403)
    assert desk.shown(SPARE)["user"] is None


def test_not_once_the_card_was_used_or_done_with_again(desk):
    desk.lend()
    assert desk.server.reason(desk.code(SPARE, 1), user="bob") == "ok"
    assert "was used since" in refused(desk.post(SPARE, "undo"), "nothing-to-undo")["what"]
    desk.call("PUT", f"/cards/{OWN}/status", {"status": "lost"})
    desk.call("PUT", f"/cards/{OWN}/status", {"status": "registered"}, desk.server.admin)
    assert "somebody else" in refused(desk.post(OWN, "undo"), "nothing-to-undo")["what"]


def test_only_the_last_act(desk):
    desk.lend()
    desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)])
    assert desk.post(SPARE, "undo").status_code == 200
    assert place(desk, SPARE)[1] == "bob"
    refused(desk.post(SPARE, "undo"), "nothing-to-undo")


def test_not_of_a_card_that_is_being_wiped(desk):
    gone = desk.post(OTHER, "retirement", reason="old", wiped=True)
    assert gone.json()["undo_until"] is None
    refused(desk.post(OTHER, "undo"), "nothing-to-undo")
    desk.post(SPARE, "retirement", reason="old")
    assert desk.post(SPARE, "retirement", reason="old", wiped=True).status_code == 200
    refused(desk.post(SPARE, "undo"), "nothing-to-undo")


def test_a_refused_act_is_nothing_to_undo(desk):
    desk.lend()
    refused(desk.post(SPARE, "return", codes=["000000"]), "wrong-code")
    assert desk.post(SPARE, "undo").status_code in (200, 409)
    refused(desk.post("nobodys", "undo"), "no-such-card", 404)


def test_statistics_count_days_of_the_firm(desk, portal):
    portal.policy(time_zone="Pacific/Auckland")
    desk.lend()
    desk.post(SPARE, "return", codes=[desk.code(SPARE, 40), desk.code(SPARE, 41)])
    desk.post(OTHER, "retirement", reason="flat")
    desk.server.clock.advance(86400)
    made = desk.call("GET", "/desk/statistics?days=3").json()
    assert len(made["days"]) == 3
    assert (made["totals"]["lent"], made["totals"]["returned"], made["presses"]) == (1, 1, 39)
    assert (made["without_code"], made["found_again"], made["late"]) == (1, 1, 0)
    assert made["by_actor"]["ann at the desk"] == 3
    yesterday = list(made["days"])[1]
    assert made["days"][yesterday]["lent"] == 1


def test_a_day_of_the_statistics_is_one_of_the_firm(desk, portal):
    """Late in UTC's day it is tomorrow in Auckland."""
    portal.policy(time_zone="Pacific/Auckland")
    clock = desk.server.clock
    clock.advance((20 * 3600 - clock.now) % 86400)
    desk.lend()
    made = desk.call("GET", "/desk/statistics?days=1").json()
    (day,) = made["days"]
    assert made["days"][day]["lent"] == 1
    assert day == datetime.fromtimestamp(clock.now, ZoneInfo("Pacific/Auckland")).date().isoformat()


def test_what_came_back_late_is_counted_and_by_how_much(desk):
    now = int(desk.server.clock.now)
    desk.lend(until=now + 3600)
    desk.server.clock.advance(3600 + 90 * 60)
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)]).status_code == 200
    desk.lend(factor=2, until=int(desk.server.clock.now) + 3600)
    desk.server.clock.advance(1800)
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 3)]).status_code == 200
    entries = desk.call("GET", f"/cards/{SPARE}/history").json()["entries"]
    returned = [one["detail"] for one in entries if one["act"] == "card-returned"]
    assert [(one["of"], one["overdue_s"]) for one in returned] == [("bob", 0), ("bob", 90 * 60)]
    made = desk.call("GET", "/desk/statistics").json()
    assert (made["late"], made["loan_s"]) == (1, (9000 + 1800) // 2)


# ---- in the portal


def undo_of(boss: Browser, serial: str) -> bool:
    return f"/cards/{serial}/undo" in boss.page.text


def test_the_portal_undoes_as_the_desk_does(desk, portal, boss):
    address(desk, "bob", "bob@example.com")
    before = place(desk, SPARE)
    boss.get("/cards").post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0))
    assert undo_of(boss, SPARE) and "Undo: loan" in boss.page.text
    boss.get("/cards")
    assert undo_of(boss, SPARE) and not undo_of(boss, OTHER)
    boss.post(f"/cards/{SPARE}/undo")
    assert "as it was before" in boss.page.text and place(desk, SPARE) == before
    assert not undo_of(boss, SPARE)
    boss.post(f"/cards/{SPARE}/undo")
    assert boss.page.status_code == 409 and "nothing to undo" in boss.page.text


@pytest.mark.parametrize("act", ["assign", "take-back", "retire", "lost"])
def test_each_act_of_the_portal_is_undone(desk, boss, act):
    serial = OWN if act in ("take-back", "lost") else SPARE
    before = place(desk, serial)
    form = {
        "assign": {"user": "bob", "code": desk.code(SPARE, 0)}, "take-back": {"reason": "flat"},
        "retire": {"confirm": SPARE, "reason": "broken"}, "lost": {},
    }[act]  # fmt: skip
    boss.get("/cards").post(f"/cards/{serial}/{act}", **form)
    assert place(desk, serial) != before and undo_of(boss, serial), boss.page.text
    boss.post(f"/cards/{serial}/undo")
    assert place(desk, serial) == before


def test_undo_in_the_portal_is_for_two_minutes_and_for_who_did_it(desk, portal, boss):
    boss.get("/cards").post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0))
    other = portal.staff("other", "administrator").get("/cards")  # half a minute and more
    assert not undo_of(other, SPARE)
    other.post(f"/cards/{SPARE}/undo")
    assert other.page.status_code == 409 and "somebody else" in other.page.text
    assert desk.call("POST", f"/cards/{SPARE}/undo", None, desk.server.admin).status_code == 409
    boss.get("/cards")
    assert undo_of(boss, SPARE)
    desk.server.clock.advance(UNDO_S)
    boss.get("/cards")
    assert not undo_of(boss, SPARE)
    boss.post(f"/cards/{SPARE}/undo")
    assert boss.page.status_code == 409 and desk.shown(SPARE)["user"] == "bob"


def test_an_auditor_undoes_nothing(desk, portal, boss):
    boss.get("/cards").post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0))
    auditor = portal.staff("paul", "auditor").get("/cards")
    auditor.post(f"/cards/{SPARE}/undo")
    assert auditor.page.status_code == 403 and desk.shown(SPARE)["user"] == "bob"


def test_a_database_that_is_lost_within_an_act_is_told_as_that(house):
    """A firm's week: day 10, 17:41: the connection is lost at a statement; 18:00: a card is
    reported lost, and the desk's page was a traceback."""
    with (
        pytest.raises(DBAPIError) as caught,
        house.write() as connection,
        outbox.held_back(connection, UNDO_S),
    ):
        connection.connection.dbapi_connection.close()
        connection.execute(text("SELECT 1"))
    assert is_away(caught.value)
    with house.write() as connection, outbox.held_back(connection, UNDO_S) as held:
        assert held == [] and connection.scalar(text("SELECT 1")) == 1
