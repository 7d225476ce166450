"""What judges a simulated firm from outside: each sees what it is there for, and nothing else."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator import boards
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.rules.throttle import Limits, Throttle
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import acts, calls, ending, zoo
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.cells import CellFigures, CellSeen
from tallystick.tools.campaign.firm.leaks import Eavesdropper
from tallystick.tools.campaign.firm.locks import LockSeen
from tallystick.tools.campaign.firm.oracle import CardSeen, Judge
from tallystick.tools.campaign.firm.portal import HALF_WAY, PASSWORD_WRONG, STEP_S, Telephone
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import (
    AIMED_AT,
    FirmAct,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
)

POLICY = FirmPolicy()
WRONG = ServerSaid(200, reason="wrong")
OK = ServerSaid(200, accepted=True, reason="ok")
NOW = 1_000_000


def _locked(seconds: int) -> ServerSaid:
    return ServerSaid(429, reason="throttled", retry_after_s=seconds)


def _guessed(count: int) -> LockSeen:
    lock = LockSeen()
    assert [lock.after(WRONG, POLICY, NOW) for _ in range(count)] == [None] * count
    return lock


def test_ten_wrong_codes_lock_for_a_minute_and_each_more_for_twice_as_long() -> None:
    lock, now = _guessed(10), NOW
    for seconds in (60, 120, 240, 480):
        assert lock.after(_locked(seconds), POLICY, now) is None
        now += seconds + 1
        assert lock.after(WRONG, POLICY, now) is None


@pytest.mark.parametrize(
    ("guesses", "said", "at", "what"),
    [
        (9, _locked(60), NOW, "policy says that it is not"),
        (10, _locked(60), NOW + 62, "policy says that it is not"),
        (10, _locked(90), NOW, "is locked for 90 s, and policy says 60 s"),
        (10, WRONG, NOW + 30, "judged while it is locked"),
        (10, OK, NOW + 30, "judged while it is locked"),
    ],
)
def test_a_lock_that_is_not_as_policy_says_is_seen(
    guesses: int, said: ServerSaid, at: int, what: str
) -> None:
    assert what in (_guessed(guesses).after(said, POLICY, at) or "")


def test_where_an_answer_was_lost_nothing_is_said_until_a_code_was_accepted() -> None:
    lock = _guessed(9)
    assert lock.after(ServerSaid(0), POLICY, NOW) is None
    assert lock.after(_locked(60), POLICY, NOW) is None
    assert lock.after(OK, POLICY, NOW + 61) is None
    assert lock.after(_locked(60), POLICY, NOW + 61) is not None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 500)), max_size=60))
def test_the_server_agrees_with_what_was_worked_out_beside_it(
    steps: list[tuple[bool, int]],
) -> None:
    """The product's own rule, asked as a service asks it."""
    limits = Limits(POLICY.max_failures, POLICY.lockout_s, POLICY.lockout_max_s)
    product, lock, now = Throttle(), LockSeen(), NOW
    for right, later in steps:
        now += later
        wait = product.wait_s(now)
        if wait:
            said = _locked(wait)
        elif right:
            product, said = Throttle(), OK
        else:
            product, said = product.after_failure(limits, now), WRONG
        assert lock.after(said, POLICY, now) is None


SEED = bytes(range(20, 40))
SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "bytes": bytes,
    "hexadecimal": lambda seed: seed.hex().encode(),
    "HEXADECIMAL": lambda seed: seed.hex().upper().encode(),
    "base 32": base64.b32encode,
    "base 64": base64.b64encode,
    "base 64 for URLs": base64.urlsafe_b64encode,
    "base 64 of something longer": lambda seed: base64.b64encode(b"{" + seed + b"}"),
    "base 64 on two lines": lambda seed: base64.encodebytes(bytes(58) + seed),
    "bytes apart": lambda seed: seed.hex(":").encode(),
    "what Python shows": lambda seed: repr(seed).encode(),
    "what Python shows of that": lambda seed: repr(repr(seed)).encode(),
    "numbers": lambda seed: str(list(seed)).encode(),
    "a telephone's, in groups": lambda seed: b" ".join(
        base64.b32encode(seed).lower()[at : at + 4] for at in range(0, 32, 4)
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_is_found_in_whatever_it_is_written(shape: str) -> None:
    ear = Eavesdropper({"card TS1": SEED, "card TS2": bytes(range(20))}, {})
    written = SHAPES[shape](SEED)
    ear.hears("a request", b"before" + written[:9])
    ear.look()
    assert ear.found == []
    ear.hears("a request", written[9:] + b"after")  # across two looks
    ear.look()
    assert ear.found == ["the seed of card TS1 is in a request in clear"]


def test_a_seed_is_found_in_the_log() -> None:
    ear = Eavesdropper({"card TS1": SEED}, {})
    log = logging.getLogger("tallystick.of_a_test")
    log.setLevel(logging.DEBUG)
    log.addHandler(ear)
    log.debug("made %s", SEED.hex())
    log.removeHandler(ear)
    ear.look()
    assert ear.found == ["the seed of card TS1 is in the log in clear"]


def test_a_cell_that_draws_more_or_less_than_the_report_says_is_seen() -> None:
    figures = CellFigures(press_uah=0.5, asleep_ua=0.1, less=0.2, more=0.3)
    day = 24 * 3_600_000_000
    seen = CellSeen(began_us=day, began_uah=7.0, presses=10, cut_short=1)
    usual = 0.5 * 10 + 0.1 * 24
    assert seen.wrong(7.0 + usual, 2 * day, figures) is None
    assert "the battery's report says" in (seen.wrong(7.0 + usual * 1.4, 2 * day, figures) or "")
    assert "the battery's report says" in (seen.wrong(7.0 + usual * 0.6, 2 * day, figures) or "")


def test_the_figures_are_those_of_the_batterys_report() -> None:
    figures = ending.figures()
    assert figures.press_uah == pytest.approx(0.37, abs=0.03)  # docs/findings/battery.md
    assert 0 < figures.less < 0.6 and 0 < figures.more < 1


@pytest.mark.parametrize(
    ("factors", "lacks"), [((False, True), "the password"), ((True, False), "the second factor")]
)
def test_whoever_comes_in_with_one_factor_is_seen(factors: tuple[bool, bool], lacks: str) -> None:
    judge = Judge(POLICY)
    judge.came_in("p0001", "refused", factors=factors)
    judge.came_in("p0001", "in", factors=(True, True))
    assert judge.violations == []
    judge.came_in("p0001", "in", factors=factors)
    assert judge.violations == [f"the portal let somebody in as p0001 without {lacks}"]


def test_what_the_product_raises_and_nobody_takes_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(world: object, act: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(acts._ACTS, Verb.SHIFT, raises)
    firm = SimulatedFirm(cards=1, readers=0, days=1, level=Level.NONE)
    result = simulate(firm, image=fresh.image(boards.DEFAULT))
    assert result.violations == [
        "something failed: ZeroDivisionError in test_firm_judges.py, raises"
    ]


def test_an_answer_that_a_kill_took_is_no_silence_even_of_the_last_try() -> None:
    firm = SimulatedFirm(cards=2, readers=0, days=1, level=Level.NONE)
    hour = 3600
    played = [
        FirmAct(5 * hour, 0, Verb.PROVISION, 0),
        FirmAct(5 * hour + 60, 1, Verb.PROVISION, 1),
        FirmAct(8 * hour, 2, Verb.BORROW, 0, 1),
        FirmAct(9 * hour, 3, Mishap.SERVER_ENDS, 0, 1),  # after its next commit
        FirmAct(9 * hour + 60, 4, Verb.LATE, 0),  # one try, and none after it
    ]
    result = simulate(firm, played, image=fresh.image(boards.DEFAULT))
    assert any("is not let in: no answer" in one.words for one in result.told)
    assert result.violations == []


HOUR = 3600
MADE = [FirmAct(5 * HOUR, 0, Verb.PROVISION, 0), FirmAct(5 * HOUR + 60, 1, Verb.PROVISION, 1)]
TWO = SimulatedFirm(cards=2, readers=0, days=1, level=Level.NONE)  # a person's, and a spare


def _lived(*more: FirmAct) -> tuple[list[str], list[str]]:
    """→ what was told, and what was wrong"""
    played = sorted((*MADE, *more), key=lambda act: act.at)
    result = simulate(TWO, played, image=fresh.image(boards.DEFAULT))
    return [one.words for one in result.told], result.violations


def test_a_station_waits_for_a_server_that_stays_away() -> None:
    told, wrong = _lived(FirmAct(5 * HOUR + 30, 2, Mishap.SERVER_AWAY, 1, 0))
    assert wrong == []
    assert any("is away for" in said for said in told)
    stopped = [said for said in told if "stops at card TS00000002" in said]
    assert len(stopped) > 1 and "No server answers" in stopped[-1]
    assert "the station makes card TS00000002 for the drawer" in told


@pytest.mark.parametrize("name", ["taken-for-done", "seed-in-error"])
def test_what_a_station_does_wrong_is_seen_while_the_server_stays_away(name: str) -> None:
    with zoo.planted(zoo.find(name), fresh.image(boards.DEFAULT)):
        _, wrong = _lived(FirmAct(5 * HOUR + 30, 2, Mishap.SERVER_AWAY, 1, 0))
    assert wrong


def test_the_desk_looks_up_what_it_does_not_know() -> None:
    told, wrong = _lived(
        FirmAct(8 * HOUR - 1, 2, Mishap.ANSWER_LOST, 0, 8),  # the next one
        FirmAct(8 * HOUR, 3, Verb.BORROW, 0, 2),
        FirmAct(9 * HOUR, 4, Verb.LOG_IN, 0, 1),
        FirmAct(17 * HOUR, 5, Verb.GIVE_BACK, 0, 1),
    )
    assert wrong == []
    assert "the desk looks card TS00000002 up: it was done" in told
    assert "p0001 logs in with card TS00000002" in told
    assert "p0001 gives card TS00000002 back" in told


def test_nobody_acts_on_a_card_before_the_desk_has_looked_it_up() -> None:
    back = [path for path, _ in AIMED_AT].index("POST /v1/cards/[^/]+/return")
    told, wrong = _lived(
        FirmAct(8 * HOUR, 2, Verb.BORROW, 0, 1),
        FirmAct(17 * HOUR - 1, 3, Mishap.AIMED, back, 2),  # its answer
        FirmAct(17 * HOUR, 4, Verb.GIVE_BACK, 0, 1),
        FirmAct(17 * HOUR + 120, 5, Verb.GIVE_BACK, 0, 1),
    )
    assert wrong == []
    assert "the desk has to look card TS00000002 up first" in told
    assert told.count("p0001 gives card TS00000002 back") == 1


def test_a_telephones_lost_answer_leaves_open_whether_the_card_is_a_second_factor() -> None:
    """The card has set the password; the telephone was good, and nobody was told."""
    second = [path for path, _ in AIMED_AT].index("POST /p/default/second/.*")
    told, wrong = _lived(
        FirmAct(6 * HOUR, 2, Verb.PHONE, 0),
        FirmAct(9 * HOUR, 3, Verb.RECOVER, 0),
        FirmAct(10 * HOUR - 1, 4, Mishap.AIMED, second, 2),  # its answer
        FirmAct(10 * HOUR, 5, Verb.PORTAL, 0),
        FirmAct(10 * HOUR + 60, 6, Verb.FORGET_PHONE, 0),
        FirmAct(11 * HOUR, 7, Verb.RECOVER, 0),  # signs in with the card before
    )
    assert wrong == []
    assert "p0001 is at the portal with the telephone: no answer" in told
    assert told.count("p0001 has a new password, by the card") == 2


def test_a_refusal_of_the_desk_that_has_no_reason_is_a_violation() -> None:
    with zoo.planted(zoo.find("lends-nothing"), fresh.image(boards.DEFAULT)):
        _, wrong = _lived(FirmAct(8 * HOUR, 2, Verb.BORROW, 0, 1))
    assert wrong == ["the desk may not lend card TS00000002 to p0001 (held)"]


def test_whoever_comes_first_is_let_in_with_card_or_copy_and_nobody_after_that() -> None:
    told, wrong = _lived(
        FirmAct(8 * HOUR, 2, Verb.COPY, 0, 1), FirmAct(9 * HOUR, 3, Verb.LOG_IN, 0)
    )
    assert wrong == []
    assert "a copy of card TS00000001 is tried: ok" in told
    assert "p0001 types a code of card TS00000001: replayed" in told
    assert "p0001 logs in with card TS00000001" in told


@pytest.mark.parametrize("planted", [False, True])
def test_of_two_who_type_the_same_code_at_the_same_instant_one_is_let_in(planted: bool) -> None:
    with (
        zoo.planted(zoo.find("used-again"), fresh.image(boards.DEFAULT))
        if planted
        else nullcontext()
    ):
        told, wrong = _lived(FirmAct(9 * HOUR, 2, Verb.RACE, 0))
    assert any("type the same code at the same instant" in said for said in told)
    assert any("accepted twice" in one for one in wrong) == planted
    assert bool(wrong) == planted


def test_a_card_in_its_dock_can_lose_its_power_at_any_write() -> None:
    for draw in range(4):
        told, wrong = _lived(FirmAct(5 * HOUR + 30, 2, Mishap.DOCK_CUT, 1, draw))
        assert wrong == []
        assert any("The card lost power" in said for said in told)
        assert "the station makes card TS00000002 for the drawer" in told


def test_a_network_goes_between_two_requests_and_comes_back() -> None:
    told, wrong = _lived(FirmAct(5 * HOUR + 30, 2, Mishap.NETWORK_LOST, 1, 5 << 3))
    assert wrong == []
    assert "everybody has a way to the server" in told
    assert "the station makes card TS00000002 for the drawer" in told


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", []),
        ("keyless", ["card TS00000001 does not ask for keys before it takes a seed"]),
        ("tells-its-seed", ["the seed of card TS00000001 is in the line to a card in clear"]),
    ],
)
def test_whoever_found_a_card_gives_it_no_seed_and_is_told_none(
    name: str, wrong: list[str]
) -> None:
    shipped = fresh.image(boards.DEFAULT)
    played = [*MADE, FirmAct(9 * HOUR, 2, Verb.LOSE, 0), FirmAct(10 * HOUR, 3, Verb.THIEF, 0)]
    with zoo.planted(zoo.find(name), shipped) if name else nullcontext(shipped) as image:
        result = simulate(TWO, played, image=image)
    assert any("a seed of his own, without keys" in one.words for one in result.told)
    assert result.violations[:1] == wrong


def test_a_card_that_a_stranger_has_locked_is_no_refusal_without_a_reason() -> None:
    """Its owner has a telephone, which is not locked, and answers that the code is none of its."""
    firm = SimulatedFirm(cards=3, readers=0, days=1, level=Level.NONE)
    played = [
        *(FirmAct(5 * HOUR + 60 * card, card, Verb.PROVISION, card) for card in range(3)),
        FirmAct(6 * HOUR, 3, Verb.PHONE, 0),
        FirmAct(9 * HOUR, 4, Verb.PHISH, 0, 1),
        FirmAct(10 * HOUR, 5, Verb.REPLAY, 1),  # p0002 types a code as p0001
        FirmAct(10 * HOUR + 10, 6, Verb.LOG_IN, 0),
    ]
    result = simulate(firm, played, image=fresh.image(boards.DEFAULT))
    told = [one.words for one in result.told]
    assert result.violations == []
    assert "p0001 is not let in: wrong" in told
    assert "p0001 logs in with card TS00000001" in told


@pytest.mark.parametrize(("at", "said", "wrong"), [
    (899, HALF_WAY, "is judged before its lock is over"),
    (900, HALF_WAY, None),
    (960, HALF_WAY, None),
    (899, PASSWORD_WRONG, None),
    (900, PASSWORD_WRONG, "are locked for longer than was said"),
])  # fmt: skip
def test_the_end_of_a_lock_is_judged_by_when_somebody_came(
    at: int, said: str, wrong: str | None
) -> None:
    """Who is busy when he is due comes later."""
    found: list[str] = []
    world: Any = SimpleNamespace(
        at=at, say=lambda _: None, wrong=found.append, clocks_were_wrong=False, in_trouble=False,
        strange_browser=SimpleNamespace(log_in_alone=lambda *_: said),
    )  # fmt: skip
    who: Any = SimpleNamespace(login="p0001", password="a password", leaving=False)
    calls._types_password(world, who, 900)
    assert (wrong is None and not found) or (wrong is not None and wrong in found[0])


@pytest.mark.parametrize("off_s", [0, 7200])
def test_a_guess_is_never_right_by_luck(off_s: int) -> None:
    card, phone = (
        CardSeen("TS00000001", bytes(20)),
        Telephone("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", off_s),
    )
    world: Any = SimpleNamespace(
        clock=SimpleNamespace(server=lambda: float(NOW)), policy=POLICY,
        judge=SimpleNamespace(cards={card.serial: card}),
    )  # fmt: skip
    who: Any = SimpleNamespace(phone=phone, own=SimpleNamespace(serial=card.serial), loan=None)
    right = [card.code(card.highest + ahead) for ahead in range(POLICY.look_ahead + 1)]
    right += [phone.code(NOW - off_s + step * STEP_S) for step in (-1, 0, 1)]
    for code in right:
        assert calls._no_right_code(world, who, int(code)) not in right
    assert calls._no_right_code(world, who, 123_456) == "123456"
