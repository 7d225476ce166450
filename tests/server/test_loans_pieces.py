"""Who holds a card: assigned, lent, taken back, lost and found, unlocked, claimed; what is refused,
what is kept, and who hears of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.errors import ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.rules.judge import Generator, Reason, Verdict
from tallystick.server.rules.otp import hotp
from tallystick.server.store.audit import AuditEntry
from tests.server.house import refused, seed_of, stocked
from tests.server.stock import Stock


@pytest.fixture
def stock(quick_house):
    return Stock(quick_house)


def letters(posted, since=0):
    """(to whom, text) of the messages since then"""
    return [(one["letter"].to, one["letter"].text) for one in posted[since:]]


# -- for good --------------------------------------------------------------------------------------


def test_a_card_is_assigned_once(stock, posted):
    answer = stock.assign(facts={"skipped": 2})
    assert (answer["user"], answer["loan_until"]) == ("ann", None)
    held, boss = stock.held(), stock.caller()
    assert (held.person_id, held.expires_at, held.confirmed_at) == (
        stock.house.known().id, None, None,
    )  # fmt: skip
    assert (held.assigned_at, held.assigned_by) == (int(stock.now), boss.id)
    assert stock.told() == [("card-assigned", "A1", {"to": "ann", "skipped": 2})]
    ((to, text),) = letters(posted)
    assert to == "ann@x.org" and "The card A1 was assigned to you." in text
    assert stock.house.known().enrolled
    stock.house.clock.advance(60)
    assert stock.assign(login="ANN")["user"] == "ann"
    assert stock.held() == held and len(posted) == 1
    assert stock.told() == [("card-assigned", "A1", {"to": "ann", "skipped": 2})]


def test_when_and_by_whom_it_was_is_in_the_log(stock):
    stock.house.clock.now = 1_800_000_000.25
    stock.assign()
    with stock.house.write() as connection:
        row = connection.execute(
            select(AuditEntry.at_ms, AuditEntry.firm_id, AuditEntry.actor)
            .where(AuditEntry.action == "card-assigned")
        ).one()  # fmt: skip
    assert tuple(row) == (1_800_000_000_250, 1, stock.caller().id)


def test_somebody_new_is_made_known_when_asked(stock):
    with pytest.raises(ApiError) as caught:
        stock.assign(login="zoe")
    assert caught.value.status == 404
    assert stock.assign(login="zoe", new_user=True)["user"] == "zoe"
    assert stock.told(2) == [
        ("person-added", "zoe", {"role": "user"}), ("card-assigned", "A1", {"to": "zoe"}),
    ]  # fmt: skip
    stock.assign("B2", login="ann", new_user=True)
    assert [one[0] for one in stock.told(2)] == ["card-assigned", "card-assigned"]


@pytest.mark.parametrize(
    ("values", "code"),
    [({"status": "lost"}, "card-lost"), ({"status": "retired"}, "card-retired"),
     ({"valid_until": 1}, "card-expired")],
)  # fmt: skip
@pytest.mark.parametrize("new", [False, True])
def test_no_card_that_is_good_for_nothing_is_handed_over(stock, values, code, new):
    """And nobody is made known for it."""
    stock.card(**values)
    with refused(code) as caught, stock.house.write():
        stock.assign(login="zoe" if new else "ann", new_user=new)
    assert caught.value.status == 409
    with refused(code):
        stock.lend()
    assert stock.held() is None and stock.told()[0][0] != "person-added"


def test_a_key_expires_at_its_second(stock):
    stock.card(valid_until=int(stock.now) + 1)
    stock.assign()
    stock.card("B2", valid_until=int(stock.now))
    with refused("card-expired"):
        stock.assign("B2")


@pytest.mark.parametrize("how", ["assign", "lend"])
def test_nobody_hands_a_card_to_someone_with_more_rights(stock, how):
    with pytest.raises(ApiError) as caught:
        getattr(stock, how)(login="boss", by="sue")
    assert caught.value.status == 403 and stock.held() is None
    assert getattr(stock, how)(login="sue", by="sue")["user"] == "sue"


def test_what_somebody_holds_is_not_handed_over(stock):
    stock.assign()
    for again in (lambda: stock.assign(login="bob"), stock.lend, lambda: stock.lend(login="bob")):
        with refused("already-assigned") as caught:
            again()
        assert caught.value.status == 409
    stock.lend("B2")
    for again in (lambda: stock.assign("B2"), lambda: stock.lend("B2")):
        with refused("already-assigned"):
            again()
    stock.house.clock.advance(3600)  # its loan is over: it is here again
    assert stock.assign("B2", "bob")["user"] == "bob"
    assert stock.held("B2").expires_at is None


def test_only_staff_of_the_firm_find_a_card(stock):
    with pytest.raises(ApiError) as caught:
        stock.assign("Z9")
    assert caught.value.status == 404


# -- for a while -----------------------------------------------------------------------------------


def test_a_card_is_lent(stock, posted):
    answer = stock.lend(facts={"skipped": 2})
    end = int(stock.now) + 3600
    assert (answer["user"], answer["loan_until"]) == ("ann", end)
    assert (stock.held().expires_at, stock.held().confirmed_at) == (end, None)
    assert stock.told() == [("card-lent", "A1", {"to": "ann", "until": end, "skipped": 2})]
    ((to, text),) = letters(posted)
    assert to == "ann@x.org" and "The card A1 was lent to you, until" in text


def test_without_an_end_it_is_for_the_day(stock):
    stock.house.policy(day_ends="20:00", time_zone="Europe/Oslo")
    end = stock.lend(hours=None)["loan_until"]
    assert end == holding.end_of_day(stock.house.firm.policy, stock.now) > stock.now


def test_somebody_disabled_borrows_nothing(stock):
    stock.house.change(disabled_at=1)
    with refused("user-disabled") as caught:
        stock.lend()
    assert caught.value.status == 409 and stock.held() is None


POLICY = FirmPolicy(loan_max_hours=31)
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("until", "says"),
    [
        (NOW - 1, "over already"),
        (NOW, "over already"),
        (NOW + 1, ""),
        (NOW + 31 * 3600, ""),
        (NOW + 31 * 3600 + 1, "further off"),
        (10**15, "further off"),
    ],
)
@pytest.mark.parametrize("fraction", [0, 0.5])
def test_how_long_a_loan_may_last(until, says, fraction):
    if not says:
        assert holding.loan_end(POLICY, NOW + fraction, until) == until
        return
    with refused("bad-loan") as caught:
        holding.loan_end(POLICY, NOW + fraction, until)
    said = caught.value
    assert said.status == 422 and says in said.what
    assert "31 h at most" in said.todo and "15:00" in said.todo  # NOW is 8 o'clock


def test_an_end_that_no_calendar_has_is_said_as_the_last_year():
    with refused("bad-loan") as caught:
        holding.loan_end(POLICY, NOW, 10**15)
    assert "9998" in caught.value.what or "9999" in caught.value.what


@pytest.mark.parametrize(
    ("at", "end"),
    [
        ("2027-01-04 08:00", "2027-01-04 18:00"),
        ("2027-01-04 17:29:59", "2027-01-04 18:00"),
        ("2027-01-04 17:30", "2027-01-05 18:00"),
        ("2027-01-04 18:00", "2027-01-05 18:00"),
        ("2027-01-04 23:30", "2027-01-05 18:00"),
        ("2027-12-31 18:00", "2028-01-01 18:00"),
    ],
)
@pytest.mark.parametrize(("zone", "ahead_h"), [("UTC", 0), ("Asia/Tokyo", 9)])
def test_the_end_of_the_working_day(at, end, zone, ahead_h):
    """Half an hour before it, the next day's is meant (docs/guides/station.md)."""
    at_s, end_s = (
        int(datetime.fromisoformat(one).replace(tzinfo=UTC).timestamp()) - ahead_h * 3600
        for one in (at, end)
    )
    assert holding.end_of_day(FirmPolicy(time_zone=zone), at_s) == end_s


# -- back ------------------------------------------------------------------------------------------


def test_a_card_is_taken_back(stock, posted):
    stock.assign()
    before = len(posted)
    answer = stock.take_back(facts={"skipped": 2})
    assert answer["user"] is None and stock.held() is None
    assert stock.told() == [("card-taken-back", "A1", {"of": "ann", "skipped": 2})]
    ((to, text),) = letters(posted, before)
    assert to == "ann@x.org" and "card A1 was taken back" in text
    stock.take_back()
    assert stock.told()[0][2] == {"of": "ann", "skipped": 2} and len(posted) == before + 1


def test_so_is_one_that_is_overdue_and_no_other(stock, posted):
    stock.lend()
    stock.assign("B2", "bob")
    stock.house.clock.advance(3600)
    before = len(posted)
    stock.take_back()
    assert stock.held() is None and stock.held("B2") is not None
    assert stock.told() == [("card-taken-back", "A1", {"of": "ann"})]
    assert len(posted) == before  # nobody had it


def test_its_owner_gives_it_up(stock, posted):
    ann = stock.house.known().id
    bob = stock.house.known("bob").id
    for person in (ann, bob):
        with refused("no-such-method") as caught:  # nobody's
            stock.take_back(from_person=person)
        assert caught.value.status == 404
    stock.assign()
    before = len(posted)
    with refused("no-such-method"):
        stock.take_back(from_person=bob)
    assert stock.held() is not None
    stock.take_back(from_person=ann)
    assert stock.held() is None and len(posted) == before  # who did it knows


def test_what_is_lent_comes_back_at_the_desk(stock):
    ann = stock.house.known().id
    stock.lend()
    with refused("card-lent") as caught:
        stock.take_back(from_person=ann)
    assert caught.value.status == 409 and stock.held() is not None
    with refused("no-such-method"):  # nobody hears what others have
        stock.take_back(from_person=stock.house.known("bob").id)
    stock.house.clock.advance(3600)
    with refused("no-such-method"):
        stock.take_back(from_person=ann)


# -- lost, found, retired --------------------------------------------------------------------------


def test_a_card_is_lost_found_and_retired(stock, posted):
    stock.assign()
    for status, word, said in (
        (CardStatus.LOST, "lost", "card A1 was reported lost"),
        (CardStatus.REGISTERED, "found", "card A1 was reported found"),
        (CardStatus.RETIRED, "retired", "card A1 was retired"),
    ):
        before = len(posted)
        assert stock.status(status, facts={"skipped": 2})["status"] == status
        entry = (f"card-{word}", "A1", {"of": "ann", "skipped": 2})
        assert stock.told() == [entry] and stock.row("B2").status == "registered"
        ((to, text),) = letters(posted, before)
        assert to == "ann@x.org" and said in text
        assert (stock.held() is None) == (status is CardStatus.RETIRED)
        stock.status(status)  # once more: no change
        assert stock.told() == [entry] and len(posted) == before + 1
    for status in (CardStatus.LOST, CardStatus.REGISTERED):
        with refused("card-retired") as caught:
            stock.status(status)
        assert caught.value.status == 409
    assert stock.row().status == "retired"


def test_nobody_is_told_of_a_card_that_nobody_has(stock, posted):
    stock.status(CardStatus.LOST)
    assert stock.told() == [("card-lost", "A1", {})] and not posted
    stock.lend("B2")
    stock.house.clock.advance(3600)
    before = len(posted)
    stock.status(CardStatus.LOST, "B2")
    assert stock.told() == [("card-lost", "B2", {"of": "ann"})] and len(posted) == before


def test_retiring_takes_no_other_card_back(stock):
    stock.assign()
    stock.assign("B2", "bob")
    stock.status(CardStatus.RETIRED)
    assert stock.held() is None and stock.held("B2") is not None
    assert stock.status(CardStatus.LOST, "B2") and stock.held("B2") is not None


def test_what_was_found_recovers_nothing_before_it_is_shown_again(stock):
    ann = stock.house.known().id
    for serial in ("A1", "B2"):
        stock.assign(serial)
        with stock.house.write() as connection:
            holding.confirm(connection, 1, serial, ann, stock.now)
    stock.status(CardStatus.REGISTERED)  # it was not lost
    assert stock.held().confirmed_at
    stock.status(CardStatus.LOST)
    assert stock.held().confirmed_at
    stock.status(CardStatus.REGISTERED)
    assert stock.held().confirmed_at is None and stock.held("B2").confirmed_at


def test_nobody_finds_the_card_of_someone_with_more_rights(stock):
    stock.assign(login="boss")
    stock.status(CardStatus.LOST)
    with pytest.raises(ApiError) as caught:
        stock.status(CardStatus.REGISTERED, by="sue")
    assert caught.value.status == 403 and stock.row().status == "lost"
    stock.status(CardStatus.LOST, "B2")
    assert stock.status(CardStatus.REGISTERED, "B2", by="sue")["status"] == "registered"


# -- lock-outs -------------------------------------------------------------------------------------

LOCKED = {"failures": 9, "lockout_s": 60, "blocked_until": NOW * 2}
FREE = (0, 0, 0)


def throttle(stock, serial="A1"):
    row = stock.row(serial)
    return row.failures, row.lockout_s, row.blocked_until


def test_a_lock_out_is_lifted_ten_times_a_day(stock):
    """Of one card (docs/reference/protocols.md)."""
    stock.card("B2", **LOCKED)
    for _ in range(10):
        stock.card(**LOCKED)
        stock.do(holding.unlock, "A1")
        assert throttle(stock) == FREE
    assert stock.told() == [("card-unlocked", "A1", {})] and throttle(stock, "B2") != FREE
    stock.card(**LOCKED)
    with refused("too-many") as caught:
        stock.do(holding.unlock, "A1")
    assert caught.value.status == 429 and throttle(stock) != FREE
    stock.do(holding.unlock, "B2")
    assert throttle(stock, "B2") == FREE
    stock.house.clock.advance(86400 - 1 - stock.now % 86400)
    with refused("too-many"):
        stock.do(holding.unlock, "A1")
    stock.house.clock.advance(1)
    stock.do(holding.unlock, "A1")
    assert throttle(stock) == FREE


def test_lock_outs_of_what_somebody_holds(stock):
    ann, bob = stock.house.known().id, stock.house.known("bob").id
    stock.assign()
    stock.assign("B2", "bob")
    at = NOW * 2

    def locked(person, now):
        with stock.house.write() as connection:
            return holding.any_locked(connection, person, now)

    stock.card(**LOCKED)
    assert locked(ann, at - 1) and not locked(ann, at) and not locked(bob, at - 1)
    stock.card("B2", **LOCKED)
    with stock.house.write() as connection:
        holding.unlock_all_of(connection, ann)
    assert throttle(stock) == FREE and throttle(stock, "B2") != FREE


# -- claimed ---------------------------------------------------------------------------------------


def codes_of(serial="A1", first=0, digits=6):
    return tuple(hotp(seed_of(serial), first + n, digits) for n in range(2))


def claim(stock, codes, serial="A1", name="ann"):
    return stock.do(
        holding.claim, serial, by=name, person_id=stock.house.known(name).id, codes=codes,
        policy=stock.house.firm.policy,
    )  # fmt: skip


def test_a_card_that_nobody_holds_is_claimed_by_two_codes_of_it(stock, posted):
    assert claim(stock, codes_of(first=3), serial="a1").reason is Reason.OK
    held, now = stock.held(), int(stock.now)
    ann = stock.house.known()
    assert (held.person_id, held.expires_at, held.assigned_at, held.confirmed_at) == (
        ann.id, None, now, now,
    )  # fmt: skip
    assert held.assigned_by == f"person:{ann.id}" and ann.enrolled
    row = stock.row()
    assert (row.last_used_at, row.moving_factor) == (now, 5)
    assert stock.row("B2").last_used_at is None
    assert stock.told() == [("card-claimed", "A1", {})]
    assert not posted  # whoever did it knows


def refusal_of(stock, codes, serial="A1", name="ann"):
    """→ why, how often a wrong code of A1 was counted"""
    verdict = claim(stock, codes, serial, name)
    assert verdict == Verdict(verdict.reason)
    entry = ("card-code-refused", {"for": "enrolment", "reason": verdict.reason.value})
    (told,) = stock.told()
    assert (told[0], told[2]) == entry
    return verdict.reason, stock.row().failures


def test_what_is_not_claimed(stock):
    right, wrong = codes_of(), codes_of(first=50)[::-1]
    assert refusal_of(stock, right, "Z9") == (Reason.WRONG, 0)
    for odd in (("1", "2"), codes_of(digits=8), ("", ""), (right[0], "x" * 6)):
        assert refusal_of(stock, odd) == (Reason.WRONG, 0)  # no guess
    assert refusal_of(stock, wrong) == (Reason.WRONG, 1)
    for values in ({"status": "lost"}, {"status": "retired"}, {"valid_until": 1}):
        stock.card(**values)
        assert refusal_of(stock, right) == (Reason.WRONG, 1), values
        stock.card(status="registered", valid_until=None)
    stock.card(valid_until=int(stock.now) + 1)
    assert claim(stock, right).reason is Reason.OK


@pytest.mark.parametrize("how", ["assigned", "lent", "overdue"])
def test_what_is_out_is_not_claimed(stock, how):
    """Whoever has borrowed a card does not keep it."""
    stock.assign() if how == "assigned" else stock.lend()
    if how == "overdue":
        stock.house.clock.advance(7200)
    before = stock.held()
    for name in ("ann", "bob"):
        assert refusal_of(stock, codes_of(), name=name) == (Reason.WRONG, 0)
    assert stock.held() == before


def test_the_serial_number_in_the_log_is_cut(stock):
    claim(stock, codes_of(), "Z" * 100)
    assert stock.told()[0][1] == "Z" * 64


def test_a_locked_card_is_not_claimed(stock):
    stock.card(**LOCKED)
    verdict = claim(stock, codes_of())
    assert (verdict.reason, verdict.retry_after_s) == (Reason.THROTTLED, NOW * 2 - int(stock.now))
    assert stock.told()[0][2]["reason"] == "throttled"


def test_somebody_has_so_many_tries_in_an_hour(stock):
    stock.house.clock.now = NOW // 3600 * 3600 + 1.0
    for _ in range(20):
        claim(stock, ("", ""))
    with refused("too-many"):
        claim(stock, codes_of())
    assert claim(stock, codes_of("B2"), "B2", "bob").reason is Reason.OK
    stock.house.clock.advance(3598)
    with refused("too-many"):
        claim(stock, codes_of())
    stock.house.clock.advance(1)
    assert claim(stock, codes_of()).reason is Reason.OK


def test_a_card_of_eight_digits_is_claimed_by_those(stock):
    stocked(stock.house, "C3", generator=Generator(digits=8))
    assert claim(stock, codes_of("C3"), "C3").reason is Reason.WRONG
    assert claim(stock, codes_of("C3", digits=8), "C3").reason is Reason.OK


# -- small things ----------------------------------------------------------------------------------


def test_what_was_shown_is_of_its_holder_and_once(stock):
    ann, bob = stock.house.known().id, stock.house.known("bob").id
    stock.assign()
    stock.assign("B2")

    def confirm(firm_id, person, now):
        with stock.house.write() as connection:
            holding.confirm(connection, firm_id, "A1", person, now)
        return stock.held().confirmed_at

    assert confirm(2, ann, 7) is None and confirm(1, bob, 7) is None
    assert confirm(1, ann, 7.5) == 7 and confirm(1, ann, 8) == 7
    assert stock.held("B2").confirmed_at is None


def test_whoever_has_a_card_now(stock):
    row = stock.row()

    def holder(at=0):
        with stock.house.write() as connection:
            return holding.holder(connection, row.id, stock.now + at)

    assert holder() is None
    stock.lend()
    assert tuple(holder(3599.5)) == (stock.house.known().id, int(stock.now) + 3600)
    assert holder(3600) is None


def test_a_card_that_goes_to_another_is_no_longer_the_firsts(stock):
    stock.lend()
    stock.lend("B2", "bob")
    stock.house.clock.advance(3600)
    stock.lend(login="bob")
    assert stock.held().person_id == stock.house.known("bob").id
    assert stock.held("B2").person_id == stock.house.known("bob").id


def test_a_letter_is_by_the_policy_that_was_given_and_of_the_firm(stock, posted):
    """A policy that is about to be stored says how it is called."""
    named = FirmPolicy.model_validate(
        stock.house.firm.policy.model_dump() | {"display_name": "The Firm"}
    )
    with stock.house.write() as connection:
        holding.tell_handed_over(
            connection, stock.house.state.ring, stock.caller(), stock.house.known().id, "A1", named,
            stock.now, until=None, lost="B2",
        )  # fmt: skip
    assert "It replaces B2, which verifies nothing any more." in posted[-1]["letter"].text
    assert posted[-1]["firm_id"] == 1
