"""The USB controller as a full-speed device (RP2350 data sheet, 12.7).

A host speaks to it in transactions: `setup`, `give` (OUT) and `take` (IN). One that the program has
no buffer for is not acknowledged (None), and tried again by the host; `on_armed` tells when it may
be worth it. Data toggles are not checked, isochronous transfers and host mode are not there.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import PeripheralMemory, RegisterBlock

_IRQ = 14
_FULL, _AVAILABLE, _STALL, _LENGTH = 1 << 15, 1 << 10, 1 << 11, 0x3FF
_DOUBLE, _RESET_SELECT = 1 << 30, 1 << 12
_BUFFER_CONTROL, _BUFFERS_END, _EP0_BUFFER = 0x80, 0x100, 0x100
_PULL_UP = 1 << 16
_STATUS_RESET, _STATUS_SETUP, _STATUS_SUSPENDED, _STATUS_RESUME = 1 << 19, 1 << 17, 1 << 4, 1 << 11
_VBUS, _CONNECTED, _J_STATE = 1, 1 << 16, 1 << 2
_INT_BUFFERS, _INT_RESET, _INT_SETUP, _INT_SOF, _INT_SUSPEND, _INT_RESUME, _INT_ABORTED = (
    1 << 4, 1 << 12, 1 << 16, 1 << 17, 1 << 14, 1 << 15, 1 << 18,
)  # fmt: skip
STALLED = b"stalled"


class Dpram(PeripheralMemory):
    """The controller's memory; a buffer control that is written is looked at."""

    def __init__(self, core: Cortex, on_control: Callable[[int], None]) -> None:
        super().__init__(core, "USB DPRAM", 0x1000)
        self._on_control = on_control

    def write_some(self, offset: int, alias: int, size: int, value: int) -> None:
        super().write_some(offset, alias, size, value)
        if _BUFFER_CONTROL <= offset < _BUFFERS_END:
            self._on_control(offset - _BUFFER_CONTROL >> 2)


class Usb(RegisterBlock):
    """Endpoint directions are numbered as in BUFF_STATUS: 2 n for IN, 2 n + 1 for OUT.

    on_plug: the pull-up was turned on or off. on_armed: a buffer became available.
    """

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "USBCTRL")
        self.dpram = Dpram(core, self._controlled)
        self.on_plug: Callable[[bool], None] = lambda _on: None
        self.on_armed: Callable[[int], None] = lambda _direction: None
        self._pulled = False
        self.reset()
        self.reads.update({
            0x48: self._frame_number, 0x50: self._sie_status, 0x58: lambda: self._buffers,
            0x5C: lambda: self._second, 0x64: lambda: self.kept[0x60], 0x8C: self._raw,
            0x98: self._masked,
        })  # fmt: skip
        self.writes.update({
            0x4C: self._sie_control, 0x58: lambda _value: None, 0x60: lambda _value: self._line(),
            0x64: lambda _value: None, 0x90: lambda _value: self._line(),
            0x94: lambda _value: self._line(),
        })  # fmt: skip

    def reset(self) -> None:
        self.kept = dict.fromkeys((*range(0x00, 0x44, 4), 0x44, 0x54, 0x60, 0x68, 0x6C, 0x70, 0x74,
                                   0x78, 0x7C, 0x80, 0x84, 0x88, 0x90, 0x94), 0)  # fmt: skip
        self.kept[0x40], self.kept[0x4C] = 0, 0x00008000
        self._status = 0
        self._buffers = 0  # BUFF_STATUS
        self._second = 0  # BUFF_CPU_SHOULD_HANDLE
        self._select = [0] * 32  # which of two buffers is next
        self._sof = False
        self._frame = 0
        self.dpram.data[:] = bytes(len(self.dpram.data))
        self._plugged(on=False)
        self._line()

    def change(self, offset: int, alias: int, value: int) -> None:
        """Status bits are cleared by writing ones, whatever the alias (12.7.5)."""
        if offset == 0x50:
            self._status &= ~value
            self._line()
        elif offset == 0x58:
            self._buffers &= ~value
            self._second &= ~value
            self._line()
        elif offset == 0x64:
            pass  # an abort is done at once
        else:
            super().change(offset, alias, value)

    # -- what the host does --------------------------------------------------------------------

    @property
    def address(self) -> int:
        return self.kept[0x00] & 127

    def bus_reset(self) -> None:
        self.kept[0x00] = 0
        self._status |= _STATUS_RESET
        self._line()

    def suspend(self) -> None:
        """No frame began for three milliseconds."""
        self._status |= _STATUS_SUSPENDED
        self._line()

    def resume(self) -> None:
        """The host drives the bus again."""
        self._status |= _STATUS_RESUME
        self._line()

    @property
    def wants_frames(self) -> bool:
        """The program is interrupted by each start of a frame."""
        return bool(self.kept[0x90] & _INT_SOF)

    def start_of_frame(self, number: int) -> None:
        self._frame = number & 0x7FF
        self._sof = True
        self._line()

    def offers(self, endpoint: int) -> bool:
        """There is something to take from it."""
        direction = 2 * endpoint
        half = self._half(direction, self._select[direction])
        return bool(half & _STALL or (half & _AVAILABLE and half & _FULL))

    def setup(self, packet: bytes) -> None:
        self.dpram.data[0:8] = packet
        for direction in (0, 1):  # a stall of endpoint 0 ends with the next setup
            self._put_half(direction, 0, self._half(direction, 0) & ~_STALL)
        self._status |= _STATUS_SETUP
        self._line()

    def take(self, endpoint: int) -> bytes | None:
        """An IN transaction: data, STALLED, or None."""
        direction = 2 * endpoint
        half = self._half(direction, self._select[direction])
        if half & _STALL:
            return STALLED
        if not half & _AVAILABLE or not half & _FULL:
            return None
        at = self._buffer(direction)
        data = bytes(self.dpram.data[at : at + (half & _LENGTH)])
        self._done(direction, half & ~(_AVAILABLE | _FULL))
        return data

    def give(self, endpoint: int, data: bytes) -> bool | None:
        """An OUT transaction: True when it was taken, False when stalled, None to try again."""
        direction = 2 * endpoint + 1
        half = self._half(direction, self._select[direction])
        if half & _STALL:
            return False
        if not half & _AVAILABLE:
            return None
        at = self._buffer(direction)
        self.dpram.data[at : at + len(data)] = data
        self._done(direction, half & ~(_AVAILABLE | _LENGTH) | _FULL | len(data))
        return True

    # -- buffers -------------------------------------------------------------------------------

    def _half(self, direction: int, which: int) -> int:
        return self.dpram.read_some(_BUFFER_CONTROL + 4 * direction + 2 * which, 2)

    def _put_half(self, direction: int, which: int, value: int) -> None:
        at = _BUFFER_CONTROL + 4 * direction + 2 * which
        self.dpram.data[at : at + 2] = value.to_bytes(2, "little")

    def _endpoint_control(self, direction: int) -> int:
        return self.dpram.read_some(4 * direction, 4) if direction > 1 else 0

    def _buffer(self, direction: int) -> int:
        if direction < 2:
            return _EP0_BUFFER
        control = self._endpoint_control(direction)
        return (control & 0xFFC0) + 64 * self._select[direction]

    def _done(self, direction: int, half: int) -> None:
        which = self._select[direction]
        self._put_half(direction, which, half)
        self._buffers |= 1 << direction
        self._second = self._second & ~(1 << direction) | which << direction
        if self._endpoint_control(direction) & _DOUBLE:
            self._select[direction] ^= 1
        self._line()

    def _controlled(self, direction: int) -> None:
        half = self._half(direction, 0)
        if half & _RESET_SELECT:
            self._select[direction] = 0
        if (half | self._half(direction, 1)) & (_AVAILABLE | _STALL):
            self.core.after(0, lambda: self.on_armed(direction))

    # -- registers -----------------------------------------------------------------------------

    def _sie_control(self, value: int) -> None:
        self._plugged(on=bool(value & _PULL_UP))

    def _plugged(self, *, on: bool) -> None:
        if on != self._pulled:
            self._pulled = on
            self.core.after(0, lambda: self.on_plug(on))

    def _sie_status(self) -> int:
        on = _VBUS | _CONNECTED | _J_STATE if self._pulled else _VBUS
        return self._status | on

    def _frame_number(self) -> int:
        self._sof = False
        self._line()
        return self._frame

    def _raw(self) -> int:
        raw = _INT_BUFFERS if self._buffers else 0
        raw |= _INT_RESET if self._status & _STATUS_RESET else 0
        raw |= _INT_SETUP if self._status & _STATUS_SETUP else 0
        raw |= _INT_SUSPEND if self._status & _STATUS_SUSPENDED else 0
        raw |= _INT_RESUME if self._status & _STATUS_RESUME else 0
        raw |= _INT_ABORTED if self.kept[0x60] else 0
        return raw | (_INT_SOF if self._sof else 0)

    def _masked(self) -> int:
        return (self._raw() | self.kept[0x94]) & self.kept[0x90]

    def _line(self) -> None:
        self.core.nvic.line(_IRQ, self._masked() != 0)
