"""A Cortex-M at the level of its instructions: Unicorn's core, and around it what that leaves out.

Unicorn executes instructions and nothing else of a microcontroller. Here are exception entry and
return with their priorities, the interrupt controller, SysTick, waiting for an interrupt, and
virtual time, which is counted in instructions. A chip adds its memories and peripherals:

    core = Cortex("cortex-m4", CPU_HZ)
    core.memory(0x20000000, 96 * 1024)
    core.attach(0x40013800, 0x400, Uart(core, irq=37))
    core.reset(0x08000000)
    core.run(until_ns)

Unicorn is GPL-2: an extra of its own (`pip install 'tallystick[unicorn]'`), imported by this tool
alone and only when a chip is made.

Sources: ARMv7-M Architecture Reference Manual (DDI 0403), B1.5 exceptions, B3.2 system control,
B3.3 SysTick, B3.4 NVIC, C1.8 DWT; ARMv8-M (DDI 0553) for the Cortex-M33, all of it in Secure state;
ARMv6-M (DDI 0419) for the Cortex-M0+.

What it does not do: faults that firmware would handle (they end the run with a `ChipError`),
debug, MPU, caches and bus contention. An instruction takes `cycles_per_instruction` on the average.
"""

from __future__ import annotations

import ctypes
import heapq
import math
import struct
from collections.abc import Callable
from importlib import import_module, metadata
from itertools import count
from typing import Any, Literal, Protocol

from tallystick.common.errors import BadInputError
from tallystick.tools.second_opinion.cortex_system import (
    FIRST_IRQ,
    PENDSV,
    SVC,
    SYSTICK,
    ChipError,
    CycleCounter,
    Nvic,
    SystemControl,
    SysTick,
)
from tallystick.tools.second_opinion.register_set import RegisterSet
from tallystick.tools.second_opinion.schedule import Action, Scheduled

__all__ = [
    "FIRST_IRQ",
    "PENDSV",
    "SVC",
    "SYSTICK",
    "ChipError",
    "Cortex",
    "Peripheral",
    "Scheduled",
]

Model = Literal["cortex-m0", "cortex-m4", "cortex-m33"]

_CPUID = {"cortex-m0": 0x410CC601, "cortex-m4": 0x410FC241, "cortex-m33": 0x411FD210}
_WFI, _WFE, _YIELD = 0xBF30, 0xBF20, 0xBF10
_SLICE = 2_000_000  # instructions, at most, between two looks at what is due
# While an interrupt waits for firmware to let it in: instruction by instruction, then longer.
_MASKED_STEPS, _MASKED_SLICE = 200, 500
_NO_ADDRESS = 0xFFFFFFFE
_BIT_BAND = 0x42000000  # of the peripherals


class Peripheral(Protocol):
    """A peripheral. `offset` is from the address where it was attached, `size` 1, 2 or 4 bytes."""

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


class Cortex:
    """Times are virtual, in ns since it was made. `on_sleep(deep)` is called when firmware waits
    for an interrupt; `on_reset()` when it asks for a reset: the chip then calls `reset`.
    `on_coprocessor(first, second)` is given the halfwords of an instruction for a coprocessor that
    Unicorn lacks, and `on_breakpoint(pc)` is called at a BKPT: whether they played it. The core
    then goes on after it."""

    def __init__(self, model: Model, hz: float, cycles_per_instruction: float) -> None:
        """Raises BadInputError without Unicorn, or with one that counts in another way."""
        try:
            unicorn: Any = import_module("unicorn")
            arm_const: Any = import_module("unicorn.arm_const")
        except ImportError as error:
            raise BadInputError(
                "A second opinion on this board needs unicorn, which is not installed.",
                todo="pip install 'tallystick[unicorn]'",
            ) from error
        self._c, self._u = arm_const, unicorn
        self.uc: Any = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self.uc.ctl_set_cpu_model(
            getattr(arm_const, "UC_CPU_ARM_" + model.upper().replace("-", "_"))
        )
        self._counter, self._limit = _counters(self.uc)
        self._has_fpu = model != "cortex-m0"
        registers = ("R0", "R1", "R2", "R3", "R12", "LR")
        state = "XPSR_NZCVQG"
        self._sets = {
            "frame": RegisterSet(self.uc, *registers, "PC", "XPSR", "SP", "CONTROL"),
            "fp": RegisterSet(self.uc, *(f"S{n}" for n in range(16)), "FPSCR"),
            "enter": RegisterSet(self.uc, "SP", state, "CONTROL", "LR", "PC"),
            "stacks": RegisterSet(self.uc, "MSP", "PSP", "CONTROL"),
            "exit": RegisterSet(self.uc, "MSP", "PSP", state, "CONTROL", *registers, "PC"),
            "masks": RegisterSet(self.uc, "PRIMASK", "FAULTMASK", "BASEPRI"),
        }
        self.cycles_per_instruction = cycles_per_instruction
        self.on_sleep: Callable[[bool], None] = _nothing
        self.on_wake: Action = _nothing  # from a deep sleep
        self.on_reset: Action = _nothing
        self.on_breakpoint: Callable[[int], bool] = lambda _pc: False
        self.on_coprocessor: Callable[[int, int], bool] = lambda _first, _second: False
        self.faults: list[str] = []
        self.instructions = 0  # executed since it was made, without the slice that runs
        self.asleep = False  # waiting for an interrupt or an event
        self.held = False  # by the chip: no clock, or in reset
        self._cpu_ns = self._ns = 0.0
        self._running = False
        self._counted = 0  # instructions of the slice that are in `_ns` already
        self._pc = 0
        self._deep = self._spurious = self._event = self._over = False
        self._left: int | None = None  # an EXC_RETURN that was branched to
        self._called = False  # SVC
        self._refused = False  # an instruction for a coprocessor
        self._broke = False  # BKPT
        self._failure: Exception | None = None  # of a peripheral
        self._events: list[tuple[float, int, Scheduled]] = []
        self._order = count()
        self._devices: dict[int, tuple[int, Peripheral]] = {}  # address >> 8
        self._windows: set[int] = set()
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._unmapped)
        self.hz, self._ns_per_instruction = hz, 1e9 * cycles_per_instruction / hz
        self.nvic = Nvic(self)
        self.systick = SysTick(self)
        self.scb = SystemControl(self, _CPUID[model])
        self.attach(0xE000E000, 0x100, self.systick)
        self.attach(0xE000E100, 0x500, self.nvic)
        self.attach(0xE000ED00, 0x300, self.scb)
        self.attach(0xE0001000, 0x1000, CycleCounter(self))
        if model == "cortex-m4":
            self._map(_BIT_BAND, 0x2000000, self._read_bit, self._write_bit)

    # -- memory --------------------------------------------------------------------------------

    def memory(self, address: int, size: int, *, writable: bool = True) -> None:
        """RAM, or (not writable) flash and ROM, whose writes go to `on_write_protected`."""
        rights = self._u.UC_PROT_READ | self._u.UC_PROT_EXEC
        self.uc.mem_map(address, size, rights | (self._u.UC_PROT_WRITE if writable else 0))

    def on_write_protected(
        self, address: int, size: int, write: Callable[[int, int, int], None]
    ) -> None:
        """`write(address, size, value)` hears of stores into a range that is not writable. The
        memory does not change unless it does so with `load`."""

        def hook(_uc: object, _kind: int, at: int, width: int, value: int, _data: object) -> bool:
            try:
                write(at, width, value & (1 << 8 * width) - 1)
            except Exception as error:
                self._fail(error)
            return True

        self.uc.hook_add(
            self._u.UC_HOOK_MEM_WRITE_PROT, hook, begin=address, end=address + size - 1
        )

    def load(self, address: int, data: bytes) -> None:
        """Writes memory of any kind, as a programmer does."""
        self.uc.mem_write(address, data)

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size))

    def word(self, address: int) -> int:
        return int.from_bytes(self.uc.mem_read(address, 4), "little")

    def attach(self, address: int, size: int, device: Peripheral) -> None:
        """A peripheral, in steps of 256 bytes. What is in the same 4 KiB and not attached, raises
        ChipError with its address when firmware touches it; so does what was never attached."""
        for page in range(address >> 12, (address + size - 1 >> 12) + 1):
            if page not in self._windows:
                self._windows.add(page)
                self._map(page << 12, 0x1000, self._read_register, self._write_register)
        for block in range(address >> 8, address + size >> 8):
            self._devices[block] = (address, device)

    def window(self, address: int, size: int, device: Peripheral) -> None:
        """A whole range of addresses, in steps of 4 KiB, to one device, which gets whole addresses:
        a bus of its own."""
        self._map(address, size, device.read, device.write)

    def _map(
        self,
        address: int,
        size: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
    ) -> None:
        """`read(address, size)` and `write(address, size, value)`. What they raise may not pass
        through Unicorn: it is raised again by `run`."""

        def on_read(_uc: object, offset: int, width: int, _data: object) -> int:
            try:
                return read(address + offset, width)
            except Exception as error:
                self._fail(error)
                return 0

        def on_write(_uc: object, offset: int, width: int, value: int, _data: object) -> None:
            try:
                write(address + offset, width, value)
            except Exception as error:
                self._fail(error)

        self.uc.mmio_map(address, size, on_read, None, on_write, None)

    def trap(self, address: int, action: Action) -> None:
        """`action` is called each time before the instruction at `address` is executed. One trap is
        enough to make everything slower: Unicorn then calls out at each instruction."""
        self.uc.hook_add(self._u.UC_HOOK_CODE, lambda *_args: action(), begin=address, end=address)

    def _read_register(self, address: int, size: int) -> int:
        start, device = self._device("read", address)
        return device.read(address - start, size)

    def _write_register(self, address: int, size: int, value: int) -> None:
        start, device = self._device("wrote", address)
        device.write(address - start, size, value)

    def _read_bit(self, address: int, size: int) -> int:
        """A bit of a peripheral's register, seen as a word (DDI 0439, 3.7)."""
        at = 0x40000000 + (address - _BIT_BAND >> 7 << 2)
        return self._read_register(at, 4) >> (address >> 2 & 31) & 1

    def _write_bit(self, address: int, size: int, value: int) -> None:
        at, bit = 0x40000000 + (address - _BIT_BAND >> 7 << 2), address >> 2 & 31
        self._write_register(at, 4, self._read_register(at, 4) & ~(1 << bit) | (value & 1) << bit)

    def _device(self, verb: str, address: int) -> tuple[int, Peripheral]:
        found = self._devices.get(address >> 8)
        if found is None:
            raise self.error(f"{verb} {address:#010x}, which this chip does not have")
        return found

    def _unmapped(
        self, _uc: object, kind: int, address: int, _size: int, _value: int, _data: object
    ) -> bool:
        wrote = kind == self._u.UC_MEM_WRITE_UNMAPPED
        verb = (
            "wrote" if wrote else "jumped to" if kind == self._u.UC_MEM_FETCH_UNMAPPED else "read"
        )
        self._fail(self.error(f"{verb} {address:#010x}, which this chip does not have"))
        return False

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.uc.emu_stop()

    def fault(self, what: str) -> None:
        """The program does what a data sheet forbids: kept in `faults`, once."""
        sentence = f"The program {what} (at {self.pc:#010x})."
        if sentence not in self.faults:
            self.faults.append(sentence)

    def error(self, what: str) -> ChipError:
        """An error of the program, with where it is."""
        return ChipError(
            f"The program {what} (at {self.pc:#010x}).",
            todo="If the real chip has it, add it to the chip's file.",
        )

    # -- registers -----------------------------------------------------------------------------

    @property
    def pc(self) -> int:
        return int(self.uc.reg_read(self._c.UC_ARM_REG_PC))

    @pc.setter
    def pc(self, value: int) -> None:
        self._pc = value & ~1
        self.uc.reg_write(self._c.UC_ARM_REG_PC, value | 1)

    def reg(self, number: int) -> int:
        """r0 to r15."""
        return int(self.uc.reg_read(self._number(number)))

    def set_reg(self, number: int, value: int) -> None:
        self.uc.reg_write(self._number(number), value & 0xFFFFFFFF)

    def _number(self, number: int) -> int:
        return int(getattr(self._c, f"UC_ARM_REG_R{number}"))

    def masks(self) -> tuple[bool, int]:
        """(PRIMASK or FAULTMASK is set, BASEPRI)."""
        primask, faultmask, basepri = self._sets["masks"].read()
        return bool((primask | faultmask) & 1), basepri

    def special(self, name: str) -> int:
        """PRIMASK, BASEPRI, FAULTMASK, CONTROL, MSP, PSP, XPSR."""
        return int(self.uc.reg_read(getattr(self._c, f"UC_ARM_REG_{name}")))

    def _set_special(self, name: str, value: int) -> None:
        self.uc.reg_write(getattr(self._c, f"UC_ARM_REG_{name}"), value)

    # -- time ----------------------------------------------------------------------------------

    def set_clock(self, hz: float) -> None:
        """From now on the CPU runs at `hz`."""
        if self._running:
            done = self._executed()
            self._pass(done)
            self._counted += done
        self.hz, self._ns_per_instruction = hz, 1e9 * self.cycles_per_instruction / hz
        self.systick.retime()
        self.look()  # the slice was cut to the old clock

    @property
    def now_ns(self) -> float:
        return self._ns + self._executed() * self._ns_per_instruction

    @property
    def cpu_ns(self) -> float:
        """Time in which it executed or waited for a memory, up to now."""
        return self._cpu_ns + self._executed() * self._ns_per_instruction

    def _executed(self) -> int:
        """Instructions of the slice that runs, without the one that is under way."""
        return max(0, self._counter.value - 1 - self._counted) if self._running else 0

    def _pass(self, instructions: int) -> None:
        self.instructions += instructions
        self.stall(instructions * self._ns_per_instruction)

    def stall(self, ns: float) -> None:
        """The CPU waits, for a memory say: time goes on, nothing is executed."""
        self._ns += ns
        self._cpu_ns += ns
        self.look()  # what is due may have come nearer

    def after(self, ns: float, action: Action) -> Scheduled:
        """Calls `action` in `ns`, between two instructions."""
        event = Scheduled(self.now_ns + ns, action)
        heapq.heappush(self._events, (event.due_ns, next(self._order), event))
        self.look()
        return event

    def forget(self) -> None:
        """What is due is not any more."""
        self._events.clear()

    def polls(self, ns: float) -> None:
        """The program asks over and over for what comes at `ns`: time goes on to there at once, or
        to what happens before."""
        ahead = self._due_ns(ns) - self.now_ns
        if ahead > 0:
            self.stall(ahead)

    # -- running -------------------------------------------------------------------------------

    def reset(self, vectors: int) -> None:
        """As after power-on, with the vector table there. Not from within an instruction: a
        peripheral that resets the chip does it in `after(0, …)`."""
        self.nvic.reset()
        self.systick.reset()
        self.scb.reset(vectors)
        self.asleep = self._deep = self._event = self._called = False
        self._left = None
        for number in range(13):
            self.set_reg(number, 0)
        self._set_special("XPSR_NZCVQG", 1 << 24)
        for name in ("CONTROL", "PRIMASK", "BASEPRI", "FAULTMASK"):
            self._set_special(name, 0)
        if self._has_fpu:
            self._set_special("C1_C0_2", 0xF << 20)  # the FPU answers
        self._set_special("MSP", self.word(vectors))
        self._set_special("LR", 0xFFFFFFFF)
        self.pc = self.word(vectors + 4)

    def look(self) -> None:
        """Something changed that has to be looked at before the next instruction.

        Unicorn's own `emu_stop` would break off the instruction under way, which would then be
        executed twice: the limit of the slice is set to where it is instead.
        """
        if self._running:
            self._limit.value = self._counter.value

    def stop(self) -> None:
        """`run` returns before the next instruction."""
        self._over = True
        self.look()

    def run(self, until_ns: float) -> None:
        """Executes until then, less when `stop` is called. Raises ChipError."""
        self._over = False
        masked = 0
        while not self._over:
            ran = self._run_due()
            if self._over or self._ns >= until_ns:
                return
            if self.asleep and not self.held:
                self._try_to_wake(ran)
            if self.held or self.asleep:
                self._skip_to(until_ns)
                continue
            taken = self.nvic.taken()
            if taken is not None:
                self._enter(taken)
            masked = masked + 1 if self.nvic.waits() else 0
            self._execute(self._room(until_ns, masked))

    def _run_due(self) -> bool:
        ran = False
        while self._events and self._events[0][0] <= self._ns:
            _, _, event = heapq.heappop(self._events)
            if event.action is not None:
                event.action()
                ran = True
        return ran

    def _due_ns(self, until_ns: float) -> float:
        while self._events and self._events[0][2].action is None:
            heapq.heappop(self._events)
        return min(self._events[0][0], until_ns) if self._events else until_ns

    def _skip_to(self, until_ns: float) -> None:
        self._ns = max(self._ns, self._due_ns(until_ns))

    def _try_to_wake(self, something_happened: bool) -> None:
        """WFI ends with what would be taken, were PRIMASK clear (B1.5.19). WFE may end at any
        time, and does so here when anything happens in the chip."""
        if not self.nvic.wakes() and not (self._spurious and something_happened):
            return
        self.asleep = False
        if self._deep:
            self._deep = False
            self.on_wake()

    def _room(self, until_ns: float, masked: int) -> int:
        """Instructions until something is due."""
        left = (self._due_ns(until_ns) - self._ns) / self._ns_per_instruction
        room = max(1, math.ceil(left - 1e-6))
        if masked:
            return min(room, 1 if masked <= _MASKED_STEPS else _MASKED_SLICE)
        return min(room, _SLICE)

    def _execute(self, instructions: int) -> None:
        self._counted = 0
        self._running = True
        hint = _WFI
        try:
            self.uc.emu_start(self._pc | 1, _NO_ADDRESS, 0, instructions)
        except self._u.UcError as error:
            hint = self._hint(self.pc)
            if hint not in (_WFE, _YIELD) and self._failure is None:
                raise ChipError(
                    f"The program cannot go on at {self.pc:#010x}: {error}.",
                    todo="The real chip would enter HardFault. Look at what is executed there.",
                ) from error
        finally:
            counted = self._counter.value
            stopped = counted > self._limit.value
            self._running = False
            self._pass(max(0, counted - stopped - self._counted))
        self._pc = self.pc
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._left is not None:
            exc_return, self._left = self._left, None
            self._exit(exc_return)
        elif self._called:
            self._called = False
            self._enter(SVC)
        elif self._refused:
            self._refused = False
            self._ask_coprocessor()
        elif self._broke:
            self._broke = False
            self._play_breakpoint()
        elif not stopped and hint != _YIELD:
            self._sleep(hint)

    def _ask_coprocessor(self) -> None:
        first, second = (int.from_bytes(self.peek(self._pc + n, 2), "little") for n in (0, 2))
        if not self.on_coprocessor(first, second):
            raise self.error(f"has {first:04x} {second:04x} for a coprocessor that is not here")
        self.pc = self._pc + 4

    def _play_breakpoint(self) -> None:
        if not self.on_breakpoint(self._pc):
            raise self.error("came to a breakpoint")
        self.pc = self._pc + 2

    def _hint(self, pc: int) -> int:
        """The instruction before."""
        try:
            return int.from_bytes(self.peek(pc - 2, 2), "little")
        except self._u.UcError:
            return 0

    def _sleep(self, hint: int) -> None:
        self._spurious = hint == _WFE
        if self._spurious and self._event:
            self._event = False
            return
        if self.nvic.wakes():
            return
        self.asleep = True
        self._deep = self.scb.sleeps_deeply
        self.on_sleep(self._deep)

    # -- exceptions ----------------------------------------------------------------------------

    def _exception(self, _uc: object, number: int, _data: object) -> None:
        """Unicorn came to one that an instruction makes."""
        if number == 8:  # EXCP_EXCEPTION_EXIT
            self._left = self.pc | 1
        elif number == 2:  # EXCP_SWI
            self._called = True
        elif number == 17:  # EXCP_NOCP
            self._refused = True
        elif number == 7:  # EXCP_BKPT
            self._broke = True
        else:
            self._fail(self.error(f"made exception {number} of Unicorn, a fault or a breakpoint"))
        self.uc.emu_stop()

    def _enter(self, number: int) -> None:
        """Stacks the frame and goes to the handler (B1.5.6)."""
        *words, sp, control = self._sets["frame"].read()
        xpsr = words[7]
        with_fp = bool(control & 4)
        words[6] = self._pc
        words[7] = xpsr & ~(1 << 9) | (sp & 4) << 7  # the padding, as bit 9
        if with_fp:
            words += [*self._sets["fp"].read(), 0]
        frame = (sp & ~4) - 4 * len(words)
        self.load(frame, struct.pack(f"<{len(words)}I", *words))
        back = 0xFFFFFFE1 | (not with_fp) << 4
        back |= 0 if xpsr & 0x1FF else 8 | (control & 2) << 1
        self._pc = self.word(self.scb.vectors + 4 * number) & ~1
        start = self._pc | 1
        self._sets["enter"].write((frame, 1 << 24 | number, control & ~4, back, start))
        self.nvic.entered(number)
        self._event = True

    def _exit(self, exc_return: int) -> None:
        """Takes the frame off the stack (B1.5.8)."""
        self.nvic.left()
        msp, psp, control = self._sets["stacks"].read()
        frame = psp if exc_return & 4 else msp
        with_fp = not exc_return & 16
        count = 26 if with_fp else 8
        words = struct.unpack(f"<{count}I", self.peek(frame, 4 * count))
        xpsr = words[7]
        top = frame + 4 * count + (xpsr >> 7 & 4)
        stacks = (msp, top) if exc_return & 4 else (top, psp)
        if exc_return & 8:
            control = control & ~6 | exc_return >> 1 & 2 | with_fp << 2
        if with_fp:
            self._sets["fp"].write(words[8:25])
        self._pc = words[6] & ~1
        start = self._pc | 1
        self._sets["exit"].write((*stacks, xpsr & ~(1 << 9), control, *words[:6], start))
        self._event = True


def _nothing(*_args: object) -> None:
    pass


_TURNS = 54_321
_STRUCT = 0x1000  # bytes, from its start, in which the two figures are looked for


def _counters(uc: Any) -> tuple[ctypes.c_size_t, ctypes.c_size_t]:
    """Unicorn's own count of instructions, and where it ends a run: what its interface does not
    tell, and what it would cost a call into Python for every few instructions to count again. They
    are found by what they hold after a run of a known length.

    Raises BadInputError where they are not found.
    """
    uc.mem_map(0, 0x1000)
    uc.mem_write(0, b"\xfe\xe7")  # b .
    uc.emu_start(1, _NO_ADDRESS, 0, _TURNS)
    uc.mem_unmap(0, 0x1000)
    start = ctypes.cast(uc._uch, ctypes.c_void_p).value or 0
    width = ctypes.sizeof(ctypes.c_size_t)
    for at in range(start, start + _STRUCT, width):
        counted, limit = (ctypes.c_size_t.from_address(at + n * width) for n in (0, 1))
        if (counted.value, limit.value) == (_TURNS + 1, _TURNS):
            return counted, limit
    raise BadInputError(
        f"unicorn {metadata.version('unicorn')} counts instructions in an unknown way.",
        todo="pip install 'unicorn>=2.1,<2.2'",
    )
