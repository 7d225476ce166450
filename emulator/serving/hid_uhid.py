"""The reader as a real HID device of this computer, through the kernel's /dev/uhid (linux/uhid.h).

Needs write access to /dev/uhid. Then /dev/hidraw* is an ordinary device to every program.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import TallyError

DEVICE = Path("/dev/uhid")
_DESTROY, _OUTPUT, _CREATE2, _INPUT2 = 1, 6, 11, 12
_BUS_USB = 3
_EVENT = 4380  # sizeof(struct uhid_event)
_CREATE = struct.Struct("<I128s64s64sHHIIII4096s")


def available() -> bool:
    return os.access(DEVICE, os.R_OK | os.W_OK)


def create_event(name: str, vendor: int, product: int, descriptor: bytes) -> bytes:
    """struct uhid_event of type UHID_CREATE2."""
    return _CREATE.pack(
        _CREATE2, name.encode(), b"", b"", len(descriptor), _BUS_USB, vendor, product, 0x100, 0,
        descriptor,
    )  # fmt: skip


def input_event(report: bytes) -> bytes:
    """struct uhid_event of type UHID_INPUT2."""
    return struct.pack("<IH", _INPUT2, len(report)) + report


def output_report(event: bytes) -> bytes | None:
    """The report of an UHID_OUTPUT event, without the leading report number; None for others."""
    if len(event) < 4 or struct.unpack_from("<I", event)[0] != _OUTPUT:
        return None
    size = struct.unpack_from("<H", event, 4 + 4096)[0]
    return event[4 : 4 + size][1:]


class Uhid:
    """`descriptor` is the HID report descriptor that the firmware gave."""

    def __init__(self, name: str, vendor: int, product: int, descriptor: bytes) -> None:
        self._created = create_event(name, vendor, product, descriptor)
        self._plugged = True
        try:
            self._fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TallyError(
                f"{DEVICE} cannot be opened: {error.strerror}.",
                todo="Load the module uhid and get write access, or give a command: --usb -- CMD.",
            ) from error
        os.write(self._fd, self._created)

    def fileno(self) -> int:
        return self._fd

    def receive(self, take: Callable[[bytes], None]) -> None:
        """Gives every report that programs have written to `take`."""
        while True:
            try:
                report = output_report(os.read(self._fd, _EVENT))
            except BlockingIOError:
                return
            if report is not None:
                take(report)

    def send(self, report: bytes) -> None:
        if self._plugged:
            os.write(self._fd, input_event(report))

    def plug(self, *, plugged: bool) -> None:
        """The device appears, or goes."""
        if plugged != self._plugged:
            self._plugged = plugged
            os.write(self._fd, self._created if plugged else struct.pack("<I", _DESTROY))

    def close(self) -> None:
        self.plug(plugged=False)
        os.close(self._fd)
