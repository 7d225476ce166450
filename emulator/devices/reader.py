"""An emulated fingerprint reader: a board with its sensor, and the verbs of host and person.

    identity = ReaderIdentity.development("TR00000001").encode()
    reader = Reader(Image.load(path), identity=identity, sensor_for=lambda clock: sensor)
    reader.power_on()
    reader.write_report(report)
    reader.run_until(lambda: bool(reader.reports))

One thread. Nothing happens but in a call; a call returns when the firmware waits for the outside.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from tallystick.emulator.boards.board import ReaderBoard, reader_board
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.clock import Clock
from tallystick.emulator.devices.device import Device
from tallystick.emulator.devices.image import Image

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


class Reader(Device):
    """`identity` is the per-reader segment. `seed` fixes every random choice of the run. kept_in:
    see `NorFlash`.

    reports: what the reader has sent to the host, 64 bytes each, unless `on_report` takes them.
    Raises BadInputError for an image of another device's board.
    """

    board: ReaderBoard

    start_again = "Unplug the reader and plug it in again."

    def __init__(
        self,
        image: Image,
        *,
        identity: bytes,
        sensor_for: Callable[[Clock], Sensor] | None = None,
        seed: int = 0,
        trace: Trace | None = None,
        kept_in: int | None = None,
    ) -> None:
        board = reader_board(image.board)
        super().__init__(image, identity, random.Random(seed), trace, kept_in=kept_in)
        self.board = board
        self.reports: deque[bytes] = deque()
        self.on_report: Callable[[bytes], None] = self.reports.append
        self.mcu.usb.on_report = self._from_usb
        self.sensor: Sensor | None = None
        self._asked = False  # the sensor has a command and has not answered
        self.led = False  # the reader waits for a finger
        self.mcu.pins.on_output[self.board.led_pin] = self._set_led
        self._touch(False)
        if sensor_for is not None:
            self.plug_sensor(sensor_for(self.clock))

    # -- the sensor's cable --------------------------------------------------------------------

    def plug_sensor(self, sensor: Sensor) -> None:
        self.sensor = sensor
        sensor.on_send = self._from_sensor
        sensor.on_touch = self._touch
        self.mcu.uart.on_send = self._to_sensor
        sensor.power(self.powered)

    def connect_sensor(self, sensor: Sensor | None) -> None:
        """The cable is as it was at a bookmark: nothing happens, and both ends know."""
        for module in (self.sensor, sensor):
            if module is not None:
                module.on_send = self._from_sensor if module is sensor else None
                module.on_touch = self._touch if module is sensor else None
        self.mcu.uart.on_send = self._to_sensor if sensor is not None else None
        self.sensor = sensor

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
        level = active if touched else 1 ^ active
        self.mcu.set_input(self.board.touch_pin, level if self.sensor else None, "the sensor")

    @property
    def working(self) -> bool:
        """Sensor or USB are at something that ends by itself, soon."""
        return self._asked or self.mcu.usb.under_way > 0

    # -- power and time ------------------------------------------------------------------------

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

    def on_power_lost(self) -> None:
        if self.sensor is not None:
            self.sensor.power(False)

    # -- the host ------------------------------------------------------------------------------

    def write_report(self, report: bytes) -> None:
        """The host sends 64 bytes."""
        self.mcu.usb.offer(report[:REPORT].ljust(REPORT, b"\0"))
