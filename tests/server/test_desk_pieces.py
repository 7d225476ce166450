"""The loans desk: the card in the hand, shown by a code of it or by a reason; what is done with it;
and what was just done, undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import delete, func, select, update

from tallystick.server.accounts.credentials import Role
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk, holding, undo
from tallystick.server.loans.desk import Whereabouts
from tallystick.server.loans.holding import CardStatus
from tallystick.server.loans.proof import Proof, prove
from tallystick.server.rules.otp import hotp
from tallystick.server.store.audit import AuditEntry
from tallystick.server.store.models import DeskActRow
from tallystick.server.store.models_login import MessageRow
from tests.server.house import locked_by, refused, seed_of, stocked
from tests.server.stock import Stock


class Desk(Stock):
    """Acts with a code of the card, or with none. pressed: how often each card was."""

    def __init__(self, house) -> None:
        super().__init__(house)
        house.clock.now += 0.25
        self.pressed: dict[str, int] = {}
        self.admin = False

    def caller(self, name="sue"):
        found = super().caller(name)
        return replace(found, role=Role.ADMIN) if self.admin else found

    def do(self, what, *arguments, by="sue", **named):
        return super().do(what, *arguments, by=by, **named)

    def code(self, serial="A1", presses=1):
        """→ the next code of it, or the one after so many presses"""
        factor = self.pressed.get(serial, 0) + presses - 1
        self.pressed[serial] = factor + 1
        return hotp(seed_of(serial), factor, 6)

    def act(self, what, serial="A1", *, codes=..., **more):
        """codes: the next one, if nothing is said."""
        codes = (self.code(more.get("by_card", serial)),) if codes is ... else codes
        by_card = more.pop("by_card", None)
        more |= {"by": by_card} if by_card else {}
        with self.house.write() as connection:
            return what(
                connection, self.house.state.ring, self.caller(), serial, codes=codes,
                policy=self.house.firm.policy, now=self.now, **more,
            )  # fmt: skip

    def given(self, what=desk.lend, serial="A1", login="ann", **more):
        return self.act(what, serial, login=login, **more)

    def for_good(self, serial="A1", login="ann"):
        return self.given(desk.assign, serial, login)

    def replaced(self, lost="A1", by="B2", **more):
        return self.act(desk.replace, lost, by_card=by, **more)


@pytest.fixture
def counter(quick_house):
    return Desk(quick_house)


def letters(posted, since=0):
    return [(one["letter"].to, one["letter"].text) for one in posted[since:]]


# -- proof -----------------------------------------------------------------------------------------


def proven(counter, codes, *, admin=False, reason="", **policy):
    """→ what `prove` says of A1, and how many wrong codes of it are counted"""
    counter.admin = admin
    if policy:
        counter.house.policy(**policy)
    with counter.house.write() as connection:
        answer = prove(
            connection, counter.house.state.ring, counter.caller(), counter.row(), codes,
            counter.house.firm.policy, counter.now, act="loan", reason=reason,
        )  # fmt: skip
    return answer, counter.row().failures


def test_a_code_of_the_card_shows_which_one_it_is(counter):
    assert proven(counter, (counter.code(),)) == (Proof(), 0)
    assert proven(counter, (counter.code(presses=5),)) == (Proof(skipped=4), 0)
    assert counter.row().moving_factor == 6 and counter.row().last_used_at is None


def test_two_codes_find_one_that_was_pressed_a_thousand_times(counter):
    """Further than a sign-in page looks."""
    codes = (counter.code(presses=1000), counter.code())
    assert proven(counter, codes) == (Proof(skipped=999), 0)


@pytest.mark.parametrize(
    ("codes", "code", "status", "counted"),
    [
        (("000000",), "wrong-code", 409, 1),
        (("000000", "000001"), "wrong-code", 409, 1),
        ("used", "replayed-code", 409, 0),
        ("far", "card-drifted", 409, 1),
        ("locked", "throttled", 429, 0),
    ],
)
def test_a_code_that_is_refused(counter, codes, code, status, counted):
    if codes == "used":
        codes = (counter.code(),)
        assert proven(counter, codes) == (Proof(), 0)
    elif codes == "far":
        codes = (counter.code(presses=200),)
    elif codes == "locked":
        counter.card(blocked_until=int(counter.now) + 30)
        codes = (counter.code(),)
    answer, failures = proven(counter, codes)
    assert isinstance(answer, ApiError) and "A1" in answer.what
    assert (answer.code, answer.status, failures) == (code, status, counted)
    ((action, subject, facts),) = counter.told()
    with counter.house.write() as connection:
        newest = select(AuditEntry.at_ms).order_by(AuditEntry.number.desc()).limit(1)
        assert connection.scalar(newest) == int(counter.now * 1000)
    reason = {"wrong-code": "wrong", "replayed-code": "replayed", "card-drifted": "resynchronise",
              "throttled": "throttled"}[code]  # fmt: skip
    assert (action, subject) == ("card-code-refused", "A1")
    assert facts == {"for": "loan", "reason": reason}
    if code == "card-drifted":
        assert "199 times" in answer.what
    if code == "throttled":
        assert "30 s" in answer.what


@pytest.mark.parametrize("codes", [("12345",), ("1234567",), ("12345a",), ("123456", "1")])
def test_what_is_no_code_is_no_guess(counter, codes):
    with refused("wrong-length") as caught:
        proven(counter, codes)
    said = caught.value
    assert said.status == 422 and "6 digits" in said.what and "6 digits" in said.todo
    assert counter.row().failures == 0


def test_without_a_code_nothing_is_done(counter):
    with refused("code-needed") as caught:
        proven(counter, None)
    assert caught.value.status == 422 and "A1" in caught.value.what
    assert proven(counter, None, admin=True) == (Proof(), 0)


def test_a_reason_stands_for_a_code_so_many_times_a_day(counter):
    for _ in range(2):
        answer = proven(counter, None, reason="flat", desk_without_code_per_day=2)
        assert answer == (Proof(reason="flat"), 0)
    with refused("too-many"):
        proven(counter, None, reason="flat")
    assert proven(counter, None, reason="flat", admin=True) == (Proof(reason="flat"), 0)
    counter.admin = False
    counter.house.clock.advance(86399 - counter.now % 86400)
    with refused("too-many"):
        proven(counter, None, reason="flat")
    counter.house.clock.advance(1)
    assert proven(counter, None, reason="flat") == (Proof(reason="flat"), 0)


def test_a_firm_may_take_no_reason(counter):
    with refused("code-needed") as caught:
        proven(counter, None, reason="flat", desk_without_code_per_day=0)
    assert caught.value.status == 403
    assert proven(counter, None, reason="flat", admin=True) == (Proof(reason="flat"), 0)


def test_whoever_has_a_code_needs_no_reason(counter):
    counter.house.policy(desk_without_code_per_day=0)
    assert proven(counter, (counter.code(),), reason="flat") == (Proof(), 0)


def test_facts_of_a_proof():
    assert Proof().facts() == {}
    assert Proof(3, "flat").facts() == {"skipped": 3, "without_code": "flat"}


# -- acts with the card in the hand ----------------------------------------------------------------


def test_a_card_is_lent_and_given_back(counter, posted):
    end = int(counter.now) + 60
    answer = counter.given(codes=(counter.code(presses=3),), until=end)
    assert (answer["user"], answer["loan_until"], answer["skipped"]) == ("ann", end, 2)
    assert counter.told() == [("card-lent", "A1", {"to": "ann", "until": end, "skipped": 2})]
    counter.house.clock.advance(61)
    before = len(posted)
    answer = counter.act(desk.give_back, codes=(counter.code(presses=2),))
    assert (answer["user"], answer["skipped"], answer["overdue_user"]) == (None, 1, None)
    assert counter.held() is None
    assert counter.told() == [("card-returned", "A1", {"overdue_s": 1, "of": "ann", "skipped": 1})]
    ((to, text),) = letters(posted, before)
    assert to == "ann@x.org" and "card A1 was returned (" in text


def test_one_in_time_is_not_late_and_no_other_comes_back(counter):
    counter.given()
    counter.given(serial="B2", login="bob")
    counter.act(desk.give_back)
    assert counter.told() == [("card-returned", "A1", {"overdue_s": 0, "of": "ann"})]
    assert counter.held("B2") is not None


def test_a_broken_card_comes_back_for_a_reason(counter, posted):
    counter.given()
    before = len(posted)
    counter.act(desk.give_back, codes=None, reason="flat")
    assert counter.told()[0][2] == {"overdue_s": 0, "of": "ann", "without_code": "flat"}
    ((_, text),) = letters(posted, before)
    assert "card A1 was returned without a code of it (flat)" in text


def test_a_card_is_assigned_and_taken_back(counter):
    answer = counter.given(desk.assign, codes=(counter.code(presses=3),))
    assert (answer["user"], answer["loan_until"], answer["skipped"]) == ("ann", None, 2)
    assert counter.told() == [("card-assigned", "A1", {"to": "ann", "skipped": 2})]
    answer = counter.act(desk.take_back, codes=(counter.code(presses=2),))
    assert (answer["user"], answer["skipped"]) == (None, 1) and counter.held() is None
    assert counter.told() == [("card-taken-back", "A1", {"of": "ann", "skipped": 1})]
    before = counter.told()
    answer = counter.act(desk.take_back, codes=None)  # nobody has it: no code is needed
    assert answer["user"] is None and counter.told() == before


@pytest.mark.parametrize("hours", [0, 2])
@pytest.mark.parametrize("more", [{}, {"codes": None, "reason": "flat"}])
def test_what_was_lent_is_taken_back_as_at_its_return(counter, hours, more):
    counter.given(until=int(counter.now) + 3600)
    counter.house.clock.advance(hours * 3600)
    counter.act(desk.take_back, **more)
    ((action, _, facts),) = counter.told()
    without = {"without_code": "flat"} if more else {}
    late_s = max(0, hours - 1) * 3600
    assert (action, facts) == ("card-returned", {"overdue_s": late_s, "of": "ann"} | without)


def test_a_lost_one_is_taken_back_too(counter):
    counter.given()
    counter.status(CardStatus.LOST)
    with refused("card-lost"):
        counter.act(desk.give_back)
    assert counter.act(desk.take_back)["status"] == "lost"
    assert counter.told()[0][0] == "card-taken-back" and counter.held() is None


@pytest.mark.parametrize("how", ["nobody", "good"])
def test_what_is_not_lent_is_not_given_back(counter, how):
    if how == "good":
        counter.for_good()
    before = counter.row()
    with refused("not-lent") as caught:
        counter.act(desk.give_back)
    said = caught.value
    assert said.status == 409 and bool(said.todo) == (how == "good")
    assert said.what.endswith("it is assigned for good." if how == "good" else "nobody holds it.")
    assert counter.row() == before  # the code was not looked at


@pytest.mark.parametrize("what", [desk.give_back, desk.take_back, desk.lend, desk.assign])
def test_a_wrong_code_ends_every_act(counter, what):
    more = {}
    if what in (desk.lend, desk.assign):
        more = {"login": "ann"}
    elif what is desk.take_back:
        counter.for_good()
    else:
        counter.given()
    before = counter.held()
    answer = counter.act(what, codes=("000000",), **more)
    assert isinstance(answer, ApiError) and answer.code == "wrong-code"
    assert counter.held() == before and counter.row().failures == 1
    ((_, _, facts),) = counter.told()
    acts = {desk.lend: "loan", desk.assign: "assignment"}
    assert facts["for"] == acts.get(what, "return")


def test_terms_are_looked_at_before_a_code_is_judged(counter):
    counter.house.change(disabled_at=1)
    with refused("user-disabled"):
        counter.given(codes=("000000",))
    with pytest.raises(ApiError) as caught:
        counter.given(desk.assign, login="boss", codes=("000000",))
    assert caught.value.status == 403
    with refused("bad-loan"):
        counter.given(login="bob", until=1, codes=("000000",))
    assert counter.row().failures == 0


# -- replaced --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["good", "loan", "until"])
def test_a_lost_card_is_replaced_on_the_same_terms(counter, posted, how):
    end = int(counter.now) + 3600
    counter.for_good() if how == "good" else counter.given(until=end)
    before = len(posted)
    more = {"until": end + 60} if how == "until" else {}
    end = {"good": None, "loan": end, "until": end + 60}[how]
    answer = counter.replaced(codes=(counter.code("B2", 3),), **more)
    assert (answer["serial"], answer["user"], answer["loan_until"], answer["skipped"]) == (
        "B2", "ann", end, 2,
    )  # fmt: skip
    assert counter.row().status == "lost" and counter.held() is None
    assert counter.held("B2").expires_at == end and counter.held("B2").confirmed_at is None
    ends = {"until": end} if end else {}
    assert counter.told(3) == [
        ("card-lost", "A1", {"of": "ann"}),
        ("card-replaced", "A1", {"by": "B2", "to": "ann"} | ends),
        ("card-lent" if end else "card-assigned", "B2",
         {"to": "ann", "for": "A1", "skipped": 2} | ends),
    ]  # fmt: skip
    texts = [text for _, text in letters(posted, before)]
    assert len(texts) == 2 and "reported lost" in texts[0] and "It replaces A1" in texts[1]


def test_what_does_not_replace_a_card(counter):
    with refused("same-card") as caught:
        counter.replaced("B2")
    assert caught.value.status == 422
    for change in ("nobody", "overdue", "retired"):
        if change == "overdue":
            counter.given(until=int(counter.now) + 1)
            counter.house.clock.advance(1)
        elif change == "retired":
            counter.given()
            counter.card(status="retired")
        with refused("not-held") as caught:
            counter.replaced()
        assert caught.value.status == 409 and "A1" in caught.value.what
    counter.card(status="registered")
    for values, code in (({"status": "lost"}, "card-lost"), ({"valid_until": 1}, "card-expired")):
        counter.card("B2", **values)
        with refused(code):
            counter.replaced()
        counter.card("B2", status="registered", valid_until=None)
    counter.house.change(role="administrator")
    with pytest.raises(ApiError) as caught:
        counter.replaced()
    assert caught.value.status == 403
    counter.house.change(role="user")
    with refused("bad-loan"):
        counter.replaced(until=1)
    counter.for_good("B2", "bob")
    with refused("already-assigned") as caught:
        counter.replaced()
    assert "B2" in caught.value.what and counter.row().status == "registered"


def test_a_wrong_code_replaces_nothing(counter):
    counter.for_good()
    answer = counter.replaced(codes=("000000",))
    assert answer.code == "wrong-code" and counter.row("B2").failures == 1
    assert counter.told()[0][2]["for"] == "replacement"
    assert counter.row().status == "registered" and counter.held("B2") is None


def test_one_that_was_lost_already_is_replaced(counter):
    counter.for_good()
    counter.status(CardStatus.LOST)
    assert counter.replaced()["user"] == "ann"


# -- found again, retired --------------------------------------------------------------------------


def test_a_drifted_card_is_found_by_two_codes(counter):
    codes = (counter.code(presses=500), counter.code())
    answer = counter.act(desk.resynchronise, codes=codes)
    assert (answer["skipped"], answer["moving_factor"]) == (499, 501)
    assert counter.told() == [("card-resynchronised", "A1", {"skipped": 499})]
    answer = counter.act(desk.resynchronise, codes=("000000", "000001"))
    assert answer.code == "wrong-code" and counter.told()[0][2]["for"] == "resynchronisation"
    counter.card(status="lost")
    with refused("card-lost"):
        counter.act(desk.resynchronise)


def test_a_card_is_retired(counter):
    counter.for_good()
    assert counter.act(desk.retire, codes=("000000",)).code == "wrong-code"
    assert counter.told()[0][2]["for"] == "retirement" and counter.held() is not None
    answer = counter.act(desk.retire, codes=None, reason="broken")
    assert answer["status"] == "retired" and counter.held() is None
    entry = ("card-retired", "A1", {"of": "ann", "without_code": "broken"})
    assert counter.told() == [entry]
    assert counter.act(desk.retire, codes=None)["status"] == "retired"  # no code is needed
    assert counter.told() == [entry]


# -- where cards are -------------------------------------------------------------------------------


def test_where_cards_are(counter):
    """One of each, by its serial number; one is of another firm."""
    for serial in ("C3", "D4", "E5", "F6", "G7"):
        stocked(counter.house, serial)
    end = int(counter.now) + 3600
    counter.given(serial="B2", until=end)
    counter.given(serial="C3", until=end - 1, login="bob")
    counter.for_good("D4")
    for serial in ("E5", "F6"):
        counter.for_good(serial, "bob")
    counter.card("E5", status="lost")
    counter.card("F6", status="retired")
    with counter.house.write() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, name, policy) VALUES (2, 'b', '{}')")
        connection.exec_driver_sql("UPDATE card SET firm_id = 2 WHERE serial = 'G7'")
    at = end - 1 + 0.5
    expected = {
        Whereabouts.POOL: ["A1"], Whereabouts.LENT: ["B2"], Whereabouts.OVERDUE: ["C3"],
        Whereabouts.ASSIGNED: ["D4"], Whereabouts.LOST: ["E5"], Whereabouts.RETIRED: ["F6"],
        None: ["A1", "B2", "C3", "D4", "E5", "F6"],
    }  # fmt: skip

    def listed(where=None, text="", after="", limit=9):
        with counter.house.write() as connection:
            found = desk.listed(
                connection, counter.caller(), where=where, text=text, after=after, limit=limit,
                now=at,
            )  # fmt: skip
        return [one["serial"] for one in found]

    assert {where: listed(where) for where in expected} == expected
    assert listed(after="B2", limit=2) == ["C3", "D4"]
    assert listed(text="BOB") == ["C3", "E5", "F6"] and listed(text="d4") == ["D4"]
    assert listed(text="ann@x") == ["B2", "D4"] and listed(Whereabouts.LENT, "bob") == []
    with counter.house.write() as connection:
        counts = desk.counts(connection, counter.caller(), at)
        assert counts == dict.fromkeys(Whereabouts, 1)
        assert [desk.in_pool(connection, firm_id, at) for firm_id in (1, 2, 3)] == [1, 1, 0]
        bob = desk.held_by(connection, counter.caller(), counter.house.known("bob").id, at)
        assert [(one["serial"], one["user"], one["overdue_user"]) for one in bob] == [
            ("C3", None, "bob"), ("E5", "bob", None), ("F6", "bob", None),
        ]  # fmt: skip


def test_a_lost_card_that_is_overdue_is_both(counter):
    counter.given(until=int(counter.now) + 1)
    counter.status(CardStatus.LOST)
    with counter.house.write() as connection:
        for where in (Whereabouts.OVERDUE, Whereabouts.LOST):
            assert desk.listed(
                connection, counter.caller(), where=where, text="", after="", limit=1,
                now=counter.now + 1,
            )  # fmt: skip


# -- undone ----------------------------------------------------------------------------------------


def done(counter, name="lend", serials=("A1",), work=None):
    """An act that can be undone → its answer"""
    work = work or counter.given
    with counter.house.write() as connection:
        return undo.undoable(connection, counter.caller(), serials, name, counter.now, work)


def undone(counter, serial="A1", by="sue"):
    return counter.do(undo.undo, serial, by=by)


def nothing_to_undo(counter, why="", serial="A1", by="sue"):
    """And nothing was changed."""
    before = counter.held(serial), counter.row(serial)
    with refused("nothing-to-undo") as caught:
        undone(counter, serial, by)
    said = caught.value
    assert said.status == 409 and f"card {serial}" in said.what
    assert said.what.endswith(f": {why}." if why else f"card {serial}.")
    assert (counter.held(serial), counter.row(serial)) == before


def open_for(counter, serials=("A1", "B2"), by="sue"):
    with counter.house.write() as connection:
        return undo.open_for(connection, counter.caller(by), serials, counter.now)


def waiting(counter):
    with counter.house.write() as connection:
        return connection.scalar(select(func.count()).select_from(MessageRow))


def test_a_loan_is_undone_and_nobody_hears_of_it(counter):
    answer = done(counter)
    assert answer["undo_until"] == int(counter.now) + 120 and waiting(counter) == 1
    assert open_for(counter) == {"A1": "loan"}
    before = counter.row().moving_factor
    assert undone(counter)["user"] is None
    assert counter.held() is None and waiting(counter) == 0
    assert counter.row().moving_factor == before  # a used code stays used
    assert counter.told() == [("card-undone", "A1", {"undone": "loan", "of": "ann"})]
    assert open_for(counter) == {}
    nothing_to_undo(counter)


def test_a_return_is_undone_with_all_that_was(counter):
    counter.given()
    with counter.house.write() as connection:
        holding.confirm(connection, 1, "A1", counter.house.known().id, counter.now)
    before = counter.held()
    counter.house.clock.advance(60)
    done(counter, "give_back", work=lambda: counter.act(desk.give_back))
    assert undone(counter)["user"] == "ann" and counter.held() == before
    assert counter.told() == [("card-undone", "A1", {"undone": "return", "to": "ann"})]


def test_two_cards_are_put_back_together(counter):
    counter.for_good()
    done(counter, "replace", ("A1", "B2"), counter.replaced)
    assert open_for(counter) == {"A1": "replacement", "B2": "replacement"}
    undone(counter, "B2")
    assert (counter.row().status, counter.held("B2")) == ("registered", None)
    assert counter.held().person_id == counter.house.known().id
    assert counter.told(2) == [
        ("card-undone", "A1", {"undone": "replacement", "to": "ann"}),
        ("card-undone", "B2", {"undone": "replacement", "of": "ann"}),
    ]
    assert open_for(counter) == {}


def test_a_retirement_is_undone_and_no_other_card_changes(counter):
    stocked(counter.house, "C3")
    counter.card("C3", status="lost")
    done(counter, "retire", work=lambda: counter.act(desk.retire))
    assert undone(counter)["status"] == "registered"
    assert [counter.row(one).status for one in ("B2", "C3")] == ["registered", "lost"]


def test_two_minutes_and_no_longer(counter):
    done(counter)
    counter.house.clock.now = int(counter.now) + 119.9
    assert open_for(counter)
    counter.house.clock.now = int(counter.now) + 1.0
    assert not open_for(counter)
    nothing_to_undo(counter, "it was done more than two minutes ago")


def test_whoever_did_it_undoes_it(counter):
    done(counter)
    nothing_to_undo(counter, "somebody else did it", by="boss")
    assert not open_for(counter, by="boss") and not open_for(counter, ("B2",))
    assert undone(counter)["user"] is None


@pytest.mark.parametrize("what", ["used", "status", "held", "shown"])
def test_not_what_was_changed_since(counter, what):
    done(counter)
    if what == "used":
        counter.card(moving_factor=counter.row().moving_factor + 1)
    elif what == "status":
        counter.card(status="lost")
    elif what == "held":
        counter.house.clock.advance(1)
        counter.do(holding.take_back, "A1")
    else:
        with counter.house.write() as connection:
            holding.confirm(connection, 1, "A1", counter.house.known().id, counter.now)
    nothing_to_undo(counter, "the card was used since, or something else was done with it")


def test_not_when_a_message_has_left(counter):
    done(counter)
    with counter.house.write() as connection:
        connection.execute(update(MessageRow).values(tries=1))
    nothing_to_undo(counter, "a message about it is on its way")
    with counter.house.write() as connection:
        connection.execute(delete(MessageRow))
    nothing_to_undo(counter, "a message about it is on its way")


def test_nobody_gives_a_card_back_to_someone_with_more_rights(counter):
    counter.for_good()
    done(counter, "take_back", work=lambda: counter.act(desk.take_back))
    counter.house.change(role="administrator")
    with pytest.raises(ApiError) as caught:
        undone(counter)
    assert caught.value.status == 403 and counter.held() is None and waiting(counter)


def test_what_changed_nothing_is_not_to_be_undone(counter):
    answer = done(counter, "take_back", work=lambda: counter.act(desk.take_back, codes=None))
    assert "undo_until" not in answer and not open_for(counter)
    answer = done(counter, work=lambda: counter.given(codes=("000000",)))
    assert isinstance(answer, ApiError) and not open_for(counter)
    codes = (counter.code(presses=3), counter.code())
    answer = done(counter, "resynchronise",
                  work=lambda: counter.act(desk.resynchronise, codes=codes))  # fmt: skip
    assert "undo_until" not in answer and not open_for(counter)  # only its counter has moved


def test_the_last_act_is_undone_and_no_other_cards(counter):
    done(counter)
    done(counter, "lend", ("B2",), lambda: counter.given(serial="B2", login="bob"))
    done(counter, "give_back", work=lambda: counter.act(desk.give_back))
    assert open_for(counter) == {"A1": "return", "B2": "loan"}
    with counter.house.write() as connection:
        assert connection.scalar(select(func.count()).select_from(DeskActRow)) == 2
        undo.forget(connection, counter.caller(), "A1")
    assert open_for(counter) == {"B2": "loan"}
    nothing_to_undo(counter)
    assert undone(counter, "B2")["user"] is None


def test_an_act_without_a_word_is_called_what_it_is(counter):
    done(counter, "an-act")
    assert open_for(counter) == {"A1": "an-act"}
    with counter.house.write() as connection:
        (row,) = connection.execute(select(*DeskActRow.__table__.columns)).all()
    assert (row.actor, row.until) == (counter.caller().id, int(counter.now) + 120)


def test_messages_of_other_acts_do_not_wait(counter, posted):
    with pytest.raises(ApiError):
        done(counter, work=lambda: counter.given(login="nobody"))
    counter.given()
    with counter.house.write() as connection:
        (due,) = connection.scalars(select(MessageRow.due_at)).all()
    assert due == int(counter.now)


# -- two at once -----------------------------------------------------------------------------------

CARDS = {
    "assign": lambda counter: counter.assign(),
    "lend": lambda counter: counter.lend(),
    "take_back": lambda counter: counter.take_back(),
    "status": lambda counter: counter.status(CardStatus.LOST),
    "unlock": lambda counter: counter.do(holding.unlock, "A1"),
    "desk.lend": lambda counter: counter.given(codes=("000000",)),
    "desk.assign": lambda counter: counter.given(desk.assign, codes=("000000",)),
    "desk.give_back": lambda counter: counter.act(desk.give_back, codes=("000000",)),
    "desk.take_back": lambda counter: counter.act(desk.take_back, codes=("000000",)),
    "desk.replace": lambda counter: counter.replaced(codes=("000000",)),
    "desk.resynchronise": lambda counter: counter.act(desk.resynchronise, codes=("000000",)),
    "desk.retire": lambda counter: counter.act(desk.retire, codes=("000000",)),
    "undo": undone,
    "undoable": lambda counter: done(counter, work=lambda: ApiError(409, "x", "x")),
}


@pytest.mark.parametrize("what", CARDS)
def test_of_two_who_act_on_a_card_one_waits(counter, what):
    """Also where nothing comes of it."""
    with counter.house.write() as connection:

        def work():
            with suppress(ApiError):
                CARDS[what](counter)

        assert "card" in locked_by(connection, work)
