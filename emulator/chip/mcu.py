"""The chip: runs a firmware process against the parts around it, in virtual time.

The firmware process does something, says what, and (for what needs an answer) waits; this side
charges the time, changes the parts and answers. A wait is the only place where time passes without
CPU work, and the only place where the outside can act. One thread, no locks: a run is a function of
its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from tallystick.emulator.boards.board import Board
from tallystick.emulator.chip import declared, host_p256
from tallystick.emulator.chip.console import ChipConsole
from tallystick.emulator.chip.launch import launcher
from tallystick.emulator.chip.peripherals import Peripherals
from tallystick.emulator.chip.pins import Edge, Pins
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.chip.timers import Timers, Watchdog
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.chip.wires import Wires
from tallystick.emulator.chips.chip import Surroundings
from tallystick.emulator.clock import Clock
from tallystick.emulator.interpreter import link, micropython
from tallystick.emulator.interpreter.link import (
    Link,
    LinkClosedError,
    LinkSilentError,
    Message,
    Op,
)
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.emulator.parts.uart import Uart
from tallystick.emulator.parts.usb import UsbDevice
from tallystick.faults.flash import PowerLostError

if TYPE_CHECKING:
    from tallystick.emulator.parts.supply import Supply

_TIMER, _UART = 0xC0, 0xF0  # likewise: a timer, a UART, and its number (port/more_*.py)
_IDLE_BYTES = 3.2  # a line is idle after the time of so many (RP2040 data sheet, 4.2.3)
_USB = 0xFE  # among the pins that fired: a USB transfer is over (port/usb_device.py)


def _no_load(ua: float) -> None:
    """Nobody asks what the chip draws."""


class ChipState(StrEnum):
    """Of the chip. Only `RUNNING` has a process."""

    OFF = "off"
    RUNNING = "running"
    ASLEEP = "asleep"  # the lowest power state: wakes as after reset
    CRASHED = "crashed"  # an exception reached the top of the firmware


class Mcu:
    """Give it input pins with `set_input`, hang parts on `pins.on_output`, and `run` it."""

    def __init__(
        self,
        board: Board,
        flash: NorFlash,
        clock: Clock,
        rng: random.Random,
        trace: Trace,
        *,
        writable: bool = False,
    ) -> None:
        self.board = board
        self.flash = flash
        self.clock = clock
        self.trace = trace
        self.uart = Uart()
        self.usb = UsbDevice(clock, self._usb_event)
        self.state = ChipState.OFF
        self.crash = ""  # the firmware's traceback
        self.boots = 0
        self.cpu_us = 0  # in which the CPU worked, or waited for a bus or its flash
        self.port_heap = 0  # bytes of the heap that the port's own modules take
        self.supply: Supply | None = None
        self._brown_out_mv = 0  # of the supply
        self._load: Callable[[float], None] = _no_load
        self._load_asleep: Callable[[float], None] = _no_load
        self._load_flash: Callable[[float], None] = _no_load
        self.on_brown_out: Callable[[], None] | None = None
        self.in_reset = False  # held there by the supervisor, after a brown-out
        self._failed_starts = 0
        self.probes: list[Probe] = []
        self.pins = Pins(board.pin_name)
        self.wires = Wires(lines={board.uart_pins: self.uart})
        self.unwired: dict[int, Uart] = {}  # UARTs with nothing on their pins
        self.pwm: dict[int, tuple[int, int]] = {}  # pin → Hz, duty of 65,535
        # By ADC channel: mV there.
        self.analog: dict[int, Callable[[], int]] = {
            channel: partial(int, mv) for channel, mv in board.chip.analog.items()
        }
        self.on_adc: dict[int, Callable[[], int]] = {}  # by channel: mV of the cell
        self.registers = board.chip.registers(
            Surroundings(flash, self.program, self.erase, rng, self.supply_mv)
        )
        self._watch = (0, 0)
        self.forkable = False
        self.held = False  # at the look that `hold_at_look` asked for
        self.on_debug: Callable[[Message], None] | None = None
        self.unwind_next = False  # in place of the next answer, see `Link.unwind`
        self.writable = writable
        self._spares_host = False
        self._launcher = self._describe()
        self._rng = rng
        self._unique_id = rng.randbytes(16)
        self._link: Link | None = None
        self.console = ChipConsole()
        self.prints = True  # what the firmware prints is its own business
        self.on_print: Callable[[str], None] | None = None
        self._wait: tuple[int, int] | None = None  # deadline µs, mask
        self.timers = Timers(clock, self._ring)
        self.watchdog = Watchdog(clock)
        self._silences = 0  # how often the watchdog ended one
        self._looks = 0  # at the clock or a pin since it did anything else
        self._handlers: dict[int, Callable[[Message], None]] = {
            **Peripherals(self).handlers,
            Op.NOW: self._now,
            Op.WAIT: self._begin_wait,
            Op.PIN_SET: self._pin_set,
            Op.PIN_IRQ: self._pin_irq,
            Op.OFF: self._off,
            Op.RESET: self._reset,
            Op.RESET_CAUSE: self._reset_cause,
            Op.RANDOM: self._random,
            Op.CRASH: self._crashed,
            Op.HEAP: self._heap,
            Op.PIN_MODE: self._pin_mode,
            Op.HEAR: self._hear,
            Op.DECLARED: self._declared,
            Op.TIMER: self.timers.set,
            Op.WDT: self.watchdog.feed,
            Op.LOOK: self._look,
        }

    # -- power ---------------------------------------------------------------------------------

    def feed_from(self, supply: Supply, brown_out_mv: int) -> None:
        """Its loads "chip", "chip asleep" and "flash" (what a program or an erase takes beyond the
        chip's own current) are this one's. Below `brown_out_mv` the chip stops.
        """
        self.supply = supply
        self._brown_out_mv = brown_out_mv
        self._load = supply.load("chip")
        self._load_asleep = supply.load("chip asleep")
        self._load_flash = supply.load("flash")

    def supply_mv(self) -> int:
        """What the chip runs from at this moment."""
        return 3000 if self.supply is None else self.supply.voltage_mv()

    def power_on(self) -> None:
        if self.state is ChipState.OFF:
            self.registers.power_up()
            self.flash.power_up(self._rng)
            self.trace.add(self.clock.now, "power", "on")
            self._boot()

    def power_off(self) -> None:
        """At once, as when a cell is pulled."""
        self.in_reset = False
        if self.state is not ChipState.OFF:
            self.trace.add(self.clock.now, "power", "off")
            self._stop(ChipState.OFF)

    def _describe(self) -> micropython.Launcher:
        return launcher(
            self.board,
            writable=self.writable,
            debugged=self.on_debug is not None,
            spares_host=self._spares_host,
            watch=self._watch,
        )

    def debug(self, on_debug: Callable[[Message], None]) -> None:
        """From its next start on it runs a firmware that was built to be debugged: `on_debug` is
        given what that says (`port/tallydebug.py`)."""
        self.on_debug = on_debug
        self._handlers[Op.DEBUG] = on_debug
        self._launcher = self._describe()

    def spare_host(self) -> None:
        """From its next start on a firmware takes a third of the host's time, and does the same at
        the same instants, but for what it would load again where its heap is short: the host works
        out what `lib/p256.py` would; the heap is four times as large, and collected when it is
        full. For campaigns that look at neither.
        """
        self._spares_host = True
        self._launcher = self._describe()

    def _p256(self, message: Message) -> None:
        self.answer_aside(host_p256.answer(message.arg, message.data))

    def answer_aside(self, data: bytes = b"") -> None:
        """The answer to what changes nothing of the firmware's world: to `on_debug`, say."""
        assert self._link is not None
        self.held = False
        self._link.answer(self.clock.now, bytes(link.LEVELS), 0, 0, data)

    def reseed(self, rng: random.Random) -> None:
        """From now on random numbers, and weak bits of the flash, come from `rng`."""
        self._rng = rng

    def hold_at_look(self, first: int, end: int) -> None:
        """From now on a start is held (`held`) where the firmware first reads a flash address from
        `first` to `end`: what it did up to there cannot depend on what is there. `release` lets it
        go on; `emulator/snapshot.py` starts it there again and again.
        """
        self._watch = (first, end)
        self.forkable = end > first
        self._launcher = self._describe()

    def release(self) -> None:
        """Lets a held firmware go on."""
        if self.held:
            self.held = False
            self.answer()

    def _look(self, message: Message) -> None:
        self.held = True

    @property
    def link(self) -> Link | None:
        """To the firmware's process; None when there is none."""
        return self._link

    @link.setter
    def link(self, value: Link | None) -> None:
        self._link = value

    def _boot(self) -> None:
        self.pins.release_pulls()
        self.pins.reset()
        self.uart.configure(0)
        self.boots += 1
        self.state = ChipState.RUNNING
        self._show_state("running")
        self._load_asleep(0.0)
        self._load(self.board.currents.run)
        self.charge(self.board.boot_us)
        try:
            self.check_voltage("chip")
        except PowerLostError:
            self._stop(ChipState.OFF)
            return
        self._failed_starts = 0
        self._link = self._launcher.start(
            self.flash.shared, self.console.descriptor, forkable=self.forkable
        )

    def _supervise(self) -> None:
        """A while after a brown-out: the load is gone, and the cell may have come back."""
        if not self.in_reset or self.state is not ChipState.OFF or self.supply is None:
            return
        self.in_reset = False
        back = self.supply.voltage_mv() >= self._brown_out_mv + _HYSTERESIS_MV
        if back and self._failed_starts < _STARTS:
            self._failed_starts += 1
            self.trace.add(self.clock.now, "power", "reset", "after a brown-out")
            self.registers.power_up()
            self.flash.power_up(self._rng)
            self._boot()

    def close(self) -> None:
        self.power_off()
        self.console.close()

    def _stop(self, state: ChipState) -> None:
        self.pins.release()
        if self._link is not None:
            self._link.close()
            self._link = None
            self.read_console()
            last_words = self.console.last_words()
            if state is ChipState.ASLEEP and last_words:
                self.crash = last_words  # caught at the firmware's top, told, and all over
        self._wait = None
        self.unwind_next = False
        self.timers.clear()
        self.watchdog.stop()
        self.pwm.clear()
        self.unwired.clear()
        if state is ChipState.ASLEEP:
            self.pins.pull_down(self.registers.kept_pulls())
        self.held = False
        self.flash.sagging = None
        self.state = state
        self._show_state("deep sleep" if state is ChipState.ASLEEP else str(state))
        self._load(0.0)
        self._load_asleep(self.board.currents.deep_sleep if state is ChipState.ASLEEP else 0.0)
        self.usb.power_down()
        self.pins.reset()
        self.uart.configure(0)

    def read_console(self) -> None:
        """Takes what the firmware has printed since. It is a crash of one that never prints."""
        text = self.console.take()
        if not text:
            return
        for line in text.splitlines():
            self.trace.add(self.clock.now, "chip", "console", line)
        if not self.prints:
            self.crash = text
        if self.on_print is not None:
            self.on_print(text)

    # -- the run loop --------------------------------------------------------------------------

    def run(self, until_us: int, stop: Callable[[], bool] | None = None) -> None:
        """Runs until virtual time `until_us` (or until `stop()` says so, asked after every
        step). A firmware that is at work then goes on to its next wait, for `_BUSY_US` at most.
        """
        self._run(until_us, stop)
        if self.supply is not None:
            self.supply.settle()

    def _run(self, until_us: int, stop: Callable[[], bool] | None) -> None:
        late = -1  # its starts when the time was over
        silences = self._silences
        while not self.held and not (stop is not None and stop()):
            if self.watchdog.bitten:
                self._bite()
            if self.state is ChipState.RUNNING and self._wait is None:
                busy = self.clock.now - until_us
                late = self.boots if busy > 0 and late < 0 else late
                if busy > _BUSY_US or (busy > 0 and self._looks > _POLLING):
                    return
                if busy > 0 and (self.boots - late > _RESTARTS or self._silences > silences):
                    return  # it starts, and starts again
                self._step()
                continue
            due = self.clock.next_event()
            if self._wait is not None and (due is None or self._wait[0] <= due):
                due = self._wait[0]
            if due is None or due > until_us:
                self.pass_time(until_us - self.clock.now)
                return
            self.pass_time(due - self.clock.now)
            if self._wait is not None and self.clock.now >= self._wait[0]:
                self._end_wait(0)

    def settle(self) -> None:
        """Runs until the firmware waits (or has no process), without letting time pass in waits;
        for `_BUSY_US` at most."""
        limit, starts = self.clock.now + _BUSY_US, self.boots + _RESTARTS
        silences = self._silences
        while self.at_work:
            if self.clock.now > limit or self._looks > _POLLING or self.boots > starts:
                break
            if self._silences > silences:
                break
            self._step()
            if self.watchdog.bitten:
                self._bite()
        if self.supply is not None:
            self.supply.settle()

    @property
    def wait_deadline(self) -> int | None:
        """Virtual time (µs) at which the firmware's present wait ends by itself; None when not
        waiting.
        """
        return self._wait[0] if self._wait else None

    @property
    def at_work(self) -> bool:
        """The firmware has something to do, now: it neither waits nor sleeps."""
        return self.state is ChipState.RUNNING and self._wait is None and not self.held

    def _step(self) -> None:
        assert self._link is not None
        try:
            message = self._link.receive()
        except LinkSilentError:
            self._silent()
            return
        except LinkClosedError:
            self._stop(ChipState.CRASHED)
            words = self.console.last_line()
            last = f" The last that was printed: {words}" if words else ""
            self.crash = f"MicroPython ended without a word.{last}"
            return
        except BaseException as error:  # Ctrl-C, a test's time-out
            error.add_note(f"The firmware was at work.\n{self._where(self._link.interrupt())}")
            self._stop(ChipState.CRASHED)
            raise
        if message.cpu_us:
            self.charge(message.cpu_us)
        if message.op == _P256:  # the firmware knows nothing of it: a part of the step that follows
            self._p256(message)
            self._step()
            return
        self._looks = self._looks + 1 if message.op == _NOW else 0
        try:
            self._handlers[message.op](message)
        except PowerLostError:
            self.trace.add(
                self.clock.now, "power", "cut", f"flash operation {self.flash.operations - 1}"
            )
            self._stop(ChipState.OFF)
        except LinkClosedError:
            self._stop(ChipState.CRASHED)

    def _silent(self) -> None:
        """The firmware goes on without touching anything: its watchdog bites, or it is ended."""
        assert self._link is not None
        if self.watchdog.running and not self._link.hurry:
            self._link.interrupt()
            self.pass_time(self.watchdog.left_us())
            self._bite()
            self._silences += 1
            return
        limit, hurry = link.SILENCE_S, self._link.hurry
        where = self._where(self._link.interrupt())
        self._stop(ChipState.CRASHED)
        began = (
            "The firmware was ended while it worked without touching hardware."
            if hurry
            else f"The firmware touched no hardware for {limit:g} s: an endless loop."
        )
        self.crash = f"{began}\n{where}"
        self.trace.add(self.clock.now, "chip", "crash", began)

    def _where(self, traceback: str) -> str:
        """Where a firmware was that has been interrupted."""
        if not traceback:
            return "It did not let itself be interrupted: where it was is not known."
        return self.console.of_firmware(traceback).strip().rpartition("\n")[0]

    def give_up(self) -> None:
        """From another thread, or a signal's handler: a firmware that touches nothing is ended at
        once."""
        if self._link is not None:
            self._link.hurry = True

    def charge(self, cpu_us: int) -> None:
        """The chip works for so long."""
        self.cpu_us += cpu_us
        self.pass_time(cpu_us)

    def pass_time(self, duration_us: int) -> None:
        """Time goes on while the chip works; what is due meanwhile happens at its own instant."""
        end = self.clock.now + duration_us
        while (due := self.clock.next_event()) is not None and due <= end:
            self._advance(due)
            self.clock.run_due()
        self._advance(end)

    def _advance(self, time_us: int) -> None:
        duration = time_us - self.clock.now
        if duration > 0:
            if self.supply is not None:
                self.supply.draw(duration)
            self.clock.now = time_us

    def answer(self, value: int = 0, data: bytes = b"") -> None:
        assert self._link is not None
        if self.unwind_next:
            self.unwind_next = False
            self._link.unwind()
            return
        if self.pins.floating:
            self.pins.stir()
        levels = self.pins.levels if self.flash.can_fail else self.pins.levels_when_sure
        if not self.pins.heard_of_all:
            levels = levels[:-1] + bytes([levels[-1] | 1 << link.FIRED % 8])
        self._link.answer(self.clock.now, levels, len(self.uart.received), value, data)

    # -- waits and pins ------------------------------------------------------------------------

    def _show_pin(self, pin: int, level: int) -> None:
        for probe in self.probes:
            probe.pin(self.clock.now, pin, level)

    def _show_state(self, state: str) -> None:
        for probe in self.probes:
            probe.state(self.clock.now, state)

    def tell_bus(self, name: str, data: bytes, byte_us: float) -> None:
        """Instruments hear of `data` on a bus, its last byte now."""
        for probe in self.probes:
            probe.bus(self.clock.now, name, data, byte_us)

    def _begin_wait(self, message: Message) -> None:
        mask = message.arg
        light = bool(mask & link.SLEEP_LIGHT)
        self._load(self.board.currents.light_sleep if light else self.board.currents.idle)
        self._wait = (self.clock.now + message.value, mask)
        self._show_state("light sleep" if light else "waiting")
        if light:
            self.registers.light_sleep(message.value)
            self.uart.detuned = self.registers.detunes_uart
        fired = mask & (link.WAKE_PIN | link.WAKE_USB | link.WAKE_TIMER) and self.pins.fired
        if fired or (mask & link.WAKE_UART and self._received()):
            self._end_wait(1)
        elif mask & link.HANDLERS and not self.pins.heard_of_all:
            self._end_wait(2)

    def _received(self) -> bool:
        return bool(self.uart.received) or any(
            line.received for line in (*self.wires.lines.values(), *self.unwired.values())
        )

    def _end_wait(self, woken: int) -> None:
        assert self._wait is not None
        light = self._wait[1] & link.SLEEP_LIGHT
        self._wait = None
        self._show_state("running")
        self._load(self.board.currents.run)
        if light:
            self.charge(self.board.wake_us)
        try:
            self.check_voltage("chip")
        except PowerLostError:
            self._stop(ChipState.OFF)
            return
        self.answer(woken, self.pins.take_fired())

    def set_input(self, pin: int, level: int | None, by: str = "the outside") -> None:
        """The outside drives a pin, or (None) lets it go: may fire an interrupt, end a wait, or
        wake the chip. by: what does, for messages."""
        edge = self.pins.drive(pin, level, by)
        if edge is None:
            return
        level = self.pins.level(pin)
        self._show_pin(pin, level)
        if edge is Edge.NONE:
            return
        self.trace.add(self.clock.now, f"pin {pin:#04x}", "rise" if level else "fall")
        if self.state is ChipState.ASLEEP:
            if self.registers.wakes(pin, level):
                self.registers.reset(from_deep_sleep=True)
                self._boot()
        elif edge is Edge.FIRED:
            self._fire(pin, link.WAKE_PIN)

    def _fire(self, pin: int, wake: int) -> None:
        self.pins.fire(pin)
        if self._wait is not None and self._wait[1] & (wake | link.HANDLERS):
            self._end_wait(1 if self._wait[1] & wake else 2)

    def feed_uart(self, data: bytes, line: Uart | None = None) -> None:
        """Bytes arrive on the serial line, or another one."""
        line = line or self.uart
        for probe in self.probes:
            probe.serial(self.clock.now, data, to_card=True)
        self.tell_bus("serial_to_card", data, line.byte_us())
        asleep = self._wait is not None and self._wait[1] & link.SLEEP_LIGHT
        line.feed(data, listening=self.state is ChipState.RUNNING and not asleep)
        if line.asked and line.received:
            code, boots = _UART + line.number, self.boots
            if line.asked == 2:
                idle_us, heard = round(_IDLE_BYTES * line.byte_us()), line.heard
                self.clock.after(idle_us, lambda: self._tell_idle(line, heard, code, boots))
            else:
                self.clock.after(0, lambda: self._tell(code, boots))
        if self._wait is not None and self._wait[1] & link.WAKE_UART and line.received:
            self._end_wait(1)

    def _tell(self, code: int, boots: int, wake: int = 0) -> None:
        """An interrupt that is no pin's, of the start `boots`."""
        if self.state is ChipState.RUNNING and self.boots == boots:
            self._fire(code, wake)

    def _tell_idle(self, line: Uart, heard: int, code: int, boots: int) -> None:
        """Nothing has come since."""
        if line.heard == heard:
            self._tell(code, boots)

    # -- interrupts of its own ---------------------------------------------------------------------

    def _ring(self, number: int) -> None:
        self._tell(_TIMER + number, self.boots, link.WAKE_TIMER)

    def _bite(self) -> None:
        """The watchdog resets the chip: between two steps of it."""
        self.watchdog.bitten = False
        if self.watchdog.running and self.state is ChipState.RUNNING:
            self.trace.add(self.clock.now, "chip", "watchdog")
            self.reset()
            self.registers.cause = self.board.chip.watchdog_cause

    def _usb_event(self) -> None:
        self._fire(_USB, link.WAKE_USB)

    # -- requests of the firmware --------------------------------------------------------------

    def _now(self, message: Message) -> None:
        self.answer()  # every answer carries the time

    def _pin_set(self, message: Message) -> None:
        pin, level = message.arg, message.value
        self._show_pin(pin, level)
        self.pins.put(pin, level)

    def _pin_mode(self, message: Message) -> None:
        """The mode in the low bits (see `port/machine.py`), pulls, and the output's level."""
        pin, how = message.arg, message.value
        mode, pull, level = how & 15, how >> 4 & 3, how >> 8 & 1
        self.pins.configure(pin, None if mode == 7 else mode, pull, level)
        if 1 <= mode <= 2:
            self._show_pin(pin, level)

    def _hear(self, message: Message) -> None:
        self.answer(0, self.pins.hear())

    def _declared(self, message: Message) -> None:
        """Does the board have this name (arg 0), or this module (1)?"""
        name, chip = message.data.decode(errors="replace"), self.board.chip
        known = name in chip.absent_modules if message.arg else declared.has(chip.stubs, name)
        self.answer(int(known))

    def _pin_irq(self, message: Message) -> None:
        self.pins.ask(message.arg, message.value)

    def _work_on_flash(self, duration_us: int, current_ua: float) -> None:
        """Where the cell gives way under this load, the operation stops half-way."""
        self._load_flash(current_ua)
        self.charge(duration_us)
        try:
            self.check_voltage("flash")
        except PowerLostError:
            self.flash.sagging = self._rng
        self._load_flash(0.0)

    def check_voltage(self, load: str) -> None:
        """Raises PowerLostError when the cell gives way under what draws on it at this moment,
        `load` (chip, flash or display) included. The supervisor then resets the chip, and lets it
        start again when the voltage is back."""
        if self.supply is None or self.supply.docked:
            return
        bounces = load in self.supply.bounces
        if bounces or not self.supply.holds(self._brown_out_mv):
            mv = 0 if bounces else self.supply.voltage_mv()
            self.supply.bounces.discard(load)
            self._load_flash(0.0)
            self.trace.add(self.clock.now, "power", "brown-out", f"{mv} mV")
            self.in_reset = True
            self.clock.after(_SUPERVISOR_US, self._supervise)
            if self.on_brown_out is not None:
                self.on_brown_out()
            raise PowerLostError

    def program(self, address: int, data: bytes) -> bool:
        timing = self.flash.timing
        duration_us = timing.program_us * (len(data) // timing.program_unit)
        for probe in self.probes:
            probe.flash(self.clock.now, "program", address, len(data), duration_us)
        self._work_on_flash(duration_us, timing.program_ua)
        if not self.trace.off:
            self.trace.add(self.clock.now, "flash", "program", f"{address:#x} {len(data)}")
        return self.flash.program(address, data)

    def erase(self, address: int) -> bool:
        timing = self.flash.timing
        for probe in self.probes:
            probe.flash(self.clock.now, "erase", address, timing.sector, timing.erase_us)
        self._work_on_flash(timing.erase_us, timing.erase_ua)
        self.trace.add(self.clock.now, "flash", "erase", f"{address:#x}")
        return self.flash.erase(address)

    def _off(self, message: Message) -> None:
        self.trace.add(self.clock.now, "chip", "deep sleep")
        self._stop(ChipState.ASLEEP)
        lasts_us, boots = self.registers.standby_us(), self.boots
        if message.value > 0:  # ms that the firmware asked for
            asked_us = message.value * 1000
            lasts_us = asked_us if lasts_us is None else min(lasts_us, asked_us)
        if lasts_us is not None:
            self.clock.after(lasts_us, lambda: self._wake_by_itself(boots))

    def _wake_by_itself(self, boots: int) -> None:
        """Its time is over, or a timer left armed, or a floating pin, ends the deep sleep that
        began after `boots`."""
        if self.state is ChipState.ASLEEP and self.boots == boots:
            self.trace.add(self.clock.now, "chip", "woke by itself")
            self.registers.reset(from_deep_sleep=True)
            self._boot()

    def _reset(self, message: Message) -> None:
        self.reset()

    def reset(self) -> None:
        """The firmware starts anew; power stays. What asks for it: the firmware, or a watchdog."""
        self.trace.add(self.clock.now, "chip", "reset")
        self._stop(ChipState.ASLEEP)
        self.registers.reset(from_deep_sleep=False)
        self._boot()

    def _reset_cause(self, message: Message) -> None:
        self.answer(self.registers.cause)

    def _random(self, message: Message) -> None:
        if message.arg:
            self.answer(0, self._unique_id[: message.value])
        else:
            self.answer(0, self._rng.randbytes(message.value))

    def _crashed(self, message: Message) -> None:
        """An exception in the port itself, or in a main.py that lets it through."""
        self._stop(ChipState.CRASHED)
        text = self.console.of_firmware(message.data.decode(errors="replace"))
        lacking = declared.lacking(self.board.chip.stubs, text)
        if lacking:
            text = f"{text.rstrip()}\nnot emulated: {lacking} ({declared.PAGE})\n"
        self.crash = text
        self.trace.add(self.clock.now, "chip", "crash", self.crash.strip().splitlines()[-1])

    def _heap(self, message: Message) -> None:
        self.port_heap = message.value


# The supervisor: from a brown-out to its look at the voltage, which must be so much above the
# threshold (STM32L476 data sheet, table 24: BOR hysteresis 100 mV; it holds reset for 250 µs). Of a
# cell that cannot carry the chip so many starts are run, then it lies there until it is touched.
_SUPERVISOR_US = 1_000
_HYSTERESIS_MV = 100
_STARTS = 20

_NOW = int(Op.NOW)  # asked of every message: an Enum takes its time
_P256 = int(Op.P256)
# A firmware that does nothing but look, so often, is not at work.
_POLLING = 20
# Nor is one that has started anew so often: it resets itself for ever.
_RESTARTS = 10

# Virtual time that a firmware may work on end: to erase a whole slot takes 7 s on a Pico.
_BUSY_US = 30_000_000
