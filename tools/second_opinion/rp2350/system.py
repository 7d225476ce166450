"""What every program needs first: clocks, oscillators, resets, ticks, watchdog, power manager
(RP2350 data sheet, 6, 7, 8, 12.9)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_XOSC_HZ, _ROSC_HZ, _LPOSC_HZ = 12_000_000, 11_000_000, 32_768
_XOSC_STARTS_NS = 1_000_000  # start-up delay that the SDK sets: about 1 ms
_ENABLE = 1 << 11


class Pll(RegisterBlock):
    """8.6. Locks at once: programs wait for the lock, not for a time."""

    def __init__(self, core: Cortex, name: str, changed: Callable[[], None]) -> None:
        super().__init__(core, name, {0x00: 1, 0x04: 0x2D, 0x08: 0, 0x0C: 0x77000})
        self.reads[0x00] = lambda: self.kept[0x00] | self.locked << 31
        for offset in self.kept:
            self.writes[offset] = lambda _value: changed()
        for offset in (0x10, 0x14, 0x18, 0x1C):
            self.kept[offset] = 0

    @property
    def locked(self) -> bool:
        return not self.kept[0x04] & 0x21 and self.kept[0x08] > 0

    @property
    def hz(self) -> float:
        if not self.locked or self.kept[0x04] & 0x08:
            return 0
        dividers = self.kept[0x0C]
        vco = _XOSC_HZ / (self.kept[0x00] & 63) * self.kept[0x08]
        return vco / ((dividers >> 16 & 7) * (dividers >> 12 & 7))


class Clocks(RegisterBlock):
    """8.1. Offsets of a clock: control, divider, selected."""

    REF, SYS, PERI, USB, ADC = 0x30, 0x3C, 0x48, 0x60, 0x6C

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "CLOCKS", range(0x00, 0xD4, 4))
        for control in range(0x00, 0x78, 12):
            self.kept[control + 4] = 1 << 16
        self.pll_sys = Pll(core, "PLL_SYS", self._changed)
        self.pll_usb = Pll(core, "PLL_USB", self._changed)
        self.reads[self.REF + 8] = lambda: 1 << (self.kept[self.REF] & 3)
        self.reads[self.SYS + 8] = lambda: 1 << (self.kept[self.SYS] & 1)
        for control in (0x00, 0x0C, 0x18, 0x24, self.PERI, 0x54, self.USB, self.ADC):
            self.reads[control + 8] = lambda: 1
        for control in (self.REF, self.SYS, self.PERI):
            self.writes[control] = self.writes[control + 4] = lambda _value: self._changed()
        self._changed()

    def _changed(self) -> None:
        hz = self.sys_hz
        if hz:  # a switch in two writes passes through nothing
            self.core.set_clock(hz)

    def _divided(self, hz: float, control: int) -> float:
        divider = self.kept[control + 4] / 65536 or 65536
        return hz / divider

    @property
    def ref_hz(self) -> float:
        source = self.kept[self.REF] & 3
        hz = {0: _ROSC_HZ, 1: self.pll_usb.hz, 2: _XOSC_HZ, 3: _LPOSC_HZ}[source]
        return self._divided(hz, self.REF)

    @property
    def sys_hz(self) -> float:
        if not self.kept[self.SYS] & 1:
            return self._divided(self.ref_hz, self.SYS)
        sources = (self.pll_sys.hz, self.pll_usb.hz, _ROSC_HZ, _XOSC_HZ)
        return self._divided(sources[self.kept[self.SYS] >> 5 & 3], self.SYS)

    @property
    def peri_hz(self) -> float:
        if not self.kept[self.PERI] & _ENABLE:
            return 0
        sources = (self.sys_hz, self.pll_sys.hz, self.pll_usb.hz, _ROSC_HZ, _XOSC_HZ)
        return self._divided(sources[self.kept[self.PERI] >> 5 & 7], self.PERI)


class Xosc(RegisterBlock):
    """8.2. Stable a millisecond after it was turned on."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "XOSC", {0x00: 0, 0x08: 0, 0x0C: 0xC4, 0x10: 0})
        self._stable_ns = 0.0
        self.writes[0x00] = lambda _value: self._started()
        self.reads[0x04] = self._status

    def _started(self) -> None:
        self._stable_ns = self.core.now_ns + _XOSC_STARTS_NS

    def _status(self) -> int:
        enabled = self.kept[0x00] >> 12 & 0xFFF == 0xFAB
        if enabled and self.core.now_ns < self._stable_ns:
            self.core.polls(self._stable_ns)
            return enabled << 12
        return enabled << 12 | enabled << 31


class Rosc(RegisterBlock):
    """8.3. Only whether it runs matters here."""

    def __init__(self, core: Cortex, bit: Callable[[], int]) -> None:
        super().__init__(core, "ROSC", {0x00: 0xFAB000, 0x04: 0, 0x08: 0, 0x0C: 0, 0x10: 0,
                                        0x14: 0, 0x24: 0})  # fmt: skip
        self.reads[0x1C] = lambda: 1 << 31 | 1 << 12
        self.reads[0x20] = bit


class Resets(RegisterBlock):
    """7.5. on_reset[bit] is called as a block goes into reset."""

    ALL = 0x1FFFFFFF

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "RESETS", {0x00: self.ALL, 0x04: 0})
        self.on_reset: dict[int, Callable[[], None]] = {}
        self._held = self.ALL
        self.writes[0x00] = self._changed
        self.reads[0x08] = lambda: ~self.kept[0x00] & self.ALL

    def _changed(self, value: int) -> None:
        value &= self.ALL
        for bit, reset in self.on_reset.items():
            if value >> bit & 1 and not self._held >> bit & 1:
                reset()
        self._held = self.kept[0x00] = value


class Ticks(RegisterBlock):
    """8.5: control, cycles and count of processor 0, 1, timer 0, 1, watchdog, RISC-V."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "TICKS", range(0x00, 0x48, 4))
        for control in range(0x00, 0x48, 12):
            self.reads[control] = partial(self._control, control)

    def _control(self, at: int) -> int:
        """Enabled is running."""
        return (self.kept[at] & 1) * 3


class Watchdog(RegisterBlock):
    """12.9. Counts microseconds down; `on_fire(reason)` when it has, or is triggered."""

    TIMER, FORCED = 1, 2

    def __init__(self, core: Cortex, on_fire: Callable[[int], None]) -> None:
        super().__init__(
            core, "WATCHDOG", {0x00: 0x07000000, **dict.fromkeys(range(0x0C, 0x2C, 4), 0)}
        )
        self.reason = 0
        self._on_fire = on_fire
        self._due: Scheduled | None = None
        self._load_us = 0
        self.reads[0x00] = self._control
        self.writes[0x00] = self._controlled
        self.writes[0x04] = self._loaded
        self.reads[0x08] = lambda: self.reason

    @property
    def enabled(self) -> bool:
        return bool(self.kept[0x00] >> 30 & 1)

    def cold(self) -> None:
        """Power came: nothing survives."""
        for offset in range(0x0C, 0x2C, 4):
            self.kept[offset] = 0
        self.warm(0)

    def warm(self, reason: int) -> None:
        """A reset: scratch registers survive, and say why."""
        self.reason = reason
        self.kept[0x00] = 0x07000000
        self._arm()

    def _control(self) -> int:
        left = 0
        if self._due is not None:
            left = max(0, round((self._due.due_ns - self.core.now_ns) / 1000))
        return self.kept[0x00] & 0x7F000000 | left & 0xFFFFFF

    def _controlled(self, value: int) -> None:
        if value >> 31:
            self.core.after(0, lambda: self._on_fire(self.FORCED))
        self._arm()

    def _loaded(self, value: int) -> None:
        self._load_us = value & 0xFFFFFF
        self._arm()

    def _arm(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self.enabled:
            self._due = self.core.after(self._load_us * 1000, lambda: self._on_fire(self.TIMER))


class Powman(RegisterBlock):
    """6.4, and 12.10 the always-on timer, in milliseconds. Writes carry a password."""

    _PASSWORD = 0x5AFE
    _TIMER = 0x88
    _RUN, _USE_LPOSC, _USE_XOSC = 1 << 1, 1 << 8, 1 << 9

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "POWMAN", {
            0x04: 0x8050, 0x08: 0, 0x0C: 0xB0, 0x10: 0xB4, 0x14: 0xB0, 0x18: 0, 0x1C: 0xB1,
            0x20: 0xB0, 0x24: 0xB1, 0x28: 0x203, 0x30: 0, 0x34: 0x1011F0, 0x4C: 0, 0x50: 0x20,
            0x54: 0xC49C, 0x58: 0x2EE0, 0x5C: 0, 0x60: 0, 0x64: 0, 0x68: 0, 0x6C: 0,
            self._TIMER: 0, 0xE0: 0, 0xE4: 0,
        })  # fmt: skip
        self.scratch = range(0xB0, 0xE0, 4)
        self.kept.update(dict.fromkeys(self.scratch, 0))
        self._base_ms, self._since_ns = 0, 0.0
        self.chip_reset = 1 << 16  # HAD_POR
        self.reads[0x2C] = lambda: self.chip_reset
        self.reads[0x70] = lambda: self._now_ms() >> 32
        self.reads[0x74] = self._now_ms
        self.reads[self._TIMER] = self._timer

    def write(self, offset: int, value: int) -> None:
        if offset not in self.scratch:
            if value >> 16 != self._PASSWORD:
                raise self.core.error(f"writes POWMAN {offset:#x} without its password")
            value &= 0xFFFF
        if offset == self._TIMER and (value ^ self.kept[offset]) & self._RUN:
            self._start_or_stop(bool(value & self._RUN))
        super().write(offset, value)

    def change(self, offset: int, alias: int, value: int) -> None:
        if offset not in self.scratch and alias:
            old = self.kept[offset]
            value = {1: old ^ value, 2: old | value, 3: old & ~value}[alias]
            value = value & 0xFFFF | self._PASSWORD << 16
            self.write(offset, value)
        else:
            super().change(offset, alias, value)

    def _timer(self) -> int:
        value = self.kept[self._TIMER]
        return value | bool(value & self._USE_XOSC) << 16 | bool(value & self._USE_LPOSC) << 17

    def _now_ms(self) -> int:
        if not self.kept[self._TIMER] & self._RUN:
            return self._base_ms
        return self._base_ms + int((self.core.now_ns - self._since_ns) / 1e6)

    def _start_or_stop(self, runs: bool) -> None:
        if not runs:
            self._base_ms = self._now_ms()
        else:
            self._base_ms = (self.kept[0x60] << 48 | self.kept[0x64] << 32
                             | self.kept[0x68] << 16 | self.kept[0x6C])  # fmt: skip
            self._since_ns = self.core.now_ns
