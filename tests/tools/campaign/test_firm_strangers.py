"""What strangers try, and what judges see of it, each with a bug beside what ships."""

from __future__ import annotations

import pytest

from tallystick.emulator import boards
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import zoo
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import (
    IN_A_WALLET,
    FirmAct,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
)

HOUR = 3600
TWO = SimulatedFirm(cards=3, readers=0, days=1, level=Level.NONE)  # two people's, and a spare
MADE = [FirmAct(5 * HOUR + 60 * card, card, Verb.PROVISION, card) for card in range(3)]
PHONE = FirmAct(6 * HOUR, 3, Verb.PHONE, 0)
_BOTH_WAYS = ((9, 0), (15, 1))  # hours; draws: ahead, and behind
TOO_OFTEN = FirmAct(9 * HOUR, 4, Verb.PRESS, 0, IN_A_WALLET.index(10))


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize(
    ("name", "acts", "told", "wrong"),
    [
        (
            "answers-swapped", [FirmAct(9 * HOUR, 4, Verb.RACE, 0, 1)],
            "p0001 types a code while a stranger guesses at one of p0002: ok, wrong", "guess",
        ),
        (
            "guesses-uncounted", [PHONE, FirmAct(9 * HOUR, 4, Verb.PHISH, 0, 1)],
            "a stranger guesses codes of p0001's telephone, then types the right one: refused",
            "a telephone of p0001 is judged while it is locked",
        ),
        (
            "passwords-without-end", [PHONE, FirmAct(9 * HOUR, 4, Verb.PHISH, 0, 1)],
            "a stranger guesses passwords of p0001, then types the right one: password",
            "passwords of p0001 are judged without end",
        ),
        (
            "help-without-end", [PHONE, FirmAct(9 * HOUR, 4, Verb.CALL, 0, 1)],
            "p0001 types the code of the help desk when it is over",
            "a code of the help desk for p0001 is good when it is over",
        ),
        (
            "one-step-late", [PHONE, FirmAct(9 * HOUR, 4, Mishap.PHONE_CLOCK, 0, 1)],
            "the clock of p0001's telephone is -60 s off",
            "p0001 is let in with a code that is 2 steps off",
        ),
        (
            "barred-signs-in",
            [PHONE, FirmAct(9 * HOUR, 4, Verb.LEAVE, 0, 1), FirmAct(10 * HOUR, 5, Verb.PORTAL, 0)],
            "p0001, who has left, is at the portal with the telephone: password",
            "p0001 was asked for a second factor after leaving the firm",
        ),
        (
            "on-a-shelf", [FirmAct(5 * HOUR + 90, 4, Verb.SWEEP)],
            "the station makes card TS00000001 for p0001",
            "the seed of card TS00000001 is in server.db-wal in clear",
        ),
        (
            "one-code-at-the-desk", [FirmAct(8 * HOUR, 4, Verb.BORROW, 0, 1)],
            "the desk lends card TS00000003 to p0001",
            "the desk may not lend card TS00000003 to p0001",
        ),
        (
            "not-in-a-row", [TOO_OFTEN, FirmAct(10 * HOUR, 5, Verb.LOG_IN, 0)],
            "card TS00000001 is found again: by two codes that are not in a row, wrong",
            "two codes that are not in a row have found card TS00000001 again",
        ),
    ],
)  # fmt: skip
def test_what_strangers_try_is_seen_where_it_is_let(
    name: str, acts: list[FirmAct], told: str, wrong: str, planted: bool
) -> None:
    shipped = fresh.image(boards.DEFAULT)
    played = sorted((*MADE, *acts), key=lambda act: act.at)
    if planted:
        with zoo.planted(zoo.find(name), shipped) as image:
            result = simulate(TWO, played, image=image)
        assert any(wrong in one for one in result.violations)
        return
    result = simulate(TWO, played, image=shipped)
    assert result.violations == []
    assert told in [one.words for one in result.told]


def test_a_telephone_that_was_ahead_and_is_behind_is_taken_both_times() -> None:
    """The server remembers nothing of how far it was off."""
    twice = [FirmAct(hour * HOUR, hour, Mishap.PHONE_CLOCK, 0, draw) for hour, draw in _BOTH_WAYS]
    result = simulate(TWO, [*MADE, PHONE, *twice], image=fresh.image(boards.DEFAULT))
    told = [one.words for one in result.told]
    assert result.violations == []
    for said in ("+30 s off", "-30 s off"):
        assert f"the clock of p0001's telephone is {said}" in told
    assert told.count("p0001 is at the portal with the telephone: in") == 2
