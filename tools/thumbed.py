"""An emulated reader that is plugged in, with a person's thumb at hand, as python-fido2's HID
connection: in this process, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fido2.ctap2.base import Ctap2
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.parts.r503 import R503

FINGER = "right-thumb"
_TURNS, _TURN_MS, _UP_MS = 60, 1_000, 300


class Host(CtapHidConnection):
    """A computer and a thumb at a reader that is plugged in, in virtual time. While the reader's
    light asks for a finger and none is there, the thumb is laid down. serial: as USB tells it.
    person: whose thumb it is. Implements flash.usb.Readers."""

    def __init__(
        self, reader: Reader, *, serial: str | None = None, seed: int = 1, person: int = 0
    ) -> None:
        sensor = R503(reader.clock, seed=seed)
        reader.plug_sensor(sensor)
        self._reader = reader
        self._hand = Hand(reader.clock, sensor, 0 if seed == 1 else seed)
        self._descriptor = HidDescriptor(
            "emulated", 0x1209, 0x0001, 64, 64, "Tallystick reader", serial
        )
        self.person = person
        reader.power_on()

    def write_packet(self, data: bytes) -> None:
        self._reader.write_report(data)

    def read_packet(self) -> bytes:
        reports = self._reader.reports
        for _ in range(_TURNS):
            self._reader.run_until(lambda: bool(reports) or self._wanted(), limit_ms=10_000)
            if reports:
                return reports.popleft()
            if self._wanted():
                self._hand.press(FINGER, person=self.person, after_ms=_UP_MS)
                self._reader.run_for(_TURN_MS)
        raise ConnectionError("nothing came")

    def close(self) -> None:
        """The bus stays."""

    def _wanted(self) -> bool:
        return self._reader.led and self._hand.down is None

    def device(self) -> CtapHidDevice:
        return CtapHidDevice(self._descriptor, self)

    @contextmanager
    def find(self) -> Iterator[CtapHidDevice]:
        yield self.device()

    @contextmanager
    def find_again(self) -> Iterator[CtapHidDevice]:
        self._reader.run_for(_TURN_MS)
        yield self.device()

    def ctap(self) -> Ctap2:
        return Ctap2(self.device())
