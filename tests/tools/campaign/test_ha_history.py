"""The judge of a history: it finds what is wrong, and nothing in what is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.tools.campaign.server.ha_history import HaAsked, HaTold, HaWait, judge

OK, REPLAYED, UNKNOWN, WRONG = HaTold.ACCEPTED, HaTold.REPLAYED, HaTold.UNKNOWN, HaTold.WRONG


def asked(client: str, factor: int, told: HaTold, **more) -> HaAsked:
    began = more.pop("began", 0.0)
    return HaAsked(client, "C", factor, began, more.pop("ended", began + 0.1), told, **more)


def found(*history: HaAsked, final: int | None = None, **more) -> list[str]:
    return judge(history, final={} if final is None else {"C": final}, **more)


def test_a_code_that_two_had_accepted():
    told = found(asked("a", 0, OK), asked("b", 0, OK), final=1)
    assert told == ["C: the code of factor 0 was accepted 2 times"]


def test_a_factor_that_goes_back():
    told = found(asked("a", 3, OK), asked("a", 2, OK), final=4)
    assert told == ["C: a had 2 accepted after 3"]


def test_a_factor_that_does_not_rise():
    told = found(asked("a", 3, OK), asked("a", 3, OK), final=4)
    assert "C: a had 3 accepted after 3" in told


def test_the_audit_log_has_what_nobody_was_told():
    """A code that was asked for again is no second one."""
    history = (asked("a", 0, OK), asked("a", 0, REPLAYED))
    (told,) = found(*history, final=1, entries={"C": 2})
    assert told == "C: the audit log has 2 acceptances of 1 codes"


def test_two_clients_whose_clocks_are_a_minute_apart_are_not_compared():
    early = asked("b", 4, OK, began=-60.0)
    assert found(asked("a", 3, OK, began=0.0), early, final=5) == []


@pytest.mark.parametrize(
    ("final", "words"),
    [
        (3, "3 was accepted, and the database is at 3"),
        (5, "nobody sent 4"),
        (6, "nobody sent 5"),
        (None, "not have it"),
    ],
)
def test_what_the_database_has_in_the_end(final, words):
    (told,) = found(asked("a", 3, OK), final=final)
    assert words in told


def test_what_nobody_was_told_may_have_been_done_or_not():
    for final in (3, 4):
        assert found(asked("a", 2, OK), asked("a", 3, UNKNOWN), final=final) == []
    assert found(asked("a", 3, UNKNOWN), asked("a", 3, REPLAYED), final=4) == []
    assert found(asked("a", 3, UNKNOWN), asked("a", 3, OK), final=4) == []


def test_a_code_that_nobody_used_is_not_refused():
    (told,) = found(asked("a", 3, OK), asked("b", 4, REPLAYED), final=4)
    assert "was told that 4 was used: nobody used it" in told
    (told,) = found(asked("a", 3, OK), asked("b", 4, WRONG), final=4)
    assert "is wrong" in told


def test_answers_that_come_late_or_say_not_when_to_come_back():
    (told,) = found(asked("a", 0, UNKNOWN, ended=6.5), final=0)
    assert "waited 6.5 s" in told
    (told,) = found(asked("a", 0, UNKNOWN, retry_after=False), final=0)
    assert "not told when" in told
    (told,) = found(asked("a", 0, UNKNOWN, ended=-1.0), final=0)
    assert "before its question" in told


def test_other_writes_that_were_acknowledged():
    assert found(made=["x", "y"], there=["x", "y", "z"]) == []
    (told,) = found(made=["x", "y"], there=["x"])
    assert told == "1 acknowledged writes are missing: y"


def test_an_acknowledged_code_that_later_ones_have_overtaken():
    """The leader that had accepted 1 was lost with it, and 2 was accepted since."""
    history = (asked("a", 0, OK), asked("a", 1, OK), asked("a", 2, OK))
    assert found(*history, final=3, entries={"C": 3}) == []
    (told,) = found(*history, final=3, entries={"C": 2})
    assert "3 codes were accepted, and the audit log has 2" in told
    (told,) = found(*history, final=3, entries={"C": 4})
    assert "4 acceptances of 3 codes" in told
    assert found(*history, asked("a", 3, UNKNOWN), final=4, entries={"C": 4}) == []


def test_who_makes_other_things_is_answered_in_time_too():
    assert found(waits=[HaWait(5.9)]) == []
    (told,) = found(waits=[HaWait(6.1)])
    assert "waited 6.1 s" in told
    (told,) = found(waits=[HaWait(1.0, retry_after=False)])
    assert "when to come back" in told


class Honest:
    """A server that does everything right, and is sometimes not heard."""

    def __init__(self) -> None:
        self.next = 0

    def ask(self, factor: int, *, heard: bool, done: bool) -> HaTold:
        if not heard:
            if done and factor >= self.next:
                self.next = factor + 1
            return UNKNOWN
        if factor < self.next:
            return REPLAYED
        self.next = factor + 1
        return OK


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=40))
def test_nothing_is_wrong_with_what_an_honest_server_says(steps):
    server, factors = Honest(), {"a": 0, "b": 0}
    history = []
    for number, (client, heard, done) in enumerate(steps):
        factor = max(factors.values())
        told = server.ask(factor, heard=heard, done=done)
        skew = 60.0 if client == "b" else 0.0
        history.append(asked(client, factor, told, began=number + skew))
        if told is not UNKNOWN:
            factors[client] = factor + 1
    assert judge(history, final={"C": server.next} if history else {}) == []


@given(
    st.lists(st.booleans(), min_size=1, max_size=20), st.data(), st.sampled_from(["twice", "lost"])
)
def test_and_something_with_what_a_dishonest_one_says(heard, data, lie):
    """It accepts a code again, or has forgotten one in the end."""
    server, history = Honest(), []
    for number, one in enumerate([True, *heard]):
        factor = server.next
        history.append(
            asked("a", factor, server.ask(factor, heard=one, done=True), began=float(number))
        )
    accepted = [one.factor for one in history if one.told is OK]
    forgotten = data.draw(st.sampled_from(accepted))
    if lie == "twice":
        history.append(asked("b", forgotten, OK, began=99.0))
        assert judge(history, final={"C": server.next})
    else:
        assert judge(history, final={"C": max(accepted)})
