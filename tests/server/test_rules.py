"""The rules by which codes, guesses and addresses are judged, at their edges, each by itself."""

from __future__ import annotations

import ast
import colorsys
import csv
import hmac
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.server.rules import acts, colours, tables
from tallystick.server.rules.addresses import client_of, counted_by, networks, plainly
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
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("64:ff9b::ffff:ffff", "255.255.255.255"),
        ("64:ff9b::1:0:0", "64:ff9b::/64"),
        ("+49301234567", "+49301234567"),
        ("x" * 65, "x" * 64),
    ],
)
def test_what_limits_count_by(source, counted):
    assert counted_by(source) == counted


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("+49301234567", "+49301234567"),
    ],
)
def test_an_address_as_firewalls_know_it(source, plain):
    assert plainly(source) == plain


OURS = networks(["10.0.0.0/8", " 192.0.2.1 ", "", "2001:db8::/32"])


def test_networks():
    assert [str(one) for one in OURS] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    with pytest.raises(ValueError):
        networks(["not a network"])


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("198.51.100.9", ["203.0.113.5"], "198.51.100.9"),  # whoever asks may write anything
        ("::ffff:198.51.100.9", ["203.0.113.5"], "198.51.100.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", [], "10.0.0.1"),
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
        ("for=203.0.113.5,", "203.0.113.5"),
        (", for=203.0.113.5 , ,", "203.0.113.5"),
        ('for="203.0.113.5', "10.0.0.1"),  # what is not well formed says nothing
        ("for=203.0.113.5 proto=https", "10.0.0.1"),
        ("for=203.0.113.5;for=203.0.113.5", "10.0.0.1"),
    ],
)
def test_what_forwarded_says(line, client):
    assert client_of("10.0.0.1", OURS, forwarded=[line]) == client


def test_two_headers_that_disagree_are_not_believed():
    both = {"forwarded_for": ["203.0.113.5"], "forwarded": ["for=203.0.113.6"]}
    assert client_of("10.0.0.1", OURS, **both) == "10.0.0.1"
    both["forwarded"] = ["for=203.0.113.5"]
    assert client_of("10.0.0.1", OURS, **both) == "203.0.113.5"


@pytest.mark.parametrize("nothing", ["", " ", ",", " , ;,"])
def test_a_header_that_says_nothing_disagrees_with_none(nothing):
    both = {"forwarded_for": ["203.0.113.5"], "forwarded": [nothing]}
    assert client_of("10.0.0.1", OURS, **both) == "203.0.113.5"


def test_a_long_way_is_not_followed_for_ever():
    hops = ", ".join(["203.0.113.5", *["10.0.0.2"] * 31])
    assert client_of("10.0.0.1", OURS, forwarded_for=[hops]) == "203.0.113.5"
    hops = ", ".join(["203.0.113.5", *["10.0.0.2"] * 32])
    assert client_of("10.0.0.1", OURS, forwarded_for=[hops]) == "10.0.0.2"


# -- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "'"])
def test_a_table_program_runs_nothing(sign):
    """What begins like a formula is marked, and comes back as it was."""
    cells = [f"{sign}cmd|' /C calc'!A0", f"a{sign}", f"{sign}", "", "plain", 'Ada, "the" first']
    (read,) = csv.reader(io.StringIO(tables.line(cells), newline=""), strict=True)
    assert [cell[:1] == "'" for cell in read] == [True, False, True, False, False, False]
    assert [tables.bare(cell) for cell in read] == cells


def test_a_line_of_a_table():
    assert tables.line(["a", "b,c", 'd"e', "-1", ""]) == 'a,"b,c","d""e",\'-1,\r\n'


@pytest.mark.parametrize(
    ("cell", "was"),
    [
        ("'=1", "=1"),
        ("''", "'"),
        ("''a", "'a"),
        ("=1", "=1"),
        ("plain", "plain"),
        ("", ""),
        ("'", "'"),  # typed by hand: an apostrophe that marks nothing
        ("'plain", "'plain"),
        ("' =1", "' =1"),
    ],
)
def test_only_the_mark_is_taken_off(cell, was):
    assert tables.bare(cell) == was


@pytest.mark.parametrize(
    ("cells", "before", "less"),
    [
        (["a"], ["a", "b"], True),
        (["a", "b"], ["a", "b"], False),
        (["a", "b", "c"], ["a", "b"], False),
        (["a", ""], ["a", "b"], True),
        (["a", "  "], ["a", "b"], True),
        (["a", ""], ["a", ""], False),
        (["a", ""], ["a", " "], False),
        (["", "b"], ["a", "b"], False),
        ([], [], False),
        ([], ["a"], True),
        (["a"], [], False),
        (["a", "", "c"], ["a", "b"], False),
    ],
)
def test_a_line_that_was_cut_has_less_than_the_one_before(cells, before, less):
    assert tables.lacks(cells, before) is less


# -- colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [  # WCAG 2.2: white on black is 21:1; #767676 is the lightest grey that text on white may have
        ("#000000", "#ffffff", 21.0),
        ("#767676", "#ffffff", 4.54),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.00),
    ],
)
def test_contrast_as_published(one, other, ratio):
    assert colours.contrast(one, other) == pytest.approx(ratio, abs=0.005)
    assert colours.contrast(other, one) == colours.contrast(one, other)


@given(st.integers(0, 0xFFFFFF))
def test_every_colour_ends_as_one_that_can_be_read(number):
    used = colours.accents(f"#{number:06x}")
    for ground in (colours.LIGHT_GROUND, colours.ON_LIGHT):
        assert colours.contrast(used.light, ground) >= colours.AA
    for ground in (colours.DARK_PAPER, colours.ON_DARK):
        assert colours.contrast(used.dark, ground) >= colours.AA


def test_a_readable_colour_stays():
    assert colours.accents("#0b5cad").light == "#0b5cad"
    assert colours.accents("#7db8f5").dark == "#7db8f5"
    assert colours.accents("#ffff00").light != "#ffff00"


@pytest.mark.parametrize(
    ("colour", "luminance"),
    [
        ("#000000", 0),
        ("#ffffff", 1),
        ("#ff0000", 0.2126),
        ("#00ff00", 0.7152),
        ("#0000ff", 0.0722),
        ("#0a0a0a", 10 / 255 / 12.92),
        ("#0b0b0b", 0.0033465),
        ("#808080", 0.21586),
    ],
)
def test_how_bright_a_colour_is(colour, luminance):
    """WCAG 2.2, "relative luminance"."""
    assert colours.luminance(colour) == pytest.approx(luminance, rel=1e-4)


def hls(colour: str) -> tuple[float, float, float]:
    return colorsys.rgb_to_hls(*(part / 255 for part in bytes.fromhex(colour[1:])))


@pytest.mark.parametrize(
    "colour", ["#b00020", "#ffd000", "#8fd14f", "#0050ff", "#ffffff", "#000000", "#7a7a00"]
)
def test_a_colour_is_changed_as_little_as_is_needed(colour):
    """Darker on light, lighter on dark; of the same hue, and no further than to be read."""
    used = colours.accents(colour)
    hue, lightness, _ = hls(colour)
    for found, grounds, sign in (
        (used.light, (colours.LIGHT_GROUND, colours.ON_LIGHT), -1),
        (used.dark, (colours.DARK_PAPER, colours.ON_DARK), 1),
    ):
        least = min(colours.contrast(found, ground) for ground in grounds)
        if min(colours.contrast(colour, ground) for ground in grounds) >= 4.5:
            assert found == colour
        else:
            assert 4.5 <= least < 4.7 and sign * (hls(found)[1] - lightness) > 0
            assert hls(found)[0] == pytest.approx(hue, abs=0.02)


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
