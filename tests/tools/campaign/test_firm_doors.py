"""Doors that strangers and colleagues try, and places in which a seed could be left: each animal at
one of them has a short story, of which what ships has nothing to say."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from tallystick.emulator import boards
from tallystick.server.accounts import sessions
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import doors, zoo
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import (
    SHORT_LOAN_OF,
    UNREAD_OF,
    FirmAct,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
)

HOUR = 3600
FEW = SimulatedFirm(cards=4, readers=2, days=1, level=Level.NONE)  # three people's, and a spare
MADE = [FirmAct(5 * HOUR + 60 * card, card, Verb.PROVISION, card) for card in range(4)]
PHONES = [FirmAct(6 * HOUR + who, 10 + who, Verb.PHONE, who) for who in (0, 1)]
READERS = [FirmAct(4 * HOUR + who, 20 + who, Verb.ENROL_READER, who) for who in (0, 1)]
THIRTEEN = 5  # a draw with which a stranger guesses thirteen times at once


def _at(hour: float, what: str, who: int = 0, draw: int = 1) -> FirmAct:
    return FirmAct(round(hour * HOUR), 30 + round(hour * 10), what, who, draw)


STORIES = {
    "lifted-early": ([_at(9, Verb.GUESS, 0, THIRTEEN)], "p0001 is judged while|is judged while"),
    "lost-later": ([_at(9, Verb.LOSE, 0, 1)], "lost card TS00000001 let somebody in as p0001"),
    "old-password": ([*PHONES, _at(9, Verb.RECOVER)], "the old password of p0001 is still good"),
    "a-colleagues-code": (
        [_at(9, Verb.REPLAY)], "p0002 was let in with a code of p0001",
    ),
    "a-colleagues-telephone": (
        [*PHONES, _at(9, Verb.PHISH)], "let somebody in as p0001 without the second factor",
    ),
    "a-colleagues-thumb": (
        [*READERS, _at(9, Verb.THUMB, 1), _at(10, Verb.STRANGE_THUMB, 0)],
        "let somebody in as p0001 without the second factor",
    ),
    "another-firms": (
        [_at(9, Verb.REPLAY)], "another firm's service was told that a code of p0001 is right",
    ),
    "another-services": (
        [_at(9, Verb.REPLAY)], "a code that p0001 had used was accepted for another service",
    ),
    "help-for-anybody": (
        [*PHONES, _at(9, Verb.CALL, 0, 2)], "'help-code-wrong'|the help desk's code for p0001",
    ),
    "wide-at-the-desk": (
        [_at(8, Verb.BORROW, 0, 4)], "a code 10 ahead was enough at the desk",
    ),
    "found-from-afar": (
        [_at(9, Verb.REPLAY)], "two codes beyond the window found card TS00000001 again",
    ),
    "any-code-at-the-desk": (
        [_at(8, Verb.BORROW, 0, 5)], "with a code that it does not show",
    ),
    "reason-unwritten": (
        [_at(8, Verb.BORROW, 0, 2), _at(9, Verb.GIVE_BACK, 0, 2 * UNREAD_OF)],
        "is 'card-returned' of TS00000004",
    ),
    "starts-behind": (
        [_at(9, Verb.LOG_IN, 0, 2), _at(9.5, Mishap.SERVER_ENDS, 0, 0), _at(10, Verb.LOG_IN, 1, 2),
         _at(11, Verb.SWEEP)],
        "the server has forgotten that a code was used",
    ),
    "short-quarter": (
        [*PHONES, _at(9.1, Verb.PHISH)], "and not for a quarter",
    ),
    "telephone-in-the-open": (
        [*PHONES[:1], _at(7, Verb.SWEEP)], "the seed of p0001's telephone 1 is in server.db-wal",
    ),
    "seed-shown": ([], "the seed of card TS00000001 is in the log in clear"),
    "seed-printed": ([], "the seed of card TS00000001 is in what the programs say in clear"),
    "seed-left-behind": ([], "the seed of card TS00000004 is in left-behind in clear"),
    "seed-for-a-moment": ([], "the seed of card TS00000001 is in a file that is gone in clear"),
    "written-elsewhere": ([], "is written elsewhere"),
}  # fmt: skip


_LEFT_WITH_NOTHING = [PHONES[0], _at(9, Verb.LOSE, 0, 1), _at(9.2, Verb.CALL, 0, 2)]


@pytest.mark.parametrize("planted", [False, True])
def test_whoever_has_nothing_left_may_only_enrol(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card is lost, and no other one has come yet, when the help desk is called."""
    genuine = sessions.open_session

    def unbounded(connection: Connection, **said: Any) -> str:
        return genuine(connection, **said | {"enrol_only": False})

    if planted:
        monkeypatch.setattr(sessions, "open_session", unbounded)
    acts = sorted((*MADE, *_LEFT_WITH_NOTHING), key=lambda act: act.at)
    result = simulate(FEW, acts, image=fresh.image(boards.DEFAULT))
    assert "p0001 has nothing left, and may only enrol" in [one.words for one in result.told]
    wrong = ["a code of the help desk lets p0001 do more than enrol"]
    assert result.violations == (wrong if planted else [])


def test_each_animal_has_its_story() -> None:
    assert STORIES.keys() == {one.name for one in doors.DOORS}
    assert SHORT_LOAN_OF == 9  # none of the draws above asks for a loan by hours


def _lived(name: str, *, planted: bool) -> list[str]:
    shipped = fresh.image(boards.DEFAULT)
    acts = sorted((*MADE, *STORIES[name][0]), key=lambda act: act.at)
    if not planted:
        return simulate(FEW, acts, image=shipped).violations
    with zoo.planted(zoo.find(name), shipped) as image:
        return simulate(FEW, acts, image=image).violations


@pytest.mark.parametrize("name", STORIES)
def test_what_is_let_through_is_seen(name: str) -> None:
    wrong = _lived(name, planted=True)
    assert any(words in one for words in STORIES[name][1].split("|") for one in wrong), wrong


@pytest.mark.parametrize("name", [name for name in STORIES if STORIES[name][0]])
def test_of_what_ships_there_is_nothing_to_say(name: str) -> None:
    assert _lived(name, planted=False) == []
