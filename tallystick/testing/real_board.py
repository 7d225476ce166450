"""A board on the desk with a firmware of one's own, in a test's hands."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import pytest
import serial

from tallystick.common.errors import BadInputError
from tallystick.emulator.seeing.frames import Frame
from tallystick.provisioning.card.connection import CardConnection
from tallystick.testing.cards import CardUnderTest
from tallystick.testing.golden import Golden
from tallystick.testing.hands import OwnHands

_BAUD = 115_200


class PartSeen:
    """A part of board.toml, as far as the hands can see it: its attributes are what `look` says
    when they are asked for."""

    def __init__(self, name: str, look: Callable[[str], dict[str, Any]]) -> None:
        self._name = name
        self._look = look

    def __getattr__(self, attribute: str) -> Any:
        seen = self._look(self._name)
        if attribute not in seen:
            pytest.skip(f"{self._name}.{attribute} is nothing that these hands can see")
        return seen[attribute]


class RealBoard(CardUnderTest):
    """What it prints comes over its serial port; all else is done and seen by hands, and what they
    have no method for skips the test, by name."""

    backend = "a real board"

    def __init__(self, port: str, hands: OwnHands, golden: Golden) -> None:
        """It starts anew where the hands have its power. Raises BadInputError for a port that
        cannot be opened."""
        super().__init__(port, golden)
        self._hands = hands
        self._printed = ""
        try:
            self._line = serial.Serial(port, _BAUD, timeout=0)
        except serial.SerialException as error:
            raise BadInputError(
                f"{port} cannot be opened: {error}.",
                kept="Nothing was done to the board.",
                todo="Plug the board in, and name its port: --tally-backend=serial:DEV.",
            ) from None
        self._told_before = len(self._all_printed())
        if callable(power := getattr(hands, "power", None)):
            power(False)
            power(True)

    def close(self) -> None:
        self._line.close()

    def _hand(self, method: str, verb: str) -> Callable[..., Any]:
        """What the hands have for it. Skips the test when they have nothing."""
        found = getattr(self._hands, method, None)
        if not callable(found):
            pytest.skip(
                f"board.{verb} is nothing that these hands can do: they have no {method}() "
                "(tallystick.testing.hands)"
            )
        action: Callable[..., Any] = found
        return action

    @property
    def console(self) -> str:
        return self._all_printed()[self._told_before :]

    def _all_printed(self) -> str:
        if callable(heard := getattr(self._hands, "console", None)):
            return str(heard())
        while more := self._line.read(65_536):
            self._printed += more.decode(errors="replace").replace("\r\n", "\n")
        return self._printed

    def press(self, ms: int = 120) -> None:
        self._hand("press", "press")(ms)

    def press_part(self, name: str, ms: int = 120) -> None:
        self._hand("press_part", "press_part")(name, ms)

    def do(self, name: str, action: str, value: Any = None) -> None:
        self._hand("do", "do")(name, action, value)

    def part(self, name: str) -> PartSeen:
        return PartSeen(name, self._hand("look", "part"))

    def code(self) -> str | None:
        found: str | None = self._hand("code", "code")()
        return found

    def pass_time(self, seconds: float) -> None:
        """It passes: for real, unless the hands know better."""
        getattr(self._hands, "wait", time.sleep)(seconds)

    def pull_cell(self) -> None:
        self._hand("power", "pull_cell")(False)

    def insert_cell(self) -> None:
        self._hand("power", "insert_cell")(True)

    # -- what nobody can do --------------------------------------------------------------------

    def docked(self) -> AbstractContextManager[CardConnection]:
        self._cannot("board.docked")

    def screen(self) -> Frame:
        self._cannot("board.screen")

    def assert_screen(self, name: str) -> None:
        self._cannot("board.assert_screen")

    def wait_dark(self, limit_s: float = 120.0) -> None:
        self._cannot("board.wait_dark")

    def set_cell(self, mv: int | None) -> None:
        self._cannot("board.set_cell")

    def cut_power_at_flash(self, number: int = 0, phase: Any = None) -> NoReturn:
        self._cannot("board.cut_power_at_flash")
