"""What a card and a reader have in common: a chip with its flash on a clock, and the verbs of
time. One thread; nothing happens but in a call."""

from __future__ import annotations

import random
from collections.abc import Callable

from tallystick.common.closing import Closing
from tallystick.common.errors import TallyError
from tallystick.emulator.chip.mcu import ChipState, Mcu
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.clock import Clock
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.flash_memory import FlashPool
from tallystick.emulator.parts.nor_flash import NorFlash

MS = 1000  # µs
_SLICE_US = 1000  # how long a firmware that is at work is left to it


class FirmwareCrashError(TallyError):
    """An exception reached the top of the firmware. `what` ends with MicroPython's traceback."""


class WiringError(TallyError):
    """Two drive one wire against one another."""


class Device(Closing):
    """`identity` is the per-device segment, `rng` every random choice of the run. `pool` has the
    flash memory that devices of a fleet share. kept_in: see `NorFlash`; the image and the identity
    are written over what the file holds of them."""

    start_again = ""  # what to do after a crash

    def __init__(
        self,
        image: Image,
        identity: bytes,
        rng: random.Random,
        trace: Trace | None,
        pool: FlashPool | None = None,
        kept_in: int | None = None,
    ) -> None:
        self.image = image
        self.board = board = image.board
        self.clock = Clock()
        self.trace = Trace() if trace is None else trace
        self.flash = NorFlash(board.flash_size, board.flash_timing, pool=pool, kept_in=kept_in)
        if pool is None:
            for address, data in image.segments:
                self.flash.load(address, data)
        if identity:
            self.flash.load(board.identity.address, identity)
        self.mcu = Mcu(
            board, self.flash, self.clock, random.Random(rng.randbytes(16)), self.trace,
            writable=image.writable,
        )  # fmt: skip
        self.mcu.prints, self.mcu.console.source_lines = image.prints, image.lines

    def close(self) -> None:
        self.mcu.close()
        self.flash.close()

    @property
    def powered(self) -> bool:
        return self.mcu.state is not ChipState.OFF or self.mcu.in_reset

    @property
    def console(self) -> str:
        """What the firmware has printed so far (the last 65,536 characters)."""
        self.mcu.read_console()
        return self.mcu.console.printed

    def next_time(self) -> int | None:
        """Virtual time (µs) at which something happens by itself; None when nothing will. Soon for
        a firmware that only looks at the clock, which a run leaves at work."""
        if self.mcu.at_work:
            return self.clock.now + _SLICE_US
        times = [t for t in (self.mcu.wait_deadline, self.clock.next_event()) if t is not None]
        return min(times) if times else None

    def run_for(self, ms: float) -> None:
        """Lets `ms` of virtual time pass. Raises FirmwareCrashError."""
        self.run_to(self.clock.now + round(ms * MS))

    def run_to(self, time_us: int) -> None:
        """Lets virtual time pass until `time_us`. Raises FirmwareCrashError."""
        self.mcu.run(time_us)
        self.mcu.settle()
        self.after_run()

    def run_until(self, done: Callable[[], bool], limit_ms: int = 60_000) -> bool:
        """Runs until `done()`, at most `limit_ms` of virtual time. True when done."""
        self.mcu.run(self.clock.now + limit_ms * MS, stop=done)
        self.after_run()
        return done()

    def after_run(self) -> None:
        """What a run has led to is done here. Raises FirmwareCrashError."""
        self.mcu.read_console()
        pins = self.mcu.pins
        if pins.conflict:
            words, pins.conflict = pins.conflict, ""
            raise WiringError(
                words,
                kept="The flash is as it was at that instant.",
                todo="One of the two has to let go: look at the pin's mode, and at the wiring.",
            )
        if self.mcu.crash:
            text, self.mcu.crash = self.mcu.crash.strip(), ""
            traced = text.startswith("Traceback")
            raise FirmwareCrashError(
                f"The firmware stopped with an exception:\n{text}" if traced else text,
                kept="The flash is as it was at that instant.",
                todo=self.start_again,
            )
        if not self.powered:
            self.on_power_lost()

    def on_power_lost(self) -> None:
        """The chip has no power: what hangs on the same supply has none either."""
