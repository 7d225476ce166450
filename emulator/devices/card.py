"""An emulated card: a board with its parts, and the verbs of somebody who holds it.

    card = Card(Image.load(path), identity=Identity.derive("TS00000001", 20260101).encode(), seed=1)
    card.power_on()
    card.press()
    print(card.read_code())

One thread. Nothing happens but in a call; a call returns when the firmware waits for the outside.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import CardBoard, card_board
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.chip.wires import SpiPart
from tallystick.emulator.devices.device import MS, Device
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.wiring import Wiring, load_of
from tallystick.emulator.parts.button import Button
from tallystick.emulator.parts.cells import CELLS, CellType
from tallystick.emulator.parts.coin_cell import ROOM_C, CoinCell
from tallystick.emulator.parts.flash_memory import FlashPool
from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.part import BoardPart
from tallystick.emulator.parts.soldered.oled import Oled
from tallystick.emulator.parts.soldered.push_button import PushButton
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.parts.supply import Supply
from tallystick.emulator.seeing.frames import MEMORY_LCD, OLED, Frame, Palette
from tallystick.emulator.seeing.reading import read_code

_ANSWER_MS = 5_000  # a press that woke the slowest chip has been answered by then
_BUTTON, _DOCK = "the button", "the dock"
_LOADS = ("chip", "chip asleep", "flash", "display", "button", "leakage")


@dataclass(frozen=True)
class Fittings:
    """`parts` are wired before power-on. kit: a card's own button, dock contact, display and cell
    sense are there as well. cell: what feeds a board without a kit; None: its cable."""

    parts: tuple[BoardPart, ...] = ()
    kit: bool = True
    cell: CellType | None = None

    @property
    def cabled(self) -> bool:
        """Fed over a cable, whatever it takes."""
        return not self.kit and self.cell is None


class Card(Device):
    """`identity` is the per-card segment. `seed` fixes every random choice of the run. kept_in:
    see `NorFlash`.

    Raises BadInputError for an image of another device's board.
    """

    board: CardBoard

    start_again = "Power the card off and on to start it again."

    def __init__(
        self,
        image: Image,
        *,
        identity: bytes = b"",
        seed: int = 0,
        cell: CellType | None = None,
        temperature_c: float = ROOM_C,
        trace: Trace | None = None,
        pool: FlashPool | None = None,
        kept_in: int | None = None,
        fittings: Fittings | None = None,
    ) -> None:
        """fittings: what is soldered to the board, in place of what a card has."""
        board = card_board(image.board)
        rng = random.Random(seed)
        super().__init__(image, identity, rng, trace, pool, kept_in)
        self.board = board
        self.fittings = fittings = fittings or Fittings()
        self.cell = CoinCell(cell or fittings.cell or CELLS[board.cell], temperature_c)
        loads = (*_LOADS, *(load_of(part) for part in fittings.parts))
        self.supply = supply = Supply(self.cell, loads)
        self.mcu.feed_from(supply, board.brown_out_mv)
        self.display = self._wire_display(supply.load("display"))
        self._button_load = supply.load("button")
        self.button = Button(self.clock, random.Random(rng.randbytes(16)), self._button_moves)
        supply.load("leakage")(board.currents.leakage)
        supply.docked = fittings.cabled
        if fittings.kit:
            self.mcu.on_adc[board.cell_channel] = supply.voltage_mv
            self.let_go_of_all()
        self._solder(rng)

    def _solder(self, rng: random.Random) -> None:
        """The first button and the first display are those that a person presses and looks at."""
        parts = self.fittings.parts
        for part in parts:
            part.wire(Wiring(self.mcu, self.supply, part, random.Random(rng.randbytes(16))))
        buttons = [part.button for part in parts if isinstance(part, PushButton)]
        glasses = [part.glass for part in parts if isinstance(part, Oled)]
        if buttons and not self.fittings.kit:
            self.button = buttons[0]
        if glasses and not self.fittings.kit:
            self.display = glasses[0]

    def part(self, name: str) -> BoardPart:
        """What board.toml calls so. Raises BadInputError."""
        for part in self.fittings.parts:
            if part.name == name:
                return part
        names = ", ".join(part.name for part in self.fittings.parts) or "none"
        raise BadInputError(f"There is no part {name!r} on this board.", todo=f"It has: {names}.")

    def do(self, name: str, action: str, value: Any = None) -> None:
        """Something happens to a part, and the firmware's answer is waited for. Raises
        BadInputError, FirmwareCrashError."""
        self.part(name).do(action, value)
        self.settle()

    def _power_parts(self, on: bool) -> None:
        for part in self.fittings.parts:
            part.power(on)

    def _button_moves(self, level: int) -> None:
        self._button_load(self.board.currents.button if level else 0.0)
        if self.fittings.kit:
            contact = self.board.button_active if level else None
            self.mcu.set_input(self.board.button_pin, contact, _BUTTON)

    def let_go_of_all(self) -> None:
        """Nobody is at the button, and it lies on no dock: both contacts are open."""
        pins, board = self.mcu.pins, self.board
        for pin, active, name in (
            (board.button_pin, board.button_active, _BUTTON),
            (board.dock_pin, board.dock_active, _DOCK),
        ):
            self.mcu.set_input(pin, None, name)
            pins.rest(pin, 1 ^ active)

    def _wire_display(self, load: Callable[[float], None]) -> MemoryLcd | Ssd1306:
        board = self.board
        if not self.fittings.kit:
            return Ssd1306()  # a card's verbs want one: nothing is ever on it
        if board.display == "memory_lcd":
            outputs = self.mcu.pins.on_output
            lcd = MemoryLcd(clock_us=lambda: self.clock.now, on_current=load)
            if board.display_power_pin >= 0:
                outputs[board.display_power_pin] = lambda level: lcd.power(bool(level))
            outputs[board.display_select_pin] = lcd.spi_select
            sck, mosi = board.display_pins
            self.mcu.wires.spi.append(SpiPart(sck, mosi, lcd.spi_write))
            return lcd
        oled = Ssd1306(on_current=load)
        self.mcu.wires.i2c.append((board.display_pins, oled))
        return oled

    def close(self) -> None:
        self.mcu.close()  # which the instruments still see
        for probe in self.mcu.probes:
            probe.close()
        self.flash.close()

    def attach(self, probe: Probe) -> None:
        """Connects an instrument. It is closed with the card."""
        self.mcu.probes.append(probe)
        self.supply.listener = self._tell_current

    def detach(self, probe: Probe) -> None:
        """Disconnects an instrument, which writes what it has left."""
        self.mcu.probes.remove(probe)
        probe.close()

    def _tell_current(self, duration_us: int, currents_ua: list[float]) -> None:
        for probe in self.mcu.probes:
            probe.current(self.clock.now, duration_us, currents_ua)

    # -- power and time ------------------------------------------------------------------------

    def power_on(self) -> None:
        """Inserts the cell: runs until the firmware sleeps or waits for the outside."""
        self._power_display(True)
        self._power_parts(True)
        self.mcu.power_on()
        self.settle()

    def power_off(self) -> None:
        """Pulls the cell."""
        self.mcu.power_off()
        self.on_power_lost()

    def _power_display(self, on: bool) -> None:
        if self.fittings.kit:
            self.display.power(on and self.board.display_power_pin < 0)

    def settle(self, limit_ms: int = 300) -> None:
        """Runs up to `limit_ms` of virtual time, less when the firmware waits for longer than that
        or sleeps. Raises FirmwareCrashError."""
        end = self.clock.now + limit_ms * MS
        while self.clock.now < end:
            self.mcu.settle()
            self.after_run()
            due = self.next_time()
            if due is None or due > end:
                return
            self.mcu.run(due)
        self.mcu.settle()
        self.after_run()

    def on_power_lost(self) -> None:
        self._power_display(False)
        self._power_parts(False)

    def advance(self, until_us: int, wall_s: float) -> bool:
        """Lets virtual time pass until `until_us`, for at most `wall_s` of wall time. True when
        there. Raises FirmwareCrashError."""
        end = time.monotonic() + wall_s
        self.mcu.run(until_us, stop=lambda: time.monotonic() >= end)
        self.mcu.settle()
        self.after_run()
        return self.clock.now >= until_us

    def set_cell_mv(self, mv: int | None) -> None:
        """Pins the cell's open-circuit voltage, or (None) gives it back to the discharge curve.
        Below the brown-out voltage the card loses power, as when the cell is pulled."""
        self.cell.fixed_mv = mv
        if not self.supply.docked and self.supply.voltage_mv() < self.board.brown_out_mv:
            self.power_off()

    # -- the person ----------------------------------------------------------------------------

    def press(self, ms: int = 120) -> None:
        """Presses the button for `ms`, lets go, and waits for the screen to settle: of a card that
        slept as long as its chip takes to say something, or to sleep again.
        """
        asleep = self.mcu.state is ChipState.ASLEEP
        self.button.push()
        self.clock.after(ms * MS, self.button.release)
        self.run_for(ms)
        self.settle()
        if asleep:
            self.run_until(self._has_answered, _ANSWER_MS)
            self.settle()

    def _has_answered(self) -> bool:
        return self.mcu.state is not ChipState.RUNNING or not self.frame().blank

    def hold_down(self) -> None:
        """Presses the button and keeps it down."""
        self.button.push()
        self.settle()

    def let_go(self) -> None:
        self.button.release()
        self.settle()

    def frame(self) -> Frame:
        """What is on the glass."""
        return Frame(self.display.width, self.display.height, bytes(self.display.pixels))

    @property
    def palette(self) -> Palette:
        return MEMORY_LCD if isinstance(self.display, MemoryLcd) else OLED

    def read_code(self) -> str | None:
        """The code on the glass, read from its pixels; None when there is none."""
        return read_code(self.frame())

    # -- the dock ------------------------------------------------------------------------------

    def dock(self, on_send: Callable[[bytes], None] | None = None) -> None:
        """Puts the card on the contacts; bytes that it sends go to `on_send`."""
        self.mcu.uart.on_send = on_send
        self.supply.docked = True
        if self.fittings.kit:
            self.mcu.set_input(self.board.dock_pin, self.board.dock_active, _DOCK)
        self.settle()

    def undock(self) -> None:
        self.mcu.uart.on_send = None
        self.supply.docked = self.fittings.cabled
        if self.fittings.kit:
            self.mcu.set_input(self.board.dock_pin, None, _DOCK)
        self.settle()

    def send(self, data: bytes) -> None:
        """Bytes to the card, taking the time of the wire."""
        self.mcu.run(self.clock.now + round(len(data) * self.mcu.uart.byte_us()))
        self.mcu.feed_uart(data)
        self.mcu.settle()
        self.after_run()
