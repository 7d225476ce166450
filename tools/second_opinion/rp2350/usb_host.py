"""A USB host on the other end: it enumerates what plugs in, and then speaks to its first HID
interface (USB 2.0, 8 and 9; HID 1.11, 7).

What it did not get an answer for, is tried again when the device arms a buffer. IN endpoints are
asked in frames of a millisecond, as often as their descriptor says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.rp2350.usb import STALLED, Usb

_FRAME_NS = 1e6
_DEBOUNCE_NS, _RESET_NS, _RECOVERY_NS, _ADDRESS_NS = 100e6, 10e6, 10e6, 2e6  # USB 2.0, 7.1.7, 9.2.6
_TRANSACTION_NS = 50e3  # of 64 bytes, with its handshake, at 12 Mbit/s
_GET_DESCRIPTOR, _SET_ADDRESS, _SET_CONFIGURATION, _SET_IDLE = 6, 5, 9, 10
_TO_HOST, _INTERFACE, _CLASS = 0x80, 0x01, 0x20
_DEVICE, _CONFIGURATION, _STRING, _REPORT = 1, 2, 3, 0x22
_HID_CLASS, _INTERFACE_DESCRIPTOR, _ENDPOINT_DESCRIPTOR, _HID_DESCRIPTOR = 3, 4, 5, 0x21
_PACKET = 64

Task = Generator[float | None, None, None]
"""Yields ns to wait, or None: until the device arms something."""


@dataclass
class Enumeration:
    """What the host was told."""

    device: bytes = b""
    configuration: bytes = b""
    report: bytes = b""  # of the HID interface
    strings: list[str] = field(default_factory=list)
    configured: bool = False
    refused: list[bytes] = field(default_factory=list)  # setup packets that were stalled
    out_endpoint: int = 0
    in_endpoint: int = 0
    interval_ms: int = 1


class UsbHost:
    """on_report: 64 bytes from the device. `seen` has every enumeration, the last is now's."""

    def __init__(self, core: Cortex, device: Usb) -> None:
        self._core = core
        self._device = device
        self.on_report: Callable[[bytes], None] = lambda _report: None
        self.on_change: Callable[[], None] = lambda: None
        self.seen: list[Enumeration] = []
        self.debounce_ns = _DEBOUNCE_NS  # less is no host that anybody means well with
        self._outgoing: deque[bytes] = deque()
        self._asleep = False
        self._task: Task | None = None
        self._wake: Scheduled | None = None
        self._frame: Scheduled | None = None
        self._first_ns = 0.0  # of the first frame
        device.on_plug = self._plugged
        device.on_armed = self._armed

    @property
    def now(self) -> Enumeration | None:
        return self.seen[-1] if self.seen and self._task is not None else None

    @property
    def ready(self) -> bool:
        """A HID interface is there."""
        now = self.now
        return now is not None and now.configured and bool(now.in_endpoint)

    def unplug(self) -> None:
        """The device lost its power."""
        self._plugged(False)

    def sleep(self) -> None:
        """The computer sleeps: no frames, and nobody asks anything (USB 2.0, 7.1.7.6)."""
        self._asleep = True
        self._forget()
        self._device.suspend()

    def wake(self) -> None:
        """It goes on where it was."""
        self._asleep = False
        self._device.resume()
        self._armed(0)

    def write(self, report: bytes) -> None:
        """A report to the device, when it takes it."""
        self._outgoing.append(report.ljust(_PACKET, b"\0"))
        self._armed(0)

    # -- running -------------------------------------------------------------------------------

    def _plugged(self, on: bool) -> None:
        self._forget()
        self._task = None
        self._asleep = False
        self._outgoing.clear()
        if on:
            self.seen.append(Enumeration())
            self._task = self._serve(self.seen[-1])
            self._step()
        self.on_change()

    def _forget(self) -> None:
        for event in (self._wake, self._frame):
            if event is not None:
                event.cancel()
        self._wake = self._frame = None

    def _armed(self, _direction: int) -> None:
        if self._task is not None and self._wake is None and not self._asleep:
            self._wake = self._core.after(0, self._step)

    def _step(self) -> None:
        self._wake = None
        assert self._task is not None
        wait = next(self._task)
        if wait is not None:
            self._wake = self._core.after(wait, self._step)

    def _tick(self) -> None:
        """A frame begins. Those that nobody waits for are counted only."""
        self._frame = None
        self._device.start_of_frame(self._frame_number())
        self._armed(0)

    def _frame_number(self) -> int:
        return int((self._core.now_ns - self._first_ns) / _FRAME_NS)

    def _next_frame(self) -> None:
        """Something waits for the next frame."""
        if self._frame is None:
            due = self._first_ns + (self._frame_number() + 1) * _FRAME_NS
            self._frame = self._core.after(due - self._core.now_ns, self._tick)

    def _serve(self, found: Enumeration) -> Task:
        yield self.debounce_ns
        self._device.bus_reset()
        yield min(_RESET_NS, self.debounce_ns)
        self._first_ns = self._core.now_ns
        yield min(_RECOVERY_NS, self.debounce_ns)
        yield from self._enumerate(found)
        self.on_change()
        polled = -1
        while True:
            moved = False
            if self._outgoing and found.out_endpoint:
                moved = yield from self._give_now(found.out_endpoint, self._outgoing[0])
                if moved:
                    self._outgoing.popleft()
            slot = self._frame_number() // found.interval_ms
            if found.in_endpoint and self._device.offers(found.in_endpoint):
                data = self._device.take(found.in_endpoint) if slot != polled else None
                if data is None:
                    self._next_frame()
                else:
                    polled = slot
                    yield _TRANSACTION_NS
                    self.on_report(data)
                    moved = True
            if self._device.wants_frames:
                self._next_frame()
            if not moved:
                yield None

    def _enumerate(self, found: Enumeration) -> Task:
        first: list[bytes] = []
        yield from self._read(found, first, _DEVICE << 8, 0, _PACKET)
        yield from self._control(found, bytes((0, _SET_ADDRESS, 1, 0, 0, 0, 0, 0)))
        yield _ADDRESS_NS
        answer: list[bytes] = []
        yield from self._read(found, answer, _DEVICE << 8, 0, 18)
        found.device = answer[0]
        head: list[bytes] = []
        yield from self._read(found, head, _CONFIGURATION << 8, 0, 9)
        size = int.from_bytes(head[0][2:4], "little")
        answer = []
        yield from self._read(found, answer, _CONFIGURATION << 8, 0, size)
        found.configuration = answer[0]
        yield from self._read_strings(found)
        yield from self._control(found, bytes((0, _SET_CONFIGURATION, 1, 0, 0, 0, 0, 0)))
        interface, report_size = self._find_hid(found)
        if report_size:
            setup = bytes((_CLASS | _INTERFACE, _SET_IDLE, 0, 0, interface, 0, 0, 0))
            yield from self._control(found, setup)
            answer = []
            yield from self._read(found, answer, _REPORT << 8, interface, report_size, _INTERFACE)
            found.report = answer[0]
        found.configured = True

    def _read_strings(self, found: Enumeration) -> Task:
        answer: list[bytes] = []
        yield from self._read(found, answer, _STRING << 8, 0, 255)
        language = int.from_bytes(answer[0][2:4], "little")
        for index in found.device[14:17]:
            if index:
                answer = []
                yield from self._read(found, answer, _STRING << 8 | index, language, 255)
                found.strings.append(answer[0][2:].decode("utf-16-le"))

    def _find_hid(self, found: Enumeration) -> tuple[int, int]:
        """(Interface number, size of its report descriptor); its endpoints are noted."""
        at, inside, number, size = 0, False, 0, 0
        data = found.configuration
        while at < len(data):
            part = data[at : at + data[at]]
            if part[1] == _INTERFACE_DESCRIPTOR:
                inside = part[5] == _HID_CLASS
                number = part[2] if inside else number
            elif inside and part[1] == _HID_DESCRIPTOR:
                size = int.from_bytes(part[7:9], "little")
            elif inside and part[1] == _ENDPOINT_DESCRIPTOR:
                if part[2] & _TO_HOST:
                    found.in_endpoint, found.interval_ms = part[2] & 15, part[6]
                else:
                    found.out_endpoint = part[2]
            at += part[0]
        return number, size

    # -- transfers -----------------------------------------------------------------------------

    def _read(
        self, found: Enumeration, answer: list[bytes], value: int, index: int, size: int,
        recipient: int = 0,
    ) -> Task:  # fmt: skip
        """GET_DESCRIPTOR; what came, or nothing when it was refused, is put into `answer`."""
        setup = bytes((_TO_HOST | recipient, _GET_DESCRIPTOR)) + b"".join(
            number.to_bytes(2, "little") for number in (value, index, size)
        )
        yield from self._control(found, setup, answer)

    def _control(self, found: Enumeration, setup: bytes, answer: list[bytes] | None = None) -> Task:
        self._device.setup(setup)
        yield _TRANSACTION_NS
        size = int.from_bytes(setup[6:8], "little")
        data = b""
        while answer is not None and len(data) < size:
            packet = self._device.take(0)
            if packet == STALLED:
                found.refused.append(setup)
                answer.append(b"")
                return
            if packet is None:
                yield None
                continue
            yield _TRANSACTION_NS
            data += packet
            if len(packet) < _PACKET:
                break
        if answer is not None:
            answer.append(data)
            yield from self._give(0, b"")
            return
        while (packet := self._device.take(0)) is None:
            yield None
        if packet == STALLED:
            found.refused.append(setup)
        yield _TRANSACTION_NS

    def _give(self, endpoint: int, data: bytes) -> Task:
        while self._device.give(endpoint, data) is None:
            yield None
        yield _TRANSACTION_NS

    def _give_now(self, endpoint: int, data: bytes) -> Generator[float | None, None, bool]:
        taken = self._device.give(endpoint, data)
        if taken:
            yield _TRANSACTION_NS
        return bool(taken)
