"""A Pico 2 with a reader's parts: the fingerprint module on its serial line, and a host on USB."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from tallystick.emulator.boards.board import ReaderBoard
from tallystick.emulator.clock import Clock
from tallystick.emulator.devices.reader import Sensor
from tallystick.tools.second_opinion.rp2350.board import ChipBoard
from tallystick.tools.second_opinion.rp2350.usb_host import UsbHost

_SENSOR_BAUD = 57_600


class ChipReader(ChipBoard):
    """As the emulated reader: `reports` are what it has sent to the host."""

    board: ReaderBoard

    def __init__(
        self,
        board: ReaderBoard,
        flash: Iterable[tuple[int, bytes]],
        sensor_for: Callable[[Clock], Sensor],
        *,
        seed: int = 1,
        chip_random: bytes = bytes(16),
    ) -> None:
        super().__init__(board, flash, seed=seed, chip_random=chip_random)
        self.host = UsbHost(self.core, self.chip.usb)
        self.host.on_report = self._reported
        self.host.on_change = self.heard
        self.reports: deque[bytes] = deque()
        self.sensor = sensor_for(self.clock)
        self.sensor.on_send = lambda data: self.put_on_line(data, _SENSOR_BAUD)
        self.sensor.on_touch = self._touched
        self.on_send = self.sensor.receive
        self._touched(False)

    def power_on(self) -> None:
        self.sensor.power(True)
        super().power_on()

    def power_off(self) -> None:
        super().power_off()
        self.sensor.power(False)
        self.host.unplug()
        self.reports.clear()

    def write_report(self, report: bytes) -> None:
        self.host.write(report)

    def run_until(self, done: Callable[[], bool], limit_ms: float = 60_000) -> bool:
        return self.run(limit_ms, done)

    def _reported(self, report: bytes) -> None:
        self.reports.append(report)
        self.heard()

    def _touched(self, touched: bool) -> None:
        active = self.board.touch_active
        self.chip.pins.drive(self.board.touch_pin, active if touched else 1 ^ active)
