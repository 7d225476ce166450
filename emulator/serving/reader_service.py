"""An emulated reader that lives in the real world: HID reports over UDP or uhid, a control
interface.

The firmware's own waits (touch time-outs, keep-alives) last as long as they say. What the parts do,
a USB frame or the sensor's work, is done at once unless `real_time`: nobody gains from waiting for
an emulated sensor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.serving.device_service import DeviceService

_US = 1_000_000
_LONGEST_S = 0.5


class HidPort(Protocol):
    """Where the host is."""

    def fileno(self) -> int: ...

    def receive(self, take: Callable[[bytes], None]) -> None: ...

    def send(self, report: bytes) -> None: ...

    def plug(self, *, plugged: bool) -> None:
        """The reader was plugged in or pulled out, which the host sees."""

    def close(self) -> None: ...


class ReaderService(DeviceService[Reader]):
    """A reader with the host that it is plugged into."""

    def __init__(self, reader: Reader, port: HidPort | None, *, real_time: bool = False) -> None:
        super().__init__(reader)
        self.reader = reader
        self._port = port
        self._real_time = real_time
        self._plugged = reader.powered
        if port is not None:
            reader.on_report = port.send

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
        super().close()

    def turn(self) -> None:
        """Waits for the outside, as long as the firmware waits."""
        reader = self.reader
        if self._port is not None and self._plugged != reader.powered:
            self._plugged = reader.powered
            self._port.plug(plugged=self._plugged)
        due = reader.next_time()
        event = reader.clock.next_event()
        begin = time.monotonic()
        limit = _LONGEST_S if due is None else max(0.0, (due - reader.clock.now) / _US)
        parts = reader.working and event is not None and event == due
        if not self._real_time and (parts or reader.mcu.at_work):
            limit = 0.0
        files = [self._port.fileno()] if self._port is not None else []
        ready = self.wait(files, min(limit, _LONGEST_S))
        if due is not None:
            elapsed = round((time.monotonic() - begin) * _US)
            over = not ready and limit <= _LONGEST_S
            until = due if over else min(due, reader.clock.now + elapsed)
            self.guard(lambda: reader.run_to(until))
        if self._port is not None and self._port.fileno() in ready:
            self._port.receive(reader.write_report)
