"""USART (RM0351, chapter 40), asynchronous, eight data bits."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers

USART1, USART2, USART3, UART4, UART5 = 0x40013800, 0x40004400, 0x40004800, 0x40004C00, 0x40005000
_CR1, _CR2, _CR3, _BRR, _RQR, _ISR, _ICR, _RDR, _TDR = 0, 4, 8, 0xC, 0x18, 0x1C, 0x20, 0x24, 0x28
_RESET = {
    _CR1: 0, _CR2: 0, _CR3: 0, _BRR: 0, 0x10: 0, 0x14: 0, _RQR: 0, _ISR: 0xC0, _ICR: 0, _RDR: 0,
    _TDR: 0,
}  # fmt: skip
_UE, _RE, _TE, _OVER8 = 1, 1 << 2, 1 << 3, 1 << 15
_ORE, _IDLE, _RXNE, _TC, _TXE, _TEACK, _REACK = (
    1 << 3,
    1 << 4,
    1 << 5,
    1 << 6,
    1 << 7,
    1 << 21,
    1 << 22,
)
_BITS = 10  # start, eight data, stop
_TOLERANCE = 0.03


class Usart(Registers):
    """`on_send(data)` hears each byte when its stop bit is out. `clock()` is its clock in Hz."""

    def __init__(self, core: Cortex, base: int, irq: int, clock: Callable[[], float]) -> None:
        super().__init__(core, base, _RESET)
        self._irq = irq
        self._clock = clock
        self.on_send: Callable[[bytes], None] = lambda data: None
        self.lost = 0  # bytes that came while it was off, or before the last one was read
        self.on_reset()

    def on_reset(self) -> None:
        self._shifting: int | None = None
        self._waiting: int | None = None
        self._tell()

    @property
    def baud(self) -> float:
        """0: not set up."""
        divider = self.values[_BRR]
        if not divider or not self.values[_CR1] & _UE:
            return 0.0
        if self.values[_CR1] & _OVER8:
            return 2 * self._clock() / (divider & ~15 | (divider & 7) << 1)
        return self._clock() / divider

    def receive(self, byte: int, baud: float) -> None:
        """A byte came in at this speed (`baud`: bits a second). At another than its own it is
        not what was sent."""
        own = self.baud
        if not own or not self.values[_CR1] & _RE:
            self.lost += 1
        elif self.values[_ISR] & _RXNE:
            self.lost += 1
            self.values[_ISR] |= _ORE
        else:
            heard = byte if abs(own / baud - 1) <= _TOLERANCE else byte ^ 0xA5
            self.values[_RDR] = heard
            self.values[_ISR] |= _RXNE
        self._tell()

    def idle(self) -> None:
        """The line has been idle for the time of a byte."""
        if self.values[_CR1] & _RE:
            self.values[_ISR] |= _IDLE
            self._tell()

    def _tell(self) -> None:
        control, status = self.values[_CR1], self.values[_ISR]
        enabled = control & 0x1F0 | (_ORE if control & 1 << 5 or self.values[_CR3] & 1 else 0)
        self.core.nvic.line(self._irq, bool(control & _UE and status & enabled & 0x1FF))

    def get(self, at: int) -> int:
        if at == _RDR:
            self.values[_ISR] &= ~_RXNE
            self._tell()
        elif at == _ISR:
            control = self.values[_CR1]
            on = control & _UE
            status = self.values[_ISR] | (_TEACK if on and control & _TE else 0)
            return status | (_REACK if on and control & _RE else 0)
        return 0 if at in (_RQR, _ICR) else self.values[at]

    def put(self, at: int, value: int) -> None:
        match at:
            case 0x28:
                self._send(value & 0xFF)
            case 0x20:
                self.values[_ISR] &= ~(value & 0x121B5F)
            case 0x18:
                if value & 1 << 3:
                    self.values[_ISR] &= ~_RXNE
            case 0x1C | 0x24:
                pass
            case _:
                self.values[at] = value
        self._tell()

    def _send(self, byte: int) -> None:
        if not self.values[_CR1] & _TE or not self.baud:
            return
        self.values[_ISR] &= ~_TC
        if self._shifting is None:
            self._shift(byte)
        else:
            self._waiting = byte
            self.values[_ISR] &= ~_TXE

    def _shift(self, byte: int) -> None:
        self._shifting = byte
        self.core.after(_BITS / self.baud * 1e9, self._sent)

    def _sent(self) -> None:
        byte, self._shifting = self._shifting, None
        if byte is None:  # it was reset meanwhile
            return
        self.on_send(bytes((byte,)))
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._shift(waiting)
            self.values[_ISR] |= _TXE
        else:
            self.values[_ISR] |= _TC
        self._tell()
