"""The rules by which codes, guesses and addresses are judged, at their edges, each by itself."""

from __future__ import annotations

import ast
import hmac
import re
from pathlib import Path

import pytest

from tallystick.server.rules import acts
from tallystick.server.rules.addresses import client_of, counted_by, networks
from tallystick.server.rules.judge import (
    HOTP,
    RESYNC_STEPS,
    CodePolicy,
    CodeState,
    Generator,
    Reason,
    Verdict,
    judge,
)
from tallystick.server.rules.otp import find, find_pair, hotp
from tallystick.server.rules.throttle import Limits, Throttle

SEED = b"12345678901234567890"
POLICY = CodePolicy(
    look_ahead=5, look_back=3, resync_window=20, steps_around=1, max_failures=4, lockout_s=60,
    lockout_max_s=500,
)  # fmt: skip
TOTP = Generator(step_s=30)


def code(factor: int, digits: int = 6) -> str:
    return hotp(SEED, factor, digits)


# -- codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_factors_of_every_width(factor):
    """RFC 4226: eight bytes, the first the highest."""
    digest = hmac.digest(SEED, bytes(factor >> 8 * n & 0xFF for n in range(7, -1, -1)), "sha1")
    at = digest[19] % 16
    value = int.from_bytes(digest[at : at + 4], "big") % 2**31
    assert hotp(SEED, factor, 9) == f"{value % 10**9:09}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_other_hashes_end_elsewhere(algorithm):
    """RFC 6238, appendix B: the last byte of the whole digest says where."""
    seed = (b"1234567890" * 7)[: {"sha256": 32, "sha512": 64}[algorithm]]
    expected = {"sha256": "46119246", "sha512": "90693936"}[algorithm]
    assert hotp(seed, 59 // 30, 8, algorithm) == expected


def test_the_first_of_two_equal_codes_counts(monkeypatch):
    from tallystick.server.rules import otp

    codes = ["111111", "222222", "333333", "222222", "333333", "444444"]
    monkeypatch.setattr(
        otp, "_codes", lambda seed, factors, *how: iter(map(codes.__getitem__, factors))
    )
    assert find(SEED, "222222", range(6)) == 1
    assert find_pair(SEED, ("222222", "333333"), range(5)) == 1
    assert find_pair(SEED, ("333333", "222222"), range(5)) == 2
    assert find_pair(SEED, ("333333", "444444"), range(5)) == 4


def test_the_first_of_a_pair_is_in_the_window_and_the_second_may_be_behind_it():
    assert find_pair(SEED, (code(9), code(10)), range(10)) == 9
    assert find_pair(SEED, (code(10), code(11)), range(10)) is None
    assert find_pair(SEED, (code(4), code(5)), range(5, 10)) is None
    assert find_pair(SEED, (code(5), code(6)), range(5, 10)) == 5
    assert find_pair(SEED, (code(5), code(7)), range(10)) is None
    assert find_pair(SEED, (code(6), code(5)), range(10)) is None
    assert find_pair(SEED, (code(5), code(5)), range(10)) is None
    assert find_pair(SEED, ("", ""), range(0)) is None


# -- by moving factor ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (6, Reason.WRONG), (7, Reason.REPLAYED), (9, Reason.REPLAYED), (10, Reason.OK),
        (14, Reason.OK), (15, Reason.RESYNCHRONISE), (34, Reason.RESYNCHRONISE), (35, Reason.WRONG),
    ],
)  # fmt: skip
def test_the_windows_around_a_factor(factor, reason):
    state = CodeState(10, Throttle(2))
    found = judge(SEED, state, (code(factor),), POLICY, 100)
    assert found.reason is reason
    if reason is Reason.OK:
        assert found.state == CodeState(factor + 1)
    elif reason is Reason.REPLAYED:
        assert found.state == state
    else:
        assert found.state == CodeState(10, Throttle(3))


def test_a_young_card_has_no_codes_before_its_first():
    assert judge(SEED, CodeState(1), (code(0),), POLICY, 0).reason is Reason.REPLAYED
    assert judge(SEED, CodeState(0), (code(0),), POLICY, 0).reason is Reason.OK


@pytest.mark.parametrize(
    ("first", "accepted"), [(9, False), (10, True), (14, True), (34, True), (35, False)]
)
def test_two_codes_in_a_row(first, accepted):
    state = CodeState(10, Throttle(1))
    found = judge(SEED, state, (code(first), code(first + 1)), POLICY, 0)
    assert found.reason is (Reason.OK if accepted else Reason.WRONG)
    assert found.state == (CodeState(first + 2) if accepted else CodeState(10, Throttle(2)))


def test_two_codes_the_other_way_round():
    found = judge(SEED, CodeState(10), (code(13), code(12)), POLICY, 0)
    assert found.reason is Reason.WRONG and found.state.throttle.failures == 1


def test_a_right_code_does_not_end_a_pause_and_changes_nothing():
    state = CodeState(10, Throttle(4, 60, 1000))
    found = judge(SEED, state, (code(10),), POLICY, 999)
    assert (found.reason, found.retry_after_s, found.state) == (Reason.THROTTLED, 1, state)
    pair = judge(SEED, state, (code(10), code(11)), POLICY, 999)
    assert (pair.reason, pair.state) == (Reason.THROTTLED, state)
    assert judge(SEED, state, (code(10),), POLICY, 1000).state == CodeState(11)


def test_what_a_verdict_accepts():
    assert [Verdict(reason).accepted for reason in Reason] == [one is Reason.OK for one in Reason]


# -- by time -------------------------------------------------------------------------------------

NOW, STEP = 30_000, 1000


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (STEP - 2, Reason.RESYNCHRONISE), (STEP - 1, Reason.OK), (STEP, Reason.OK),
        (STEP + 1, Reason.OK), (STEP + 2, Reason.RESYNCHRONISE),
        (STEP - RESYNC_STEPS, Reason.RESYNCHRONISE), (STEP - RESYNC_STEPS - 1, Reason.WRONG),
        (STEP + RESYNC_STEPS - 1, Reason.RESYNCHRONISE), (STEP + RESYNC_STEPS, Reason.WRONG),
    ],
)  # fmt: skip
@pytest.mark.parametrize("second", [0, 29])
def test_the_windows_around_a_time(step, reason, second):
    found = judge(SEED, CodeState(0), (code(step),), POLICY, NOW + second, generator=TOTP)
    assert found.reason is reason
    if reason is Reason.OK:
        assert found.state == CodeState(step + 1, drift=step - STEP)


def test_a_time_step_serves_once():
    state = CodeState(STEP + 1)
    for step in (STEP - 1, STEP):
        found = judge(SEED, state, (code(step),), POLICY, NOW, generator=TOTP)
        assert found.reason is Reason.REPLAYED and found.state == state
    assert judge(SEED, state, (code(STEP + 1),), POLICY, NOW, generator=TOTP).state == CodeState(
        STEP + 2, drift=1
    )


@pytest.mark.parametrize(("step", "told"), [(STEP - 4, True), (STEP - 5, False)])
def test_how_far_back_a_used_step_is_told(step, told):
    """look_back steps before the window, and only where a code has been used since."""
    state = CodeState(STEP + 1)
    found = judge(SEED, state, (code(step),), POLICY, NOW, generator=TOTP)
    assert (found.reason is Reason.REPLAYED) is told
    assert found.reason is not Reason.OK


def test_the_window_goes_with_the_clock_of_the_token():
    state = CodeState(0, drift=4)
    assert judge(SEED, state, (code(STEP + 5),), POLICY, NOW, generator=TOTP).state.drift == 5
    assert judge(SEED, state, (code(STEP + 3),), POLICY, NOW, generator=TOTP).state.drift == 3
    found = judge(SEED, state, (code(STEP + 2),), POLICY, NOW, generator=TOTP)
    assert found.reason is not Reason.OK and found.state.drift == 4


def test_two_codes_set_the_clock_of_a_token_right():
    far = STEP + RESYNC_STEPS - 1
    pair = (code(far), code(far + 1))
    found = judge(SEED, CodeState(0), pair, POLICY, NOW, generator=TOTP)
    assert found.reason is Reason.OK
    assert found.state == CodeState(far + 2, drift=far + 1 - STEP)
    found = judge(SEED, CodeState(far + 1), pair, POLICY, NOW, generator=TOTP)
    assert found.reason is Reason.WRONG


def test_the_first_moments_of_time_have_no_steps_before_them():
    assert judge(SEED, CodeState(0), (code(0),), POLICY, 0, generator=TOTP).reason is Reason.OK
    assert judge(SEED, CodeState(0), (code(1),), POLICY, 0, generator=TOTP).reason is Reason.OK
    behind = CodeState(0, drift=-50)
    assert judge(SEED, behind, ("000000",), POLICY, 0, generator=TOTP).reason is Reason.WRONG


def test_a_card_has_no_clock():
    assert HOTP.step_s == 0
    assert judge(SEED, CodeState(10), (code(10),), POLICY, NOW).state.drift == 0


# -- guesses -------------------------------------------------------------------------------------

LIMITS = Limits(max_failures=3, lockout_s=60, lockout_max_s=200)


def test_how_pauses_grow():
    throttle, now, seen = Throttle(), 1000, []
    for _ in range(6):
        throttle = throttle.after_failure(LIMITS, now)
        seen.append((throttle.failures, throttle.lockout_s, throttle.wait_s(now)))
    assert seen == [(1, 0, 0), (2, 0, 0), (3, 60, 60), (4, 120, 120), (5, 200, 200), (6, 200, 200)]


@pytest.mark.parametrize(("now", "left"), [(0, 100), (99, 1), (100, 0), (101, 0), (10**9, 0)])
def test_how_long_a_pause_lasts(now, left):
    assert Throttle(3, 60, 100).wait_s(now) == left


def test_the_limits_that_nobody_has_set():
    assert Limits() == Limits(10, 60, 14400)
    assert Throttle() == Throttle(0, 0, 0)


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("+49301234567", "+49301234567"),
        ("x" * 65, "x" * 64),
    ],
)
def test_what_limits_count_by(source, counted):
    assert counted_by(source) == counted


OURS = networks(["10.0.0.0/8", " 192.0.2.1 ", "", "2001:db8::/32"])


def test_networks():
    assert [str(one) for one in OURS] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    with pytest.raises(ValueError):
        networks(["not a network"])


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("198.51.100.9", ["203.0.113.5"], "198.51.100.9"),  # whoever asks may write anything
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5, 10.9.9.9"], "203.0.113.5"),
        ("10.0.0.1", ["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        ("10.0.0.1", ["203.0.113.5, unknown, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["203.0.113.5, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["[2001:dead::7]:4711"], "2001:dead::7"),
        ("10.0.0.1", ["2001:dead::7"], "2001:dead::7"),
        ("10.0.0.1", [" , ,203.0.113.5, "], "203.0.113.5"),
        ("no address", ["203.0.113.5"], "no address"),
    ],
)
def test_who_is_behind_a_proxy(peer, lines, client):
    assert client_of(peer, OURS, forwarded_for=lines) == client


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("for=203.0.113.5", "203.0.113.5"),
        ('For="203.0.113.5:80";proto=https', "203.0.113.5"),
        ('proto=https; for="[2001:dead::7]:80"', "2001:dead::7"),
        ("for=1.1.1.1, for=203.0.113.5", "203.0.113.5"),
        ("proto=https", "10.0.0.1"),
        ("for=203.0.113.5, proto=https", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("xfor=203.0.113.5", "10.0.0.1"),
        ("for = 203.0.113.5", "203.0.113.5"),
    ],
)
def test_what_forwarded_says(line, client):
    assert client_of("10.0.0.1", OURS, forwarded=[line]) == client


def test_two_headers_that_disagree_are_not_believed():
    both = {"forwarded_for": ["203.0.113.5"], "forwarded": ["for=203.0.113.6"]}
    assert client_of("10.0.0.1", OURS, **both) == "10.0.0.1"
    both["forwarded"] = ["for=203.0.113.5"]
    assert client_of("10.0.0.1", OURS, **both) == "203.0.113.5"


def test_a_long_way_is_not_followed_for_ever():
    hops = ", ".join(["203.0.113.5", *["10.0.0.2"] * 31])
    assert client_of("10.0.0.1", OURS, forwarded_for=[hops]) == "203.0.113.5"
    hops = ", ".join(["203.0.113.5", *["10.0.0.2"] * 32])
    assert client_of("10.0.0.1", OURS, forwarded_for=[hops]) == "10.0.0.2"


# -- acts ----------------------------------------------------------------------------------------


def test_what_tells_of_somebody_who_has_no_business_here():
    for act in ("help-code-wrong", "limit-reached", "password-wrong", "recovery-wrong"):
        assert acts.failed(act, {})
    assert acts.failed("token-wrong", {})
    assert acts.failed("factor-checked", {"reason": "wrong"})
    assert not acts.failed("factor-checked", {"reason": "ok"})
    assert not acts.failed("factor-checked", {})
    assert not acts.failed("signed-in", {"reason": "wrong"})


def test_every_act_is_readable():
    assert acts.in_words("signed-in") == "signed in"
    assert acts.in_words("something-new") == "something new"


def test_acts_that_say_all_without_whom():
    assert all(map(acts.stand_alone, ("signed-in", "signed-out", "sessions-ended", "new-act")))
    wanting = ("session-ended", "help-code-wrong", "limit-reached", "serials-reserved")
    assert not any(map(acts.stand_alone, wanting))


WRITERS = {"Act", "Incident", "act", "audit", "note", "note_change", "_act", "_note", "_tried"}


def acts_in(source: str) -> set[str]:
    """What the calls that write an entry name, as `session-ended`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    said = [
        argument.value
        for call in calls
        if getattr(call.func, "id", getattr(call.func, "attr", "")) in WRITERS
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    return {one for one in said if re.fullmatch(r"[a-z]+(-[a-z]+)+", one)}


def test_every_act_has_words():
    """Also those that are rare: what they are is read on a page, in four languages."""
    sources = (Path(__file__).parents[2] / "server").rglob("*.py")
    found = set().union(*(acts_in(one.read_text(encoding="utf-8")) for one in sources))
    assert len(found) > 60 and found - acts.WORDS.keys() == set()
