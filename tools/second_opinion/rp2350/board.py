"""What a card and a reader on an RP2350 have in common: the chip with its flash, and the verbs of
time. Times are virtual."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from tallystick.emulator.boards.board import Board
from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.chip import Rp2350
from tallystick.tools.second_opinion.rp2350.otp import Otp

MS = 1e6  # ns
_ID = bytes.fromhex("5f4b2a60186116e6")
_CHUNK = 8  # bytes that are on the wire at a time


class ChipClock(Clock):
    """The chip's time, for the parts of our emulator that hang on it."""

    def __init__(self, core: Cortex) -> None:
        self._core = core
        super().__init__()

    @property
    def now(self) -> int:  # type: ignore[override]
        return int(self._core.now_ns / 1000)

    @now.setter
    def now(self, value: int) -> None:
        """It goes by itself."""

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        self._core.after(max(0.0, time_us * 1000 - self._core.now_ns), action)


class ChipBoard:
    """`flash` are (offset, bytes). `chip_random`: what the factory burnt, 16 bytes."""

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
        self.chip = Rp2350(self.memory, self.otp, random.Random(seed), _ID)
        self.core = self.chip.core
        self.clock = ChipClock(self.core)
        self._until: Callable[[], bool] | None = None
        self.uart = self.chip.uarts[board.uart]
        self.sent = bytearray()  # over the serial line
        self.uart.on_byte = self._from_uart
        self.on_send: Callable[[bytes], None] | None = None

    def close(self) -> None:
        self.memory.close()

    def power_on(self) -> None:
        self.chip.power_on()

    @property
    def boots(self) -> int:
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

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        """Runs for `ms`, less when `until()`, asked whenever the outside heard something. Whether
        it was."""
        end = self.core.now_ns + ms * MS
        self._until = until
        try:
            while self.core.now_ns < end and not (until is not None and until()):
                self.core.run(end)
        finally:
            self._until = None
        return until is not None and until()

    def heard(self) -> None:
        """The outside heard something: `run` may be over."""
        if self._until is not None:
            self.core.stop()

    def send(self, data: bytes, baud: float) -> None:
        """Bytes on the serial line to the chip, one after the other."""
        byte_ns = 10e9 / baud
        for n, byte in enumerate(data):
            self.core.after((n + 1) * byte_ns, lambda byte=byte: self.uart.receive(byte, baud))

    def _from_uart(self, byte: int, _baud: float) -> None:
        self.sent.append(byte)
        if self.on_send is not None:
            self.on_send(bytes([byte]))
        self.heard()
