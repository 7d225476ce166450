"""A card in a test's hands, emulated or real, by the same verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b32encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

import pyotp
import pytest

from tallystick.common.secret import Secret
from tallystick.emulator.devices.card import Card
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.emulator.seeing.frames import Frame, Palette
from tallystick.emulator.seeing.reading import read_code
from tallystick.provisioning.card.connection import CardConnection
from tallystick.testing.golden import Golden
from tallystick.testing.hands import Hands
from tallystick.tools.docked import DockedLink
from tallystick.tools.personalise import RFC4226_SEED, personalise_over
from tallystick.tools.second_opinion.chip import Chip
from tallystick.tools.second_opinion.scenario import ChipLink

HOLD_MS = 2500  # 1.5 s as the firmware counts them, and its start on the slowest chip


class CardUnderTest(ABC):
    """Verbs of somebody who holds the card. Waits are for a condition, never for a time."""

    def __init__(self, serial: str, golden: Golden) -> None:
        self.serial = serial
        self._golden = golden
        self._seed: Secret | None = None
        self._digits = 6

    # -- what every backend can do -------------------------------------------------------------

    @abstractmethod
    def press(self, ms: int = 120) -> None:
        """Press the button for `ms`, and let the screen settle."""

    @abstractmethod
    def code(self) -> str | None:
        """The code on the display now; None when there is none."""

    @abstractmethod
    def docked(self) -> AbstractContextManager[CardConnection]:
        """`with card.docked() as connection:` puts the card on the dock and takes it off again."""

    def hold(self) -> None:
        """Press until the card says who it is."""
        self.press(HOLD_MS)

    def read_code(self) -> str:
        """The code on the display. Fails the test when there is none."""
        code = self.code()
        if code is None:
            pytest.fail(f"card {self.serial} shows no code")
        return code

    def press_for_code(self) -> str:
        """Press, and the code that it gives."""
        self.press()
        return self.read_code()

    def personalise(self, seed: Secret = RFC4226_SEED, *, digits: int = 6) -> None:
        """Put in a seed that the test knows; the moving factor starts at 0."""
        with self.docked() as connection:
            personalise_over(connection, seed, digits=digits)
        self._seed, self._digits = seed, digits

    def expected_code(self, moving_factor: int) -> str:
        """What the card must show for a moving factor, by the seed of `personalise` (RFC 4226)."""
        if self._seed is None:
            raise ValueError("only a card that the test personalised has a seed that it knows")
        key = b32encode(self._seed.reveal()).decode()
        return pyotp.HOTP(key, digits=self._digits).at(moving_factor)

    # -- what not every backend can do: it skips, by name -------------------------------------

    backend = "this backend"

    def _cannot(self, verb: str) -> NoReturn:
        pytest.skip(f"{verb} is nothing that {self.backend} can do: --tally-backend=emulator")

    @property
    def console(self) -> str:
        """What the firmware has printed so far."""
        return self.device.console

    @property
    def device(self) -> Card:
        """The emulated card, for everything that has no verb. Skips the test on others."""
        self._cannot("card.device")

    def part(self, name: str) -> Any:
        """A part of board.toml, by its name: `card.part("lamp").lit`."""
        return self.device.part(name)

    def do(self, name: str, action: str, value: Any = None) -> None:
        """Something happens to a part: `card.do("up", "press")`, `card.do("air", "set", -4.5)`.
        Returns when the firmware has answered and waits."""
        self.device.do(name, action, value)

    def press_part(self, name: str, ms: int = 120) -> None:
        """Press one of several buttons for `ms`, let go, and wait for the firmware's answer."""
        self.device.part(name).do("down")
        self.device.run_for(ms)
        self.device.part(name).do("up")
        self.device.run_for(ms)

    def screen(self) -> Frame:
        """The pixels on the glass."""
        return self.device.frame()

    def assert_screen(self, name: str) -> None:
        """Compare the pixels with the accepted screen `name` of this test; `--golden` accepts."""
        device = self.device
        self._golden.compare(name, device.frame(), device.palette)

    def wait_dark(self, limit_s: float = 120.0) -> None:
        """Let virtual time pass until the display is dark."""
        device = self.device
        for _ in range(round(limit_s * 10)):
            if device.frame().blank:
                return
            device.run_for(100)
        pytest.fail(f"card {self.serial} was not dark after {limit_s} s")

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.device.run_for(seconds * 1000)

    def set_cell(self, mv: int | None) -> None:
        """The cell's open-circuit voltage; None gives it back to its own discharge."""
        self.device.cell.fixed_mv = mv

    def pull_cell(self) -> None:
        self.device.power_off()

    def insert_cell(self) -> None:
        self.device.power_on()

    def cut_power_at_flash(self, number: int = 0, phase: Phase = Phase.BEFORE) -> None:
        """Cut the power at the flash operation `number` from now, before, in or after it."""
        flash = self.device.flash
        at = flash.operations + number

        def plan(operation: FlashOperation) -> Cut | None:
            if operation.index != at:
                return None
            flash.fault_plan = None
            half = len(operation.new) // 2
            return Cut(phase, content=operation.new[:half] + operation.old[half:])

        flash.fault_plan = plan


class EmulatedCard(CardUnderTest):
    """In virtual time: nothing here takes longer than its computation."""

    def __init__(self, device: Card, serial: str, golden: Golden) -> None:
        super().__init__(serial, golden)
        self._device = device

    @property
    def device(self) -> Card:
        return self._device

    def press(self, ms: int = 120) -> None:
        self._device.press(ms)

    def code(self) -> str | None:
        return self._device.read_code()

    @contextmanager
    def docked(self) -> Iterator[CardConnection]:
        with CardConnection(DockedLink(self._device)) as connection:
            yield connection
        if self._device.powered:
            self._device.run_for(1000)  # undocked, it goes to sleep


_ANSWER_MS, _DARK_MS, _START_MS, _UNDOCKED_MS = 10_000, 300, 3_000, 5_000
_ASLEEP_MS = 1_000


class CardOnChip(CardUnderTest):
    """On a chip that is emulated instruction by instruction (`tally second-opinion`), under the
    MicroPython for it."""

    backend = "an instruction-level chip"

    def __init__(self, chip: Chip, palette: Palette, serial: str, golden: Golden) -> None:
        super().__init__(serial, golden)
        self._chip = chip
        self._palette = palette

    def press(self, ms: int = 120) -> None:
        self._chip.press(ms)
        self._chip.run(ms)
        self._chip.run(_ANSWER_MS, until=lambda: not self.screen().blank)
        self._chip.run(_DARK_MS)

    def code(self) -> str | None:
        return read_code(self.screen())

    @contextmanager
    def docked(self) -> Iterator[CardConnection]:
        with CardConnection(ChipLink(self._chip)) as connection:
            yield connection
        self._chip.run(_UNDOCKED_MS)

    def screen(self) -> Frame:
        return self._chip.frame()

    def assert_screen(self, name: str) -> None:
        self._golden.compare(name, self.screen(), self._palette)

    def wait_dark(self, limit_s: float = 120.0) -> None:
        if not self._chip.run(limit_s * 1000, until=lambda: self.screen().blank):
            pytest.fail(f"card {self.serial} was not dark after {limit_s} s")
        self._chip.run(_ASLEEP_MS)  # the glass is dark first, then the firmware goes to sleep

    def pass_time(self, seconds: float) -> None:
        self._chip.run(seconds * 1000)

    def pull_cell(self) -> None:
        self._chip.power_off()

    def insert_cell(self) -> None:
        self._chip.power_on()
        self._chip.run(_START_MS)

    def set_cell(self, mv: int | None) -> None:
        self._cannot("card.set_cell")

    def cut_power_at_flash(self, number: int = 0, phase: Phase = Phase.BEFORE) -> None:
        self._cannot("card.cut_power_at_flash")

    def part(self, name: str) -> Any:
        self._cannot("card.part")

    def do(self, name: str, action: str, value: Any = None) -> None:
        self._cannot("card.do")

    def press_part(self, name: str, ms: int = 120) -> None:
        self._cannot("card.press_part")

    @property
    def console(self) -> str:
        self._cannot("card.console")


class RealCard(CardUnderTest):
    """A board on a serial port, with somebody, or something, to press and to read."""

    backend = "a real board"

    def __init__(self, port: str, hands: Hands, golden: Golden) -> None:
        super().__init__("", golden)
        self._port = port
        self._hands = hands

    def press(self, ms: int = 120) -> None:
        self._hands.press(ms)

    def code(self) -> str | None:
        return self._hands.code()

    @contextmanager
    def docked(self) -> Iterator[CardConnection]:
        with CardConnection.open(self._port) as connection:
            yield connection
        self._hands.undocked()
