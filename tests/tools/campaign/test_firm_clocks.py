"""No clock of this computer has a say in a firm: neither in what the server tells a browser, nor in
what the browser makes of it, nor in what a firmware is given for its work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import httpx
import pytest

from tallystick.emulator import boards
from tallystick.emulator.interpreter import resident
from tallystick.tools import fresh
from tallystick.tools.campaign.firm.ground import House
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import FirmAct, Level, SimulatedFirm, Verb

HOUR, DAY = 3600, 86_400
FIRM = SimulatedFirm(cards=2, readers=0, days=1, level=Level.NONE)
ACTS = [
    FirmAct(5 * HOUR, 0, Verb.PROVISION, 0),
    FirmAct(6 * HOUR, 1, Verb.PHONE, 0),
    FirmAct(9 * HOUR, 2, Verb.PORTAL, 0),
    FirmAct(10 * HOUR, 3, Verb.RECOVER, 0),
]


def test_a_cookie_that_is_taken_back_is_over_since_long(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    genuine = House.answer

    def answer(house: House, request: httpx.Request, name: str) -> httpx.Response:
        said = genuine(house, request, name)
        told.extend(said.headers.get_list("set-cookie"))
        return said

    monkeypatch.setattr(House, "answer", answer)
    assert simulate(FIRM, ACTS, image=fresh.image(boards.DEFAULT)).violations == []
    over = [one for one in told if "expires=" in one]
    assert over and all("expires=Thu, 01 Jan 1970 00:00:00 GMT" in one for one in over)


def test_clocks_that_are_set_while_it_is_simulated_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By days, at each look; and the computer stands still for a quarter of an hour at times."""
    image = fresh.image(boards.DEFAULT)
    first = simulate(FIRM, ACTS, image=image)
    uneven, stood = random.Random(7), [0.0]

    def set_anew(clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + uneven.uniform(-30 * DAY, 30 * DAY)

    def stands(clock: Callable[[], float]) -> Callable[[], float]:
        def late() -> float:
            stood[0] += uneven.choice((0.0, 0.0, 900.0))
            return clock() + stood[0]

        return late

    monkeypatch.setattr(time, "time", set_anew(time.time))
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, stands(getattr(time, name)))
    result = simulate(FIRM, ACTS, image=image)
    assert stood[0] > DAY and "is at the portal with the telephone: in" in str(result.told)
    assert result.violations == []
    assert [str(one) for one in result.told] == [str(one) for one in first.told]
    assert result.digest == first.digest


def test_a_turn_that_begins_while_the_watchdog_looks_is_not_as_old_as_the_computer() -> None:
    """Between two turns there is none that could take too long."""
    watchdog = resident._Watchdog()
    assert watchdog._since is None
    watchdog._since = time.monotonic(), time.process_time()
    assert watchdog.rest() is False and watchdog._since is None
