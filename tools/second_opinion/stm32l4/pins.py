"""Pins (RM0351, chapters 8, 9, 14): ports with their pulls, and the edges that interrupt."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers

PORTS = "ABCDEFGH"
BASE, PORT_SIZE = 0x48000000, 0x400
_MODER, _PUPDR, _IDR, _ODR, _BSRR, _BRR = 0x00, 0x0C, 0x10, 0x14, 0x18, 0x28
_INPUT, _OUTPUT, _ALTERNATE, _ANALOG = range(4)
EXTI_BASE, SYSCFG_BASE = 0x40010400, 0x40010000
_IMR, _RTSR, _FTSR, _SWIER, _PR = 0x00, 0x08, 0x0C, 0x10, 0x14
_IRQS = {**dict(enumerate(range(6, 11))), 18: 41, 19: 2, 20: 3}  # of lines; the rest shares two
RTC_WAKEUP_LINE = 20


class Port(Registers):
    """Sixteen pins. `on_level(pin, level)` hears of every change, whoever drives the pin; pins are
    numbered port * 16 + bit."""

    def __init__(self, core: Cortex, number: int, on_level: Callable[[int, int], None]) -> None:
        reset = {
            0x00: (0xABFFFFFF, 0xFFFFFEBF)[number] if number < 2 else 0xFFFFFFFF,
            0x04: 0, 0x08: 0x0C000000 if number == 0 else 0,
            _PUPDR: (0x64000000, 0x100)[number] if number < 2 else 0,
            _IDR: 0, _ODR: 0, _BSRR: 0, 0x1C: 0, 0x20: 0, 0x24: 0, _BRR: 0, 0x2C: 0,
        }  # fmt: skip
        super().__init__(core, BASE + PORT_SIZE * number, reset)
        self._first = number * 16
        self._on_level = on_level
        self.driven: dict[int, int] = {}  # by the outside: bit → level
        self._levels = [0] * 16

    def on_reset(self) -> None:
        self.settle()

    def _mode(self, bit: int) -> int:
        return self.values[_MODER] >> 2 * bit & 3

    def level(self, bit: int) -> int:
        """A pin that nobody drives and nothing pulls reads low here."""
        if self._mode(bit) == _OUTPUT:
            return self.values[_ODR] >> bit & 1
        if bit in self.driven:
            return self.driven[bit]
        return int(self.values[_PUPDR] >> 2 * bit & 3 == 1)

    def drive(self, bit: int, level: int | None) -> None:
        """The outside drives a pin, or (None) lets it go."""
        if level is None:
            self.driven.pop(bit, None)
        else:
            self.driven[bit] = level
        self.settle()

    def settle(self) -> None:
        for bit in range(16):
            level = self.level(bit)
            if level != self._levels[bit]:
                self._levels[bit] = level
                self._on_level(self._first + bit, level)

    def get(self, at: int) -> int:
        if at == _IDR:
            readable = (bit for bit in range(16) if self._mode(bit) != _ANALOG)
            return sum(self._levels[bit] << bit for bit in readable)
        return 0 if at in (_BSRR, _BRR) else self.values[at]

    def put(self, at: int, value: int) -> None:
        match at:
            case 0x18:  # BSRR: set, reset; setting wins
                output = self.values[_ODR] & ~(value >> 16) | value & 0xFFFF
                self.values[_ODR] = output
            case 0x28:  # BRR
                self.values[_ODR] &= ~value
            case 0x10:
                return
            case _:
                self.values[at] = value
        if at in (_MODER, _PUPDR, _ODR, _BSRR, _BRR):
            self.settle()


class Exti(Registers):
    """Edges to interrupts. Lines 0 to 15 are pins, each of the port that SYSCFG names."""

    def __init__(self, core: Cortex, syscfg: Registers) -> None:
        names = (_IMR, 0x04, _RTSR, _FTSR, _SWIER, _PR, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34)
        reset = {**dict.fromkeys(names, 0), _IMR: 0xFF820000, 0x20: 0x87}
        super().__init__(core, EXTI_BASE, reset)
        self._syscfg = syscfg
        self._lines: dict[int, bool] = {}  # level of those that are no pins

    def on_reset(self) -> None:
        self._tell()

    def pin(self, pin: int, level: int) -> None:
        """The level of a pin changed."""
        line = pin & 15
        port = self._syscfg.values[0x08 + 4 * (line >> 2)] >> 4 * (line & 3) & 15
        if port == pin >> 4:
            self._edge(line, level)

    def line(self, line: int, level: bool) -> None:
        """A line of a peripheral."""
        if self._lines.get(line, False) != level:
            self._lines[line] = level
            self._edge(line, int(level))

    def _edge(self, line: int, level: int) -> None:
        if self.values[_RTSR if level else _FTSR] >> line & 1:
            self.values[_PR] |= 1 << line
            self._tell()

    def _tell(self) -> None:
        ready = self.values[_PR] & self.values[_IMR]
        for line, irq in _IRQS.items():
            self.core.nvic.line(irq, bool(ready >> line & 1))
        self.core.nvic.line(23, bool(ready & 0x3E0))
        self.core.nvic.line(40, bool(ready & 0xFC00))

    def put(self, at: int, value: int) -> None:
        match at:
            case 0x14:
                self.values[_PR] &= ~value
                self.values[_SWIER] &= ~value
            case 0x10:
                self.values[_PR] |= value & ~self.values[_SWIER]
                self.values[_SWIER] |= value
            case _:
                self.values[at] = value
        self._tell()


def system_configuration(core: Cortex) -> Registers:
    """SYSCFG: which port an EXTI line hears; the rest is kept."""
    return Registers(core, SYSCFG_BASE, dict.fromkeys(range(0x00, 0x28, 4), 0))
