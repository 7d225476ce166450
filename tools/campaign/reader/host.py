"""python-fido2's HID connection to an emulated reader, in virtual time and in this process."""

from __future__ import annotations

from fido2.hid.base import CtapHidConnection, HidDescriptor

from tallystick.emulator.devices.reader import Reader

DESCRIPTOR = HidDescriptor("emulated", 0x1209, 0x0001, 64, 64, "Tallystick reader", None)
_LIMIT_MS = 40_000  # the longest command waits 30 s for a finger


class Connection(CtapHidConnection):
    """Waiting for a packet lets the reader's time pass."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def write_packet(self, data: bytes) -> None:
        self._reader.write_report(data)

    def read_packet(self) -> bytes:
        if not self._reader.run_until(lambda: bool(self._reader.reports), limit_ms=_LIMIT_MS):
            raise ConnectionError("nothing came")
        return self._reader.reports.popleft()

    def close(self) -> None:
        """The bus stays."""
