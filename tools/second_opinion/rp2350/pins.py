"""GPIO: pads, their functions and interrupts, and the core's own ports (RP2350 data sheet, 3.1,
9.11)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import WORD, RegisterBlock

PINS = 48  # registers; the package of a Pico 2 has 30
_IRQ = 21
_PULL_DOWN, _PULL_UP, _INPUT, _ISOLATED = 1 << 2, 1 << 3, 1 << 6, 1 << 8
_PAD_RESET = 0x116
_SIO = 5  # function
_LOW, _HIGH, _FALL, _RISE = 1, 2, 4, 8
_EDGES = 0xCCCCCCCC


class Pads(RegisterBlock):
    def __init__(self, core: Cortex, changed: Callable[[], None]) -> None:
        super().__init__(
            core, "PADS_BANK0", dict.fromkeys(range(0x04, 0x04 + 4 * PINS, 4), _PAD_RESET)
        )
        self.kept.update({0x00: 0, 0xC4: 0x5A, 0xC8: 0x5A})
        for offset in range(0x04, 0x04 + 4 * PINS, 4):
            self.writes[offset] = lambda _value: changed()

    def of(self, pin: int) -> int:
        return self.kept[4 + 4 * pin]


class Pins(RegisterBlock):
    """IO_BANK0. on_output[pin] is told the level that the chip drives."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "IO_BANK0")
        self.pads = Pads(core, self.look)
        self.ports = Ports(core, self)
        self.driven: dict[int, int] = {}  # from outside
        self.on_output: dict[int, Callable[[int], None]] = {}
        self._edges = 0  # four bits a pin
        self._levels = [0] * PINS
        self._shown: dict[int, int] = {}
        for pin in range(PINS):
            self.kept[8 * pin + 4] = 0x1F
            self.writes[8 * pin + 4] = lambda _value: self.look()
            self.reads[8 * pin] = partial(self._pad_status, pin)
        for n in range(6):
            self.reads[0x230 + 4 * n] = partial(self._eight, self._raw, n)
            self.writes[0x230 + 4 * n] = partial(self._acknowledge, n)
            self.kept[0x248 + 4 * n] = self.kept[0x260 + 4 * n] = 0
            self.writes[0x248 + 4 * n] = self.writes[0x260 + 4 * n] = lambda _value: self._line()
            self.reads[0x278 + 4 * n] = partial(self._eight, self._status, n)
            self.kept[0x290 + 4 * n] = self.kept[0x2D8 + 4 * n] = 0  # core 1's, dormant's

    def reset(self) -> None:
        for pin in range(PINS):
            self.kept[8 * pin + 4] = 0x1F
        for n in range(6):
            self.kept[0x248 + 4 * n] = self.kept[0x260 + 4 * n] = 0
        self._edges = 0
        self.look()

    def reset_pads(self) -> None:
        for pin in range(PINS):
            self.pads.kept[4 + 4 * pin] = _PAD_RESET
        self.look()

    def drive(self, pin: int, level: int | None) -> None:
        """From outside; None lets go."""
        if level is None:
            self.driven.pop(pin, None)
        else:
            self.driven[pin] = level
        self.look()

    def level(self, pin: int) -> int:
        if self._out(pin) is not None:
            return self._out(pin) or 0
        if pin in self.driven:
            return self.driven[pin]
        return int(bool(self.pads.of(pin) & _PULL_UP))

    def _out(self, pin: int) -> int | None:
        isolated = self.pads.of(pin) & _ISOLATED
        if isolated or self.kept[8 * pin + 4] & 31 != _SIO or not self.ports.oe >> pin & 1:
            return None
        return self.ports.out >> pin & 1

    def look(self) -> None:
        """Levels may have changed."""
        for pin in range(PINS):
            level = self.level(pin)
            if level != self._levels[pin]:
                self._levels[pin] = level
                self._edges |= (_RISE if level else _FALL) << 4 * pin
            if pin in self.on_output:
                out = self._out(pin)
                if out is not None and out != self._shown.get(pin):
                    self._shown[pin] = out
                    self.on_output[pin](out)
        self._line()

    def inputs(self) -> int:
        return sum(
            1 << pin for pin in range(PINS) if self._levels[pin] and self.pads.of(pin) & _INPUT
        )

    def _raw(self) -> int:
        raw = self._edges
        for pin, level in enumerate(self._levels):
            raw |= (_HIGH if level else _LOW) << 4 * pin
        return raw

    def _status(self) -> int:
        enabled = forced = 0
        for n in range(6):
            enabled |= self.kept[0x248 + 4 * n] << 32 * n
            forced |= self.kept[0x260 + 4 * n] << 32 * n
        return (self._raw() | forced) & enabled

    def _line(self) -> None:
        self.core.nvic.line(_IRQ, self._status() != 0)

    def _eight(self, all_pins: Callable[[], int], n: int) -> int:
        """The register of eight pins."""
        return all_pins() >> 32 * n

    def _pad_status(self, pin: int) -> int:
        return self._levels[pin] << 26 | self._levels[pin] << 17

    def _acknowledge(self, n: int, value: int) -> None:
        self._edges &= ~((value & _EDGES) << 32 * n)
        self._line()


class Ports(RegisterBlock):
    """SIO: GPIO, the mailbox to core 1, which sleeps for ever, and spinlocks (3.1)."""

    flat = True

    def __init__(self, core: Cortex, pins: Pins) -> None:
        super().__init__(core, "SIO")
        self._pins = pins
        self.out = self.oe = 0
        self._locked = 0
        self.kept.update({0x190: 0, 0x1A4: 0x0D})
        self.reads[0x00] = lambda: 0  # core 0
        self.reads[0x04] = pins.inputs
        self.reads[0x08] = lambda: pins.inputs() >> 32
        for base, name in ((0x10, "out"), (0x30, "oe")):
            self.reads[base] = partial(self.get, name)
            self.reads[base + 4] = lambda: 0
            for step, act in ((0, _put), (8, int.__or__), (16, _clear), (24, int.__xor__)):
                self.writes[base + step] = partial(self.set, name, act)
                self.writes[base + step + 4] = self._refuse_high
        self.reads[0x50] = lambda: 2  # nothing came, there is room
        self.writes[0x50] = lambda _value: None
        self.writes[0x54] = lambda _value: None
        self.reads[0x58] = lambda: 0
        self.reads[0x5C] = lambda: self._locked
        for n in range(32):
            self.reads[0x100 + 4 * n] = partial(self._lock, n)
            self.writes[0x100 + 4 * n] = partial(self._unlock, n)
        for offset in (0x180, 0x184, 0x188, 0x18C):
            self.kept[offset] = 0

    def get(self, name: str) -> int:
        """`out` or `oe`."""
        return self.out if name == "out" else self.oe

    def set(self, name: str, act: Callable[[int, int], int], value: int) -> None:
        new = act(self.get(name), value) & WORD
        if name == "out":
            self.out = new
        else:
            self.oe = new
        self._pins.look()

    def _refuse_high(self, value: int) -> None:
        if value & 0xFFFF:
            raise self.core.error(
                f"drives GPIO 32 and on ({value:#x}), which this package does not have"
            )

    def _lock(self, n: int) -> int:
        if self._locked >> n & 1:
            return 0
        self._locked |= 1 << n
        return 1 << n

    def _unlock(self, n: int, _value: int) -> None:
        self._locked &= ~(1 << n)


def _put(_old: int, new: int) -> int:
    return new


def _clear(old: int, new: int) -> int:
    return old & ~new
