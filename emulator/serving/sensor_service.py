"""The fingerprint module alone, behind a serial port: for host programs that know such modules.

Presses last as long as they say. What the module does is done at once unless `real_time`.
"""

from __future__ import annotations

import os
import select
import time

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.serving.device_service import DeviceService
from tallystick.emulator.serving.serial_port import PseudoTerminal

_US = 1_000_000
_LONGEST_S = 0.5
_ABSENT_S = 0.02  # between looks whether somebody has opened the port
_LISTENS_S = 5.0  # a peer that takes nothing for so long gets nothing more of that packet


class SensorService(DeviceService[R503]):
    """A module with the port that its line leads to."""

    def __init__(self, sensor: R503, port: PseudoTerminal, *, real_time: bool = False) -> None:
        super().__init__(sensor)
        self._clock: Clock = sensor.clock
        self._port = port
        self._real_time = real_time
        sensor.on_send = self._send

    def close(self) -> None:
        self._port.close()
        super().close()

    def _send(self, data: bytes) -> None:
        """All of it: a pseudo-terminal takes a few kilobytes at a time."""
        while data and self._port.connected():
            if not select.select([], [self._port.fileno()], [], _LISTENS_S)[1]:
                return
            try:
                data = data[os.write(self._port.fileno(), data) :]
            except OSError:
                return  # the peer left

    def turn(self) -> None:
        """Lets time pass, until something is due or a byte comes."""
        clock, begin = self._clock, time.monotonic()
        due = clock.next_event()
        limit = _LONGEST_S if due is None else max(0.0, (due - clock.now) / _US)
        if self.device.at_work and not self._real_time:
            limit = 0.0
        here = self._port.connected()
        longest = _LONGEST_S if here else _ABSENT_S
        ready = self.wait([self._port.fileno()] if here else [], min(limit, longest))
        elapsed = round((time.monotonic() - begin) * _US)
        if due is not None and not ready and limit <= longest:
            clock.now = max(clock.now, due)
        else:
            clock.now = min(clock.now + elapsed, clock.now + elapsed if due is None else due)
        clock.run_due()
        if self._port.fileno() in ready:
            self.device.receive(self._port.read())
