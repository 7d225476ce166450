"""A FIDO HID interface over machine.USBDevice: one OUT and one IN endpoint of 64 bytes, and nothing
else on the bus: no serial port, no prompt. Descriptors: USB 2.0 chapter 9, HID 1.11, CTAP 2.1
section 11.2.8.
"""

from time import sleep_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from machine import USBDevice

    from typed.kinds import Readable

_REPORT = const(64)
_OUT = const(0x01)
_IN = const(0x81)
_QUEUE = const(4)

_VENDOR = b"\x09\x12"  # 1209:0001, pid.codes' number for tests: a product needs its own
_PRODUCT = b"\x01\x00"

_REPORT_DESCRIPTOR = (
    b"\x06\xd0\xf1\x09\x01\xa1\x01\x09\x20\x15\x00\x26\xff\x00\x75\x08\x95\x40\x81\x02"
    b"\x09\x21\x15\x00\x26\xff\x00\x75\x08\x95\x40\x91\x02\xc0"
)
_HID = b"\x09\x21\x11\x01\x00\x01\x22" + bytes((len(_REPORT_DESCRIPTOR), 0))
_DEVICE = b"\x12\x01\x00\x02\x00\x00\x00\x40" + _VENDOR + _PRODUCT + b"\x00\x01\x01\x02\x00\x01"
_CONFIGURATION = (
    b"\x09\x02\x29\x00\x01\x01\x00\x80\x32"
    b"\x09\x04\x00\x00\x02\x03\x00\x00\x00"
    + _HID
    + b"\x07\x05\x01\x03\x40\x00\x05\x07\x05\x81\x03\x40\x00\x05"
)


class UsbHid:
    """device: machine.USBDevice."""

    def __init__(self, device: "USBDevice") -> None:
        self._device = device
        self._incoming = bytearray(_REPORT)
        self._queue = [bytearray(_REPORT) for _ in range(_QUEUE)]
        self._first = self._count = 0
        self._armed = False
        self._sending = False
        self._unread = False  # a report has waited for a second: nobody reads
        self._open = False

    def start(self) -> None:
        """Appears on the bus."""
        device = self._device
        device.active(False)
        device.builtin_driver = device.BUILTIN_NONE  # type: ignore[attr-defined]  # stubs lack it
        device.config(
            _DEVICE, _CONFIGURATION, ["", "Tallystick", "Tallystick reader"],
            self._opened, self._closed, self._control, self._transferred,
        )  # fmt: skip
        device.active(True)

    def _opened(self, _descriptor: memoryview) -> None:
        self._open = True
        self._sending = self._unread = self._armed = False
        self._arm()

    def _closed(self) -> None:
        self._open = self._armed = self._sending = False

    def _control(self, stage: int, request: memoryview) -> "bool | bytes":
        """GET_DESCRIPTOR of the interface, SET_IDLE; the rest is refused."""
        kind, code = request[0], request[1]
        if stage != 1:
            return True
        if kind == 0x81 and code == 6 and request[3] == 0x22:
            return _REPORT_DESCRIPTOR
        if kind == 0x81 and code == 6 and request[3] == 0x21:
            return _HID
        return kind == 0x21 and code == 0x0A

    def _transferred(self, endpoint: int, _result: int, count: int) -> None:
        if endpoint == _IN:
            self._sending = self._unread = False
            return
        self._armed = False
        if count == _REPORT:
            self._queue[(self._first + self._count) % _QUEUE][:] = self._incoming
            self._count += 1
        self._arm()

    def _arm(self) -> None:
        """Takes the next report only when there is room for it: the host waits otherwise."""
        if self._open and not self._armed and self._count < _QUEUE:
            self._armed = True
            self._device.submit_xfer(_OUT, self._incoming)

    def any(self) -> int:
        """Reports of 64 bytes that wait to be read."""
        return self._count

    def read(self, report: bytearray) -> bool:
        """Puts the next report into `report` (64 bytes). False when there is none."""
        if not self._count:
            return False
        report[:] = self._queue[self._first]
        self._first = (self._first + 1) % _QUEUE
        self._count -= 1
        self._arm()
        return True

    def write(self, report: "Readable") -> None:
        """Sends 64 bytes; waits while the host takes the one before. Lost when it does not, for a
        second; what follows is lost at once, until the host reads again.
        """
        if not self._unread:
            self._drain()
            self._unread = self._sending
        if self._open and not self._sending:
            self._sending = True
            self._outgoing = bytes(report)  # belongs to the transfer until it is over
            self._device.submit_xfer(_IN, self._outgoing)

    def _drain(self) -> None:
        for _ in range(1000):
            if not self._sending:
                return
            sleep_ms(1)  # a frame; what the host sends meanwhile waits in the queue
