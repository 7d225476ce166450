"""A Cortex-M33 on unicorn: what that engine leaves out.

The engine executes instructions; exceptions, the interrupt controller, sleep and time are here
(Armv8-M Architecture Reference Manual, B3). Time is counted in instructions: the engine's own count
of them is exact at every access to a register, and costs next to nothing.

unicorn is GPL-2: an extra of its own, imported by this tool alone.
"""

from __future__ import annotations

import ctypes
import heapq
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tallystick.common.errors import BadInputError, TallyError

if TYPE_CHECKING:
    from unicorn import Uc

PENDSV, SYSTICK, SVC, FIRST_IRQ = 14, 15, 11, 16
_AT_SVC, _AT_BKPT, _AT_RETURN, _NO_COPROCESSOR = 2, 7, 8, 17  # the engine's exceptions
_WFI, _WFE = 0xBF30, 0xBF20
_SEV_ON_PEND, _SLEEP_DEEP = 0x10, 0x04  # of SCR
_NO_PRIORITY = 256
_SHORT, _LONG = 32, 104  # bytes of a frame, without and with floating-point registers
_RETURN, _NO_FLOATS, _TO_THREAD, _ON_PSP = 0xFFFFFFE1, 0x10, 0x08, 0x04
_FPCA, _SPSEL = 0x04, 0x02  # of CONTROL
_THUMB, _REALIGNED = 1 << 24, 1 << 9  # of xPSR
_SLICE, _MASKED_SLICE = 200_000, 100  # instructions in one go; while a pending one is masked


class FirmwareFaultError(TallyError):
    """The program did what this chip has no answer for."""


@dataclass(order=True)
class Event:
    """Something that the chip does at a time, ns."""

    ns: float
    number: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class Core:
    """One core with `irqs` interrupt lines. The chip maps memory and registers into `uc`.

    on_bkpt(pc): at a BKPT; whether it was played. on_coprocessor(first, second halfword): at an
    instruction for a coprocessor; whether it was played. Both leave PC to the core.
    """

    def __init__(self, irqs: int, priority_bits: int = 4) -> None:
        try:
            import unicorn  # noqa: PLC0415 (an optional extra)
            from unicorn import arm_const  # noqa: PLC0415
        except ImportError as error:
            raise BadInputError(
                "A second opinion on this chip needs unicorn, which is not installed.",
                todo="pip install 'tallystick[unicorn]'",
            ) from error
        self._error = unicorn.UcError
        self._numbers: dict[str, int] = {}
        self._names = arm_const
        mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        self.uc: Uc = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
        self.uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M33)
        self._count, self._limit = _counters(self.uc)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._trapped)
        self._trap: int | None = None
        self._priority_mask = 0xFF & ~(0xFF >> priority_bits)
        self._irqs = irqs
        self.on_bkpt: Callable[[int], bool] = lambda _pc: False
        self.on_coprocessor: Callable[[int, int], bool] = lambda _first, _second: False
        self.instruction_ns = 1000 / 12
        self._ns = 0.0
        self._settled = 0
        self._running = False
        self.busy_ns = 0.0  # of the time: spent executing
        self.instructions = 0
        self._events: list[Event] = []
        self._event_number = 0
        self.reset()

    def reset(self) -> None:
        """The processor's state as after a reset; memory, time and events stay."""
        self.vtor = self.scr = self.cpacr = 0
        self.ccr = 0x201
        self._enabled: set[int] = set()
        self._pending: set[int] = set()
        self._lines: set[int] = set()
        self._active: list[int] = []
        self._priority = [0] * (FIRST_IRQ + self._irqs)
        self.sleeping = False
        self._event_flag = False
        self._systick_ctrl = self._systick_load = 0
        self._systick_from = 0.0
        self._systick_event: Event | None = None
        for name in [f"R{n}" for n in range(13)] + ["CONTROL", "PRIMASK", "BASEPRI", "FAULTMASK"]:
            self[name] = 0
        self["XPSR"], self["LR"] = _THUMB, 0xFFFFFFFF

    def start(self, vectors: int) -> None:
        """Begins where the vector table there says."""
        stack, entry = struct.unpack("<II", self.read(vectors, 8))
        self.vtor = vectors
        self["MSP"] = self["SP"] = stack
        self["PC"] = entry | 1

    # -- registers and memory ------------------------------------------------------------------

    def __getitem__(self, name: str) -> int:
        return int(self.uc.reg_read(self._register(name)))

    def __setitem__(self, name: str, value: int) -> None:
        self.uc.reg_write(self._register(name), value & 0xFFFFFFFF)

    def _register(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = getattr(self._names, f"UC_ARM_REG_{name}")
        return self._numbers[name]

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        self.uc.mem_write(address, data)

    # -- time ----------------------------------------------------------------------------------

    @property
    def now_ns(self) -> float:
        if not self._running:
            return self._ns
        return self._ns + (self._count.value - self._settled) * self.instruction_ns

    def _settle(self) -> None:
        if self._running:
            executed = self._count.value - self._settled
            self._settled += executed
            self.instructions += executed
            self._ns += executed * self.instruction_ns
            self.busy_ns += executed * self.instruction_ns

    def set_clock(self, hz: float, cycles: float) -> None:
        """`hz` cycles a second, `cycles` an instruction."""
        self._settle()
        self.instruction_ns = 1e9 / hz * cycles
        self.look_soon()

    def at(self, ns: float, action: Callable[[], None]) -> Event:
        self._event_number += 1
        event = Event(ns, self._event_number, action)
        heapq.heappush(self._events, event)
        if self._running:
            left = math.ceil(max(0.0, ns - self.now_ns) / self.instruction_ns)
            self._limit.value = min(self._limit.value, self._count.value + left)
        return event

    def after(self, ns: float, action: Callable[[], None]) -> Event:
        return self.at(self.now_ns + ns, action)

    def spend(self, ns: float) -> None:
        """The processor is held up for `ns`: by its bus, or in its boot ROM."""
        self._settle()
        self._ns += ns
        self.busy_ns += ns
        self.look_soon()

    def polled(self, ns: float) -> None:
        """The program polls for what comes at `ns`: time goes on to there, or to an event before."""
        ahead = min(ns, self._next_ns()) - self.now_ns
        if ahead > 0:
            self.spend(ahead)

    def look_soon(self) -> None:
        """What happened is looked at after this instruction."""
        if self._running:
            self._limit.value = min(self._limit.value, self._count.value)

    def run(self, until_ns: float, stop: Callable[[], bool]) -> None:
        """Until that time, or until `stop()`, asked between slices of execution."""
        while self._ns < until_ns and not stop():
            self._play_events()
            self._take_exception()
            if self.sleeping:
                self._ns = max(self._ns, min(self._next_ns(), until_ns))
            else:
                self._execute(min(self._next_ns(), until_ns))

    def _next_ns(self) -> float:
        while self._events and self._events[0].cancelled:
            heapq.heappop(self._events)
        return self._events[0].ns if self._events else math.inf

    def _play_events(self) -> None:
        while self._next_ns() <= self._ns:
            heapq.heappop(self._events).action()

    def _execute(self, until_ns: float) -> None:
        most = _MASKED_SLICE if self._pending & self._enabled_all() else _SLICE
        count = max(1, min(most, math.ceil((until_ns - self._ns) / self.instruction_ns)))
        pc = self["PC"]
        self._trap, self._settled, self._running = None, 0, True
        failed: Any = None
        try:
            self.uc.emu_start(pc | 1, 0, count=count)
        except self._error as error:
            failed = error
        finally:
            if self._count.value > self._limit.value:  # the engine counts the one it refused
                self._count.value -= 1
            self._settle()
            self._running = False
        if self._trap is not None:
            self._play_trap(self._trap)
        elif failed is not None or count > 1:
            self._look_for_sleep(failed)

    def _look_for_sleep(self, failed: Any) -> None:
        pc = self["PC"]
        try:
            last = struct.unpack("<H", self.read(pc - 2, 2))[0]
        except self._error:
            last = 0
        if failed is not None and last == _WFE:
            self.sleeping = not self._event_flag
            self._event_flag = False
        elif failed is not None:
            raise self.fault(f"The program failed: {failed}")
        elif last == _WFI and self._stopped_early():
            self.sleeping = True
        if self.sleeping and self._wakes():
            self.sleeping = False

    def _stopped_early(self) -> bool:
        return int(self._count.value) < int(self._limit.value)

    def fault(self, what: str) -> FirmwareFaultError:
        names = [f"R{n}" for n in range(13)] + ["SP", "LR", "PC", "XPSR"]
        registers = " ".join(f"{name}={self[name]:08x}" for name in names)
        return FirmwareFaultError(
            f"{what} ({registers}).",
            todo="Look PC up in the firmware's map; the chip's data sheet says what is there.",
        )

    # -- exceptions ----------------------------------------------------------------------------

    def line(self, irq: int, level: bool) -> None:
        """An interrupt line, which asks as long as it is high."""
        number = FIRST_IRQ + irq
        if not level:
            self._lines.discard(number)
            return
        if number not in self._lines:
            self._lines.add(number)
            self.pend(number)

    def pend(self, number: int) -> None:
        if number not in self._pending:
            self._pending.add(number)
            if self.scr & _SEV_ON_PEND:
                self._event_flag = True
            self.look_soon()
        if self.sleeping and self._wakes():
            self.sleeping = False

    def send_event(self) -> None:
        self._event_flag = True
        self.sleeping = False

    def _enabled_all(self) -> set[int]:
        return self._enabled | {PENDSV, SYSTICK, SVC}

    def _wakes(self) -> bool:
        """WFI ends with what would be taken if PRIMASK were clear; SEVONPEND's with any."""
        if self._event_flag and self.scr & _SEV_ON_PEND and self._pending:
            return True
        return self._best(ignore_primask=True) is not None

    def _best(self, *, ignore_primask: bool = False) -> int | None:
        ready = self._pending & self._enabled_all()
        if not ready:
            return None
        if not ignore_primask and (self["PRIMASK"] & 1 or self["FAULTMASK"] & 1):
            return None
        number = min(ready, key=lambda n: (self._priority[n], n))
        current = min((self._priority[n] for n in self._active), default=_NO_PRIORITY)
        base = self["BASEPRI"]
        if base:
            current = min(current, base)
        return number if self._priority[number] < current else None

    def _take_exception(self) -> None:
        number = self._best() if self._pending else None
        if number is None:
            return
        self.sleeping = False
        self._event_flag = True
        self._pending.discard(number)
        self._enter(number)

    def _enter(self, number: int) -> None:
        control, xpsr = self["CONTROL"], self["XPSR"]
        floats = bool(control & _FPCA)
        on_psp = not self._active and bool(control & _SPSEL)
        sp = self["SP"]
        at = sp - (_LONG if floats else _SHORT)
        if at & 4:
            at -= 4
            xpsr |= _REALIGNED
        else:
            xpsr &= ~_REALIGNED
        names = ("R0", "R1", "R2", "R3", "R12", "LR", "PC")
        frame = struct.pack("<8I", *(self[name] for name in names), xpsr)
        if floats:
            frame += struct.pack("<18I", *(self[f"S{n}"] for n in range(16)), self["FPSCR"], 0)
        self.write(at, frame)
        back = _RETURN
        back |= 0 if floats else _NO_FLOATS
        back |= 0 if self._active else _TO_THREAD
        back |= _ON_PSP if on_psp else 0
        self["SP"] = at
        self["CONTROL"] = control & ~(_FPCA | _SPSEL)
        self["XPSR"] = _THUMB | number
        if on_psp:
            self["PSP"] = at
            self["SP"] = self["MSP"]
        self["LR"] = back
        self._active.append(number)
        self["PC"] = struct.unpack("<I", self.read(self.vtor + 4 * number, 4))[0] | 1

    def _leave(self, back: int) -> None:
        if not self._active:
            raise self.fault("The program returned from an exception that it is not in")
        number = self._active.pop()
        if number in self._lines:
            self._pending.add(number)
        self._event_flag = True
        floats = not back & _NO_FLOATS
        on_psp = bool(back & _ON_PSP)
        at = self["PSP"] if on_psp else self["SP"]
        frame = struct.unpack("<8I", self.read(at, _SHORT))
        control = self["CONTROL"] & ~(_FPCA | _SPSEL)
        if floats:
            values = struct.unpack("<17I", self.read(at + _SHORT, 68))
            for n in range(16):
                self[f"S{n}"] = values[n]
            self["FPSCR"] = values[16]
        xpsr = frame[7]
        sp = at + (_LONG if floats else _SHORT) + (4 if xpsr & _REALIGNED else 0)
        self["XPSR"] = xpsr & ~_REALIGNED
        if on_psp:
            self["PSP"] = sp
        self["CONTROL"] = control | (_FPCA if floats else 0) | (_SPSEL if on_psp else 0)
        self["SP"] = sp
        for name, value in zip(("R0", "R1", "R2", "R3", "R12", "LR"), frame, strict=False):
            self[name] = value
        self["PC"] = frame[6] | 1
        if back & _TO_THREAD and self._active:
            raise self.fault("The program returned to its main thread out of a nested exception")

    def _trapped(self, uc: Uc, number: int, _data: Any) -> None:
        self._trap = number
        uc.emu_stop()

    def _play_trap(self, number: int) -> None:
        pc = self["PC"]
        if number == _AT_RETURN:
            self._leave(pc | 1)
        elif number == _AT_SVC:
            self.pend(SVC)
        elif number == _AT_BKPT and self.on_bkpt(pc):
            pass
        elif number == _NO_COPROCESSOR:
            first, second = struct.unpack("<HH", self.read(pc, 4))
            if not self.on_coprocessor(first, second):
                raise self.fault(f"No coprocessor knows {first:04x} {second:04x}")
            self["PC"] = (pc + 4) | 1
        else:
            raise self.fault(f"The program ran into exception {number} of the engine")

    # -- the system control space, 0xE000E000 and on -------------------------------------------

    def read_system(self, offset: int) -> int:
        """A register of 0xE0000000 + `offset`."""
        if offset == 0x1004:  # DWT_CYCCNT
            return int(self.now_ns / self.instruction_ns) & 0xFFFFFFFF
        kept = {
            0x1000: 0, 0xE008: 0, 0xED00: 0x411FD210, 0xED08: self.vtor, 0xED0C: 0xFA050000, 0xED10: self.scr,
            0xED14: self.ccr, 0xED24: 0, 0xED28: 0, 0xED2C: 0, 0xED88: self.cpacr, 0xED90: 0x800,
            0xEF34: 0xC0000004, 0xEDFC: 0, 0xE004: 1,
        }  # fmt: skip
        if offset in kept:
            return kept[offset]
        if offset == 0xED04:
            active = self._active[-1] if self._active else 0
            pending = min(self._pending & self._enabled_all(), default=0)
            return active | pending << 12 | (PENDSV in self._pending) << 28
        if 0xE010 <= offset < 0xE020:
            return self._read_systick(offset)
        for base, numbers in ((0xE100, self._enabled), (0xE180, self._enabled),
                              (0xE200, self._pending), (0xE280, self._pending),
                              (0xE300, set(self._active))):  # fmt: skip
            if base <= offset < base + 0x40:
                first = FIRST_IRQ + (offset - base) * 8
                return sum(1 << bit for bit in range(32) if first + bit in numbers)
        at = self._priority_at(offset)
        if at is not None:
            return int.from_bytes(bytes(self._priority[at : at + 4]).ljust(4, b"\0"), "little")
        raise self.fault(f"No register of the processor is known at e000{offset:04x}, read")

    def _priority_at(self, offset: int) -> int | None:
        if 0xE400 <= offset < 0xE400 + self._irqs:
            return FIRST_IRQ + (offset & ~3) - 0xE400
        if 0xED18 <= offset < 0xED24:
            return 4 + (offset & ~3) - 0xED18
        return None

    def write_system(self, offset: int, size: int, value: int) -> None:
        numbers = range(FIRST_IRQ, FIRST_IRQ + self._irqs)
        for base, act in ((0xE100, self._enable), (0xE180, self._enabled.discard),
                          (0xE200, self.pend), (0xE280, self._unpend)):  # fmt: skip
            if base <= offset < base + 0x40:
                first = FIRST_IRQ + (offset - base) * 8
                for bit in range(32):
                    if value >> bit & 1 and first + bit in numbers:
                        act(first + bit)
                return
        at = self._priority_at(offset)
        if at is not None:
            for index, byte in enumerate(value.to_bytes(size, "little")):
                if at + (offset & 3) + index < len(self._priority):
                    self._priority[at + (offset & 3) + index] = byte & self._priority_mask
        elif offset == 0xED04:
            if value >> 28 & 1:
                self.pend(PENDSV)
            if value >> 27 & 1:
                self._pending.discard(PENDSV)
            if value >> 26 & 1:
                self.pend(SYSTICK)
            if value >> 25 & 1:
                self._pending.discard(SYSTICK)
        elif offset == 0xED08:
            self.vtor = value
        elif offset == 0xED0C:
            if value & 4:
                raise self.fault("The program asks for a reset by AIRCR, which is not played")
        elif offset == 0xED10:
            self.scr = value
        elif offset == 0xED14:
            self.ccr = value
        elif offset == 0xED88:
            self.cpacr = value
        elif 0xE010 <= offset < 0xE020:
            self._write_systick(offset, value)
        elif offset == 0xEF00:
            self.pend(FIRST_IRQ + value)
        elif offset not in (0x1000, 0x1004, 0xE008, 0xED24, 0xED28, 0xED94, 0xEDFC, 0xEF34, 0xED8C):
            raise self.fault(f"No register of the processor is known at e000{offset:04x}, written")

    def _enable(self, number: int) -> None:
        self._enabled.add(number)
        if number in self._lines and number not in self._active:
            self.pend(number)
        self.look_soon()

    def _unpend(self, number: int) -> None:
        self._pending.discard(number)
        if number in self._lines and number not in self._active:
            self._pending.add(number)

    # -- SysTick -------------------------------------------------------------------------------

    def _read_systick(self, offset: int) -> int:
        if offset == 0xE010:
            return self._systick_ctrl
        if offset == 0xE014:
            return self._systick_load
        if offset == 0xE01C:
            return 0
        if not self._systick_ctrl & 1:
            return 0
        passed = int((self.now_ns - self._systick_from) / self.instruction_ns)
        return self._systick_load - passed % (self._systick_load + 1)

    def _write_systick(self, offset: int, value: int) -> None:
        if offset == 0xE010:
            self._systick_ctrl = value & 7
        elif offset == 0xE014:
            self._systick_load = value & 0xFFFFFF
        self._systick_from = self.now_ns
        if self._systick_event is not None:
            self._systick_event.cancel()
            self._systick_event = None
        if self._systick_ctrl & 3 == 3 and self._systick_load:
            self._tick_later()

    def _tick_later(self) -> None:
        period = (self._systick_load + 1) * self.instruction_ns
        self._systick_event = self.after(period, self._tick)

    def _tick(self) -> None:
        self.pend(SYSTICK)
        self._tick_later()


def _counters(uc: Uc) -> tuple[ctypes.c_uint64, ctypes.c_uint64]:
    """The engine's count of executed instructions and its limit, found by letting it count.

    Both lie in its own structure, side by side; no function tells the first. Raises BadInputError
    when they are not found: another version of the engine keeps them elsewhere.
    """
    handle = uc._uch.value
    at, turns = 0x2000_0000, 4321
    uc.mem_map(at, 0x1000)
    uc.mem_write(at, bytes.fromhex("fee7"))  # b .
    uc.emu_start(at | 1, 0, count=turns)
    uc.mem_unmap(at, 0x1000)
    memory = struct.unpack("<512Q", ctypes.string_at(handle, 4096))
    places = [n for n in range(511) if memory[n] == turns + 1 and memory[n + 1] == turns]
    if len(places) != 1:
        raise BadInputError(
            "This version of unicorn keeps its count of instructions where it is not found.",
            todo="Install the version that pyproject.toml names.",
        )
    address = handle + 8 * places[0]
    return ctypes.c_uint64.from_address(address), ctypes.c_uint64.from_address(address + 8)
