"""What is in every Cortex-M beside its instructions: interrupt controller, SysTick, system control
space, cycle counter. See cortex.py, which has the sources."""

from __future__ import annotations

from typing import ClassVar, Protocol

from tallystick.common.errors import TallyError
from tallystick.tools.second_opinion.schedule import Action, Scheduled

SVC, PENDSV, SYSTICK, FIRST_IRQ = 11, 14, 15, 16  # exception numbers
_FIXED = {2: -2, 3: -1}  # priorities of NMI and HardFault
_THREAD = 256  # priority of what is no exception
_SCB, _DWT = 0xE000ED00, 0xE0001000
_PRIORITIES = 0x300  # from the NVIC's first register


class ChipError(TallyError):
    """The program did what this chip does not have: an unknown register, an invalid access."""


class Core(Protocol):
    """What these ask of the core they stand in."""

    hz: float
    nvic: Nvic
    on_reset: Action

    @property
    def now_ns(self) -> float: ...

    @property
    def cpu_ns(self) -> float: ...

    def look(self) -> None: ...

    def masks(self) -> tuple[bool, int]: ...

    def after(self, ns: float, action: Action) -> Scheduled: ...

    def error(self, what: str) -> ChipError: ...


class Nvic:
    """Which exceptions are pending, enabled and active, and which is taken next.

    A peripheral holds its line with `line(irq, level)`: what is not yet active becomes pending, and
    again after the handler while the line is held.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.priority_bits = 0xF0  # those that the chip has
        self.reset()

    def reset(self) -> None:
        self.pending: set[int] = set()  # exception numbers
        self.enabled: set[int] = {2, 3, SVC, PENDSV, SYSTICK}
        self.active: list[int] = []
        self.priority: dict[int, int] = dict(_FIXED)
        self._lines: set[int] = set()
        self.group = 0  # PRIGROUP

    def line(self, irq: int, level: bool) -> None:
        number = FIRST_IRQ + irq
        if not level:
            self._lines.discard(number)
        elif number not in self._lines:
            self._lines.add(number)
            self.pend(number)

    def pend(self, number: int) -> None:
        self.pending.add(number)
        self._core.look()

    def _urgency(self, number: int) -> int:
        """The part of the priority that decides about pre-emption; less is more urgent."""
        priority = self.priority.get(number, 0)
        return priority if priority < 0 else priority >> self.group + 1 << self.group + 1

    def _best(self) -> tuple[int, int] | None:
        ready = self.pending & self.enabled
        if not ready:
            return None
        number = min(ready, key=lambda n: (self.priority.get(n, 0), n))
        return self._urgency(number), number

    def _running(self) -> int:
        return min((self._urgency(number) for number in self.active), default=_THREAD)

    def taken(self) -> int | None:
        """The pending exception that is entered now."""
        best = self._best() if self.pending else None
        if best is None or best[0] >= self._running():
            return None
        masked, base = self._core.masks()
        if best[0] >= 0 and (masked or (base and best[0] >= base)):
            return None
        return best[1]

    def waits(self) -> bool:
        """One would be taken, were it not masked."""
        best = self._best() if self.pending else None
        return best is not None and best[0] < self._running()

    def wakes(self) -> bool:
        """One ends WFI: whether PRIMASK is set does not matter, BASEPRI does."""
        best = self._best() if self.pending else None
        if best is None or best[0] >= self._running():
            return False
        _, base = self._core.masks()
        return not base or best[0] < base

    def entered(self, number: int) -> None:
        self.pending.discard(number)
        self.active.append(number)

    def left(self) -> None:
        number = self.active.pop()
        if number in self._lines:
            self.pending.add(number)

    # Registers, from 0xE000E100.

    def read(self, offset: int, size: int) -> int:
        if offset >= _PRIORITIES:
            return read_priorities(self, FIRST_IRQ + offset - _PRIORITIES, size)
        members: set[int] = set(self.active)
        if offset < 0x100:
            members = self.enabled
        elif offset < 0x200:
            members = self.pending
        first = FIRST_IRQ + (offset & 0x3C) * 8
        return sum(1 << bit for bit in range(8 * size) if first + bit in members)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= _PRIORITIES:
            write_priorities(self, FIRST_IRQ + offset - _PRIORITIES, size, value)
            return
        first = FIRST_IRQ + (offset & 0x3C) * 8
        numbers = {first + bit for bit in range(32) if value >> bit & 1}
        match offset & ~0x3F:
            case 0x00:
                self.enabled |= numbers
            case 0x80:
                self.enabled -= numbers
            case 0x100:
                self.pending |= numbers
            case 0x180:
                self.pending = self.pending - numbers | numbers & self._lines
        self._core.look()


def read_priorities(nvic: Nvic, first: int, size: int) -> int:
    return sum(nvic.priority.get(first + n, 0) << 8 * n for n in range(size))


def write_priorities(nvic: Nvic, first: int, size: int, value: int) -> None:
    for n in range(size):
        nvic.priority[first + n] = value >> 8 * n & nvic.priority_bits


class SysTick:
    """The 24-bit down counter (B3.3). `reference_hz` is its external clock."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.reference_hz = 0.0  # 0: there is none, CLKSOURCE reads as one
        self._event: Scheduled | None = None
        self.reset()

    def reset(self) -> None:
        self._control = self._reload = 0
        self._counted = False  # COUNTFLAG
        self._halted = False
        self._left = 0.0  # ticks until the counter is 0 …
        self._since_ns = 0.0  # … at this time
        self._rate = 0.0  # ticks a ns
        self._cancel()

    def _cancel(self) -> None:
        if self._event is not None:
            self._event.cancel()
            self._event = None

    def _hz(self) -> float:
        external = self.reference_hz and not self._control & 4
        return self.reference_hz if external else self._core.hz

    def _value(self) -> float:
        """Ticks until the counter is 0."""
        return self._left - (self._core.now_ns - self._since_ns) * self._rate

    def retime(self) -> None:
        """Its clock, or what it does, has changed: it goes on from where it is."""
        self._left, self._since_ns = self._value(), self._core.now_ns
        runs = self._control & 1 and self._reload and not self._halted
        self._rate = self._hz() / 1e9 if runs else 0.0
        self._cancel()
        if self._rate:
            self._event = self._core.after(max(0.0, self._left) / self._rate, self._zero)

    def _zero(self) -> None:
        # An instruction's time at most, or what the CPU stalled. Rounding may make it less than 0.
        late = max(0.0, -self._value())
        period = self._reload + 1
        self._left, self._since_ns = period - late % period, self._core.now_ns
        self._counted = True
        if self._control & 2:
            self._core.nvic.pend(SYSTICK)
        self._event = self._core.after(self._left / self._rate, self._zero)

    def halt(self, halted: bool) -> None:
        """Deep sleep takes its clock away."""
        self._halted = halted
        self.retime()

    # Registers, from 0xE000E000.

    def read(self, offset: int, size: int) -> int:
        match offset:
            case 0x04:  # ICTR: lines of interrupts, in 32s
                return 7
            case 0x10:
                value = self._control | self._counted << 16 | (0 if self.reference_hz else 4)
                self._counted = False
                return value
            case 0x14:
                return self._reload
            case 0x18:
                return max(0, min(int(self._value()), self._reload))
            case 0x1C:  # CALIB: NOREF
                return 0 if self.reference_hz else 1 << 31
        return 0  # ACTLR

    def write(self, offset: int, size: int, value: int) -> None:
        match offset:
            case 0x10:
                started = value & 1 and not self._control & 1 and self._left <= 0
                self.retime()
                self._control = value & 7
                if started:
                    self._left = float(self._reload + 1)
            case 0x14:
                self._reload = value & 0xFFFFFF
            case 0x18:  # any write makes it 0; it is loaded with the next tick
                self._counted = False
                self._rate = 0.0
                self._left = float(self._reload + 1)
        self.retime()


class SystemControl:
    """The system control block, from 0xE000ED00. What only configures (MPU, SAU, FPU, faults) is
    kept and has no effect."""

    _FIXED: ClassVar[dict[int, int]] = {
        **dict.fromkeys(range(0x40, 0x88, 4), 0),  # features
        0x90: 0,  # MPU_TYPE: none
        0x240: 0x10110021, 0x244: 0x11000011, 0x248: 0x40,  # of the FPU
    }  # fmt: skip
    _KEPT: ClassVar[set[int]] = {
        0x14, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38, 0x3C, 0x88, 0x8C,  # faults, coprocessors
        *range(0x94, 0xE8, 4),  # MPU, SAU
        0xF0, 0xFC,  # debug
        0x234, 0x238, 0x23C,  # FPU
    }  # fmt: skip

    def __init__(self, core: Core, cpuid: int) -> None:
        self._core = core
        self._cpuid = cpuid
        self.reset(0)

    def reset(self, vectors: int) -> None:
        self.vectors = vectors
        self._kept: dict[int, int] = {0x14: 0x200}  # CCR: STKALIGN
        self._control = 0  # SCR

    @property
    def sleeps_deeply(self) -> bool:
        return bool(self._control & 4)

    def read(self, offset: int, size: int) -> int:
        nvic, at = self._core.nvic, offset & ~3
        registers = {0x00: self._cpuid, 0x08: self.vectors, 0x10: self._control, **self._FIXED}
        if at in registers:
            word = registers[at]
        elif at in self._KEPT:
            word = self._kept.get(at, 0)
        elif at == 0x04:
            word = self._state()
        elif at == 0x0C:
            word = 0xFA050000 | nvic.group << 8
        elif 0x18 <= at < 0x24:
            word = read_priorities(nvic, at - 0x14, 4)
        else:
            raise self._core.error(f"read {_SCB + at:#x}, which this core does not have")
        return word >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def _state(self) -> int:
        """ICSR: what is active and pending."""
        nvic = self._core.nvic
        word = nvic.active[-1] if nvic.active else 0
        word |= (PENDSV in nvic.pending) << 28 | (SYSTICK in nvic.pending) << 26
        return word | max(nvic.pending & nvic.enabled, default=0) << 12

    def write(self, offset: int, size: int, value: int) -> None:
        nvic = self._core.nvic
        if offset in self._KEPT:
            self._kept[offset] = value
        elif offset == 0x04:
            for number, pends, clears in ((PENDSV, 28, 27), (SYSTICK, 26, 25)):
                if value >> clears & 1:
                    nvic.pending.discard(number)
                if value >> pends & 1:
                    nvic.pend(number)
        elif offset == 0x08:
            self.vectors = value & ~0x7F
        elif offset == 0x0C:
            self._reset_control(value)
        elif offset == 0x10:
            self._control = value
        elif 0x18 <= offset < 0x24:
            write_priorities(nvic, offset - 0x14, size, value)
        elif offset == 0x200:  # STIR
            nvic.pend(FIRST_IRQ + (value & 0x1FF))
        elif not 0x250 <= offset < 0x280:  # caches: there are none
            raise self._core.error(f"wrote {_SCB + offset:#x}, which this core does not have")

    def _reset_control(self, value: int) -> None:
        """AIRCR: taken with its key only."""
        if value >> 16 == 0x05FA:
            self._core.nvic.group = value >> 8 & 7
            if value & 4:
                self._core.after(0, self._core.on_reset)


class CycleCounter:
    """Of the DWT, what counts cycles (C1.8)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._control = self._offset = 0

    def _cycles(self) -> int:
        return int(self._core.cpu_ns * self._core.hz / 1e9)

    def read(self, offset: int, size: int) -> int:
        match offset:
            case 0x0:
                return self._control | 4 << 28
            case 0x4:
                return self._cycles() - self._offset & 0xFFFFFFFF if self._control & 1 else 0
            case 0xFB0 | 0xFB4:  # no lock
                return 0
        raise self._core.error(f"read {_DWT + offset:#010x}, which this core does not have")

    def write(self, offset: int, size: int, value: int) -> None:
        match offset:
            case 0x0:
                self._control = value & 1
            case 0x4:
                self._offset = self._cycles() - value
            case 0xFB0:
                pass
            case _:
                raise self._core.error(
                    f"wrote {_DWT + offset:#010x}, which this core does not have"
                )
