"""An emulated fingerprint reader: a board with its sensor, and the verbs of host and person.

    reader = Reader(Image.load(path), identity=ReaderIdentity.development("TR00000001").encode(),
    sensor=sensor) reader.power_on() reader.write_report(report) reader.run_until(lambda:
    bool(reader.reports))

One thread. Nothing happens but in a call; a call returns when the firmware waits for the outside.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from tallystick.emulator.card import FirmwareCrashError
from tallystick.emulator.clock import Clock
from tallystick.emulator.image import Image
from tallystick.emulator.mcu import Mcu, State
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.emulator.trace import Trace

MS = 1000  # µs
REPORT = 64


class Sensor(Protocol):
    """What the reader's board sees of a fingerprint module.

    receive: bytes on the module's RXD. on_send: bytes on its TXD, at the instant when they have
    arrived. on_touch: its touch output, True while a finger lies on it.
    """

    on_send: Callable[[bytes], None] | None
    on_touch: Callable[[bool], None] | None

    def receive(self, data: bytes) -> None: ...

    def power(self, on: bool) -> None: ...


class Reader:
    """`identity` is the per-reader segment. `seed` fixes every random choice of the run.

    reports: what the reader has sent to the host, 64 bytes each, unless `on_report` takes them.
    """

    def __init__(
        self,
        image: Image,
        *,
        identity: bytes,
        sensor_for: Callable[[Clock], Sensor] | None = None,
        seed: int = 0,
        trace: Trace | None = None,
    ) -> None:
        self.image = image
        self.board = board = image.board
        self.clock = Clock()
        self.trace = Trace() if trace is None else trace
        self.flash = NorFlash(board.flash_size, board.flash_timing)
        for address, data in image.segments:
            self.flash.load(address, data)
        self.flash.load(board.identity.address, identity)
        rng = random.Random(seed)
        self.mcu = Mcu(board, self.flash, self.clock, random.Random(rng.randbytes(16)), self.trace)
        self.reports: deque[bytes] = deque()
        self.on_report: Callable[[bytes], None] = self.reports.append
        self.mcu.usb.on_report = self._from_usb
        self.sensor: Sensor | None = None
        self._asked = False  # the sensor has a command and has not answered
        self.led = False  # the reader waits for a finger
        self.mcu.on_output[board.led_pin] = self._set_led
        self._touch(False)
        if sensor_for is not None:
            self.plug_sensor(sensor_for(self.clock))

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.mcu.close()
        self.flash.close()

    # -- the sensor's cable --------------------------------------------------------------------

    def plug_sensor(self, sensor: Sensor) -> None:
        self.sensor = sensor
        sensor.on_send = self._from_sensor
        sensor.on_touch = self._touch
        self.mcu.uart.on_send = self._to_sensor
        sensor.power(self.powered)

    def unplug_sensor(self) -> None:
        """Nothing answers any more, and the touch line is pulled up."""
        if self.sensor is not None:
            self.sensor.power(False)
            self.sensor.on_send = self.sensor.on_touch = None
        self.sensor = None
        self.mcu.uart.on_send = None
        self._touch(False)

    def _from_usb(self, report: bytes) -> None:
        self.on_report(report)

    def _set_led(self, level: int) -> None:
        self.led = bool(level)

    def _to_sensor(self, data: bytes) -> None:
        self._asked = True
        if self.sensor is not None:
            self.sensor.receive(data)

    def _from_sensor(self, data: bytes) -> None:
        self._asked = False
        if self.powered:
            self.mcu.feed_uart(data)

    def _touch(self, touched: bool) -> None:
        active = self.board.touch_active
        self.mcu.set_input(self.board.touch_pin, active if touched else 1 ^ active)

    @property
    def working(self) -> bool:
        """Sensor or USB are at something that ends by itself, soon."""
        return self._asked or self.mcu.usb.under_way > 0

    # -- power and time ------------------------------------------------------------------------

    @property
    def powered(self) -> bool:
        return self.mcu.state is not State.OFF

    def power_on(self, settle_ms: int = 400) -> None:
        """Plugs the reader in; runs until it is ready."""
        if self.sensor is not None:
            self.sensor.power(True)
        self.mcu.power_on()
        self.run_for(settle_ms)

    def power_off(self) -> None:
        """Pulls it out."""
        self.mcu.power_off()
        if self.sensor is not None:
            self.sensor.power(False)
        self.reports.clear()

    def next_time(self) -> int | None:
        """Virtual time (µs) at which something happens by itself; None when nothing will."""
        times = [t for t in (self.mcu.wait_deadline, self.clock.next_event()) if t is not None]
        return min(times) if times else None

    def run_for(self, ms: float) -> None:
        """Lets `ms` of virtual time pass. Raises FirmwareCrashError."""
        self.run_to(self.clock.now + round(ms * MS))

    def run_to(self, time_us: int) -> None:
        """Lets virtual time pass until `time_us`. Raises FirmwareCrashError."""
        self.mcu.run(time_us)
        self.mcu.settle()
        self._after_run()

    def run_until(self, done: Callable[[], bool], limit_ms: int = 60_000) -> bool:
        """Runs until `done()`, at most `limit_ms` of virtual time. True when done."""
        self.mcu.run(self.clock.now + limit_ms * MS, stop=done)
        self._after_run()
        return done()

    def _after_run(self) -> None:
        if self.mcu.crash:
            text, self.mcu.crash = self.mcu.crash, ""
            raise FirmwareCrashError(
                f"The firmware stopped with an exception:\n{text.strip()}",
                kept="The flash is as it was at that instant.",
                todo="Unplug the reader and plug it in again.",
            )
        if not self.powered and self.sensor is not None:
            self.sensor.power(False)

    # -- the host ------------------------------------------------------------------------------

    def write_report(self, report: bytes) -> None:
        """The host sends 64 bytes."""
        self.mcu.usb.offer(report[:REPORT].ljust(REPORT, b"\0"))
