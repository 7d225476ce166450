"""The chip's USB device: interrupt transfers of up to 64 bytes, and a host that polls them.

The host asks an IN endpoint, and offers to an OUT endpoint, once in every frame of 1 ms (full
speed).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tallystick.emulator.clock import Clock

_FRAME_US = 1000
_IN = 0x80


class UsbDevice:
    """on_event: something for the firmware to fetch. on_report: an IN transfer reached the host."""

    def __init__(self, clock: Clock, on_event: Callable[[], None]) -> None:
        self._clock = clock
        self._on_event = on_event
        self.on_report: Callable[[bytes], None] | None = None
        self.descriptors: tuple[bytes, ...] = ()  # device, configuration, HID report
        self.under_way = 0  # transfers between the two ends
        self._life = 0  # counts power cycles: what was under way dies with them
        self._offered: deque[bytes] = deque()
        self._armed = 0  # OUT endpoint that waits for data, 0: none
        self._busy = False
        self._events: deque[tuple[int, bytes]] = deque()

    @property
    def active(self) -> bool:
        return bool(self.descriptors)

    def power_down(self) -> None:
        self._life += 1
        self.under_way = 0
        self.descriptors = ()
        self._offered.clear()
        self._armed = 0
        self._busy = False
        self._events.clear()

    def forget_transfers(self) -> None:
        """What is between the two ends, and what the firmware has not fetched, is void."""
        self._offered.clear()
        self._events.clear()

    def activate(self, on: bool, data: bytes) -> None:
        """data: descriptors, each with its length in front (2, little endian)."""
        found = []
        while data:
            size = int.from_bytes(data[:2], "little")
            found.append(data[2 : 2 + size])
            data = data[2 + size :]
        self.descriptors = tuple(found) if on else ()

    def submit(self, endpoint: int, data: bytes) -> None:
        """The firmware arms a transfer."""
        if endpoint & _IN:
            life = self._life
            self.under_way += 1
            self._clock.after(_FRAME_US, lambda: self._sent(life, endpoint, data))
        else:
            self._armed = endpoint
            self._deliver()

    def offer(self, report: bytes) -> None:
        """The host writes a report; it waits until the firmware has room for it."""
        if self.active:
            self._offered.append(report)
            self._deliver()

    def event(self) -> tuple[int, bytes]:
        """The next transfer that is over: (endpoint, data), endpoint 0 when there is none."""
        return self._events.popleft() if self._events else (0, b"")

    def _deliver(self) -> None:
        if self._armed and self._offered and not self._busy:
            self._busy = True
            self.under_way += 1
            life = self._life
            self._clock.after(_FRAME_US, lambda: self._received(life))

    def _received(self, life: int) -> None:
        if life != self._life:
            return
        self._busy = False
        self.under_way -= 1
        self._events.append((self._armed, self._offered.popleft()))
        self._armed = 0
        self._on_event()

    def _sent(self, life: int, endpoint: int, data: bytes) -> None:
        if life != self._life:
            return
        self.under_way -= 1
        self._events.append((endpoint, b""))
        self._on_event()
        if self.on_report is not None:
            self.on_report(data)
