"""What a card and a reader on an RP2350 have in common: the chip with its flash, and the verbs of
power and time. Times are virtual: µs since it was made; durations in ms."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from tallystick.emulator.boards.board import Board
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.nor_flash import FaultPlan, NorFlash
from tallystick.faults.flash import PowerLostError
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.chip import FLASH, Rp2350
from tallystick.tools.second_opinion.rp2350.otp import Otp

MS = 1e6  # ns
_ID = bytes.fromhex("5f4b2a60186116e6")
_BREAK_AND_RETURN = bytes.fromhex("00be7047")  # BKPT, BX LR


class ChipClock(Clock):
    """The chip's time, for the parts of our emulator that hang on it."""

    def __init__(self, core: Cortex) -> None:
        self._core = core
        super().__init__()

    @property
    def now(self) -> int:
        return int(self._core.now_ns / 1000)

    @now.setter
    def now(self, value: int) -> None:
        """It goes by itself."""

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        self._core.after(max(0.0, time_us * 1000 - self._core.now_ns), action)


class ChipBoard:
    """`flash` are (offset, bytes). `chip_random`: what the factory burnt into its one-time
    programmable memory, 16 bytes. `seed` is that of the chip's noise.
    """

    def __init__(
        self,
        board: Board,
        flash: Iterable[tuple[int, bytes]],
        *,
        seed: int = 1,
        chip_random: bytes = bytes(16),
    ) -> None:
        self.board = board
        self.memory = NorFlash(board.flash_size, board.flash_timing)
        for offset, data in flash:
            self.memory.load(offset, data)
        self.otp = Otp(chip_random)
        self._rng = random.Random(seed)
        self.chip = Rp2350(self.memory, self.otp, self._rng, _ID)
        self.chip.flash_chip.on_operation = self._writes
        self.core = self.chip.core
        self.core.held = True
        self.clock = ChipClock(self.core)
        self.powered = False
        self.faults = self.core.faults
        self.sent = bytearray()  # over the serial line
        self.on_send: Callable[[bytes], None] | None = None
        self._uart = self.chip.uarts[board.uart]
        self._uart.on_byte = self._from_uart
        self._line_ns = 0.0  # the last byte on it arrives then
        self._probes: list[Probe] = []
        self._until: Callable[[], bool] | None = None

    def close(self) -> None:
        self.memory.close()

    def attach(self, probe: Probe) -> None:
        self._probes.append(probe)

    @property
    def fault_plan(self) -> FaultPlan | None:
        return self.memory.fault_plan

    @fault_plan.setter
    def fault_plan(self, plan: FaultPlan | None) -> None:
        self.memory.fault_plan = plan

    @property
    def boots(self) -> int:
        """Starts, from power-on or reset."""
        return self.chip.boots

    @property
    def now_us(self) -> float:
        return self.core.now_ns / 1000

    @property
    def cpu_us(self) -> float:
        """CPU time: what was executed, without what was slept."""
        return self.core.cpu_ns / 1000

    @property
    def flash(self) -> bytes:
        return bytes(self.memory.memory[: self.board.flash_size])

    def give_random(self, address: int, source: Callable[[int], bytes]) -> None:
        """MicroPython's `mp_hal_get_random(size, buffer)`, at `address`, has its bytes from there:
        only so can what two chips answer be the same."""

        def play() -> None:
            self.core.load(self.core.reg(1), source(self.core.reg(0)))

        self.memory.load((address & ~1) - FLASH, _BREAK_AND_RETURN)
        self.chip.rom.also(address, play)

    # -- power and time ------------------------------------------------------------------------

    def power_on(self) -> None:
        self.memory.power_up(self._rng)
        self.powered = True
        self.core.held = False
        self.chip.power_on()

    def power_off(self) -> None:
        """What was due in the chip is not any more."""
        self.powered = False
        self.core.held = True
        self.core.forget()

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        """Runs for `ms`, less when `until()`: asked whenever the outside heard something. Whether
        it was. When power is cut at a write to flash, the chip has none from then on."""
        end = self.core.now_ns + ms * MS
        self._until = until
        try:
            while self.core.now_ns < end and not (until is not None and until()):
                self.core.run(end)
        except PowerLostError:
            self.power_off()
        finally:
            self._until = None
        return until is not None and until()

    def heard(self) -> None:
        """The outside heard something: `run` may be over."""
        if self._until is not None:
            self.core.stop()

    # -- the serial line, and flash ------------------------------------------------------------

    def put_on_line(self, data: bytes, baud: float) -> None:
        """Bytes to the chip, one after the other, behind what is on the line already. `baud`: bits
        a second."""
        now = self.core.now_ns
        self._line_ns = max(self._line_ns, now)
        for byte in data:
            self._line_ns += 10e9 / baud
            self.core.after(self._line_ns - now, partial(self._arrives, byte, baud))

    def _arrives(self, byte: int, baud: float) -> None:
        self._uart.receive(byte, baud)
        for probe in self._probes:
            probe.serial(round(self.now_us), bytes([byte]), to_card=True)

    def _from_uart(self, byte: int, _baud: float) -> None:
        self.sent.append(byte)
        for probe in self._probes:
            probe.serial(round(self.now_us), bytes([byte]), to_card=False)
        if self.on_send is not None:
            self.on_send(bytes([byte]))
        self.heard()

    def _writes(self, kind: str, address: int, size: int, duration_us: int) -> None:
        for probe in self._probes:
            probe.flash(round(self.now_us), kind, address, size, duration_us)
