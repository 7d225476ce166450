"""The rules of RFC 4226 section 7, without clock or database."""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tallystick.server.rules.judge import CodePolicy, CodeState, Generator, Reason, Verdict, judge
from tallystick.server.rules.otp import hotp
from tallystick.server.rules.throttle import Throttle

SEED = b"12345678901234567890"
POLICY = CodePolicy(look_ahead=5, look_back=5, resync_window=20, max_failures=4, lockout_s=60)


def code(factor: int) -> str:
    return hotp(SEED, factor, 6)


def test_accepts_up_to_the_end_of_the_window_and_no_further():
    state = CodeState(10)
    assert judge(SEED, state, (code(10),), POLICY, 0).state.moving_factor == 11
    assert judge(SEED, state, (code(14),), POLICY, 0).state.moving_factor == 15
    assert judge(SEED, state, (code(15),), POLICY, 0).reason is Reason.RESYNCHRONISE
    assert judge(SEED, state, (code(35),), POLICY, 0).reason is Reason.WRONG


def test_a_replay_is_refused_and_not_counted():
    state = CodeState(10, Throttle(1))
    verdict = judge(SEED, state, (code(9),), POLICY, 0)
    assert verdict.reason is Reason.REPLAYED
    assert verdict.state == state


def test_a_clock_near_the_beginning_of_time_has_its_first_step():
    """And one that is set to before it has none."""
    timed = Generator(step_s=30)
    for middle, drift, reason in ((10, 0, Reason.RESYNCHRONISE), (0, -100, Reason.WRONG)):
        state = CodeState(0, drift=drift)
        assert judge(SEED, state, (code(0),), POLICY, 30 * middle, generator=timed).reason is reason
    pair = (code(0), code(1))
    assert judge(SEED, CodeState(0), pair, POLICY, 300, generator=timed).reason is Reason.OK


def test_two_successive_codes_bring_a_drifted_card_back():
    verdict = judge(SEED, CodeState(10, Throttle(2)), (code(30), code(31)), POLICY, 0)
    assert verdict.reason is Reason.OK
    assert verdict.state == CodeState(32)


def test_resynchronisation_never_goes_back():
    verdict = judge(SEED, CodeState(10), (code(8), code(9)), POLICY, 0)
    assert verdict.reason is Reason.WRONG


def test_lockout_doubles_and_ends():
    state = CodeState(0)
    for _ in range(POLICY.max_failures):
        verdict = judge(SEED, state, ("000000",), POLICY, 1000)
        assert verdict.reason is Reason.WRONG
        state = verdict.state
    assert state.throttle.blocked_until == 1060
    throttled = judge(SEED, state, (code(0),), POLICY, 1059)
    assert (throttled.reason, throttled.retry_after_s) == (Reason.THROTTLED, 1)
    assert throttled.state == state
    again = judge(SEED, state, ("000000",), POLICY, 1060).state
    assert again.throttle.blocked_until == 1060 + 120
    assert judge(SEED, again, (code(0),), POLICY, 1180).state == CodeState(1)


class Card(RuleBasedStateMachine):
    """Any history of presses, guesses, replays and waiting: each code at most once, and no more
    guesses in a row than the policy allows."""

    def __init__(self) -> None:
        super().__init__()
        self.state = CodeState(0)
        self.pressed = 0
        self.now = 0
        self.accepted: set[int] = set()
        self.guesses_since_open = 0

    def submit(self, *codes: str) -> Reason:
        verdict = judge(SEED, self.state, codes, POLICY, self.now)
        assert verdict.state.moving_factor >= self.state.moving_factor
        if verdict.reason is Reason.OK:
            used = verdict.state.moving_factor - 1
            assert used not in self.accepted
            self.accepted |= {used}
            self.guesses_since_open = 0
        if verdict.reason in (Reason.WRONG, Reason.RESYNCHRONISE):
            self.guesses_since_open += 1
        self.state = verdict.state
        return verdict.reason

    @rule(presses=st.integers(0, 4))
    def press_and_use(self, presses: int) -> None:
        self.pressed += presses
        ahead = self.pressed - self.state.moving_factor
        reason = self.submit(code(self.pressed))
        if reason is not Reason.THROTTLED:
            assert (reason is Reason.OK) == (0 <= ahead < POLICY.look_ahead)
        self.pressed += 1

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(sorted(self.accepted)))
        assert self.submit(code(old)) is not Reason.OK

    @rule()
    def guess(self) -> None:
        assert self.submit("000000") is not Reason.OK

    @rule(seconds=st.integers(1, 500))
    def wait(self, seconds: int) -> None:
        was_blocked = self.now < self.state.throttle.blocked_until
        self.now += seconds
        if was_blocked and self.now >= self.state.throttle.blocked_until:
            self.guesses_since_open = POLICY.max_failures - 1

    @invariant()
    def guesses_are_limited(self) -> None:
        assert self.guesses_since_open <= POLICY.max_failures


TestCard = Card.TestCase
TestCard.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_code_of_the_future_that_was_one_of_the_past_is_good():
    """Six digits come again: the one that is expected now is no replay of the other."""
    seed = b"collides 00000009067"
    assert hotp(seed, 10, 6) == hotp(seed, 7, 6)
    verdict = judge(seed, CodeState(10), (hotp(seed, 10, 6),), POLICY, 0)
    assert (verdict.reason, verdict.state) == (Reason.OK, CodeState(11))


def test_how_far_a_clock_may_be_off():
    timed, now = Generator(step_s=30), 30 * 100
    reasons = {
        step: judge(SEED, CodeState(0), (code(step),), POLICY, now, generator=timed).reason
        for step in (79, 80, 98, 99, 101, 102, 119, 120)
    }
    good, drifted = Reason.OK, Reason.RESYNCHRONISE
    assert reasons[99] is reasons[101] is good
    assert reasons[102] is reasons[119] is drifted
    assert reasons[79] is reasons[120] is Reason.WRONG
    assert reasons[98] is Reason.REPLAYED or reasons[98] is drifted


def test_what_holds_where_nothing_else_is_said():
    policy = CodePolicy()
    windows = (policy.look_ahead, policy.look_back, policy.resync_window, policy.steps_around)
    assert windows == (10, 10, 100, 1)
    assert Generator() == Generator("sha1", 0, 6)
    assert Verdict(Reason.OK) == Verdict(Reason.OK, 0, "", "", "", ())
    told = Verdict(Reason.OK)
    assert (told.retry_after_s, told.kind, told.serial, told.why, told.amr) == (0, "", "", "", ())
    assert told.accepted and not Verdict(Reason.WRONG).accepted
    verdict = judge(SEED, CodeState(10), (code(10),), POLICY, 0)
    assert (verdict.retry_after_s, verdict.skipped) == (0, 0)


def test_where_the_search_for_a_drifted_card_ends():
    state = CodeState(10)
    for factor, reason in ((34, Reason.RESYNCHRONISE), (35, Reason.WRONG)):
        verdict = judge(SEED, state, (code(factor),), POLICY, 0)
        assert (verdict.reason, verdict.skipped) == (reason, 24 if factor == 34 else 0)
    for factor, reason in ((33, Reason.OK), (34, Reason.OK), (35, Reason.WRONG)):
        pair = (code(factor), code(factor + 1))
        verdict = judge(SEED, state, pair, POLICY, 0)
        skipped = 0 if reason is Reason.WRONG else factor - 10
        assert (verdict.reason, verdict.skipped) == (reason, skipped)


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_clock_that_is_off_is_followed_and_its_step_is_used_once(off):
    timed, now = Generator(step_s=30), 30 * 100 + 29
    verdict = judge(SEED, CodeState(0), (code(100 + off),), POLICY, now, generator=timed)
    assert (verdict.reason, verdict.state) == (Reason.OK, CodeState(101 + off, drift=off))
    again = judge(SEED, verdict.state, (code(100 + off),), POLICY, now, generator=timed)
    assert (again.reason, again.state) == (Reason.REPLAYED, verdict.state)
    first = judge(SEED, CodeState(0), (code(0),), POLICY, 0, generator=timed)
    assert first.reason is Reason.OK


@pytest.mark.parametrize(
    ("codes", "fit"),
    [(("123456",), True), (("123456", "000000"), True), (("12345",), False), ((), True),
     (("1234567",), False), (("123456", "12345"), False), (("12345a",), False),
     (("１２３４５６",), False), (("",), False)],
)  # fmt: skip
def test_which_codes_fit(codes, fit):
    assert Generator().fits(codes) is fit
    assert Generator(digits=8).fits(("12345678",)) and not Generator(digits=8).fits(("123456",))


def test_the_very_first_code_is_told_as_used_too():
    assert judge(SEED, CodeState(1), (code(0),), POLICY, 0).reason is Reason.REPLAYED
    timed = Generator(step_s=30)
    verdict = judge(SEED, CodeState(1), (code(0),), POLICY, 0, generator=timed)
    assert verdict.reason is Reason.REPLAYED


def test_what_a_generator_is_called():
    assert (Generator().type, Generator(step_s=30).type) == ("hotp", "totp")
