"""An STM32L476 with a card's parts: memories, peripherals, and the ways in and out of sleep."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.nor_flash import FaultPlan
from tallystick.emulator.seeing.frames import Frame
from tallystick.tools.second_opinion.chip import Segments
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Gated, HasClock, Registers
from tallystick.tools.second_opinion.stm32l4 import (
    analog,
    clocks,
    flash,
    pins,
    power,
    rtc,
    serial,
    spi,
    watchdog,
)

MS = 1_000_000.0  # ns
_MSI_HZ = 4_000_000  # the clock of a reset
# Of a Cortex-M4 behind this flash accelerator, for compiled C (see docs/findings/numbers.md).
CYCLES_PER_INSTRUCTION = 1.5
_SRAM1, _SRAM2 = (0x20000000, 96 * 1024), (0x10000000, 32 * 1024)
_SYSTEM_MEMORY = (0x1FFF0000, 0x8000)
_VREFINT_CAL, _FLASH_KB, _UNIQUE_ID = 0x1FFF75AA, 0x1FFF75E0, 0x1FFF7590
_CALIBRATION, _CALIBRATED_MV = 1655, 3000  # VREFINT, as our emulator's chip has it
_DBGMCU, _DBGMCU_IDCODE = 0xE0042000, 0x10076415
# From the wake-up event to the first instruction in flash (DS10198, table 41), µs: MSI at 4 MHz,
# from a Stop mode in range 2.
_WAKE_US = {
    power.Sleep.STOP0: 6.6, power.Sleep.STOP1: 8.0, power.Sleep.STOP2: 10.6,
    power.Sleep.STANDBY: 20.1, power.Sleep.SHUTDOWN: 256.0,
}  # fmt: skip
_MOST_MHZ = ((16, 32, 48, 64, 80), (6, 12, 18, 26))  # by wait states, in voltage ranges 1 and 2
_POWER_ON_US = 500.0  # the supervisor's delay
_FLOATING_MS = 900.0  # a wake-up pin that nothing pulls finds its level by chance, so often here
_SERIAL_BAUD = 115_200
_ALTERNATE = 2  # mode of a pin


class Stm32L4:
    """`Chip` for `nucleo_l476rg`. `entropy` are its random bytes, one after the other;
    without it they are the same in every run."""

    def __init__(
        self,
        board: CardBoard,
        segments: Segments,
        *,
        cell_mv: int = 3000,
        entropy: Iterator[int] | None = None,
    ) -> None:
        self.board = board
        self.cell_mv = cell_mv
        rolls = random.Random(0)
        self._entropy = entropy or iter(lambda: rolls.getrandbits(8), None)
        self.boots = 0
        self.sent = bytearray()
        self.on_send: Callable[[bytes], None] | None = None
        self.powered = False
        self.sleep: power.Sleep | None = None  # Standby or Shutdown, while it is in it
        self._stop: power.Sleep | None = None  # likewise of the Stop modes
        self._probes: list[Probe] = []
        self._until: Callable[[], bool] | None = None
        self._line_ns = 0.0  # until then the wire to the card is in use
        self.core = core = Cortex("cortex-m4", _MSI_HZ, CYCLES_PER_INSTRUCTION)
        core.on_sleep, core.on_wake, core.on_reset = self._sleeps, self._wakes, self._software_reset
        core.held = True
        self.faults = core.faults
        self.rolls_its_own = False
        self.display = MemoryLcd(clock_us=lambda: round(core.now_ns / 1000))
        self.display.power(False)
        self._memories()
        self._peripherals()
        for address, data in segments:
            core.load(flash.MEMORY + address, data)

    def _memories(self) -> None:
        for address, size in (_SRAM1, _SRAM2):
            self.core.memory(address, size)
        address, size = _SYSTEM_MEMORY
        self.core.memory(address, size, writable=False)
        self.core.load(_VREFINT_CAL, _CALIBRATION.to_bytes(2, "little"))
        self.core.load(_FLASH_KB, (flash.SIZE // 1024).to_bytes(2, "little"))
        self.core.load(_UNIQUE_ID, bytes.fromhex("2c004a000a51373439393132"))

    def _peripherals(self) -> None:
        core, board = self.core, self.board
        self.power = power.Power(core, self._check_speed)
        self.clocks = rcc = clocks.Clocks(
            core,
            lambda: self.power.backup_open,
            lambda: self.rtc.reset(),  # noqa: PLW0108 (later)
        )
        self.rtc = rtc.Rtc(core, rcc, lambda: self.power.backup_open)
        timing = board.flash_timing
        self.flash_controller = flash.Flash(
            core, timing.program_us, timing.erase_us, self._flash_begins
        )
        syscfg = pins.system_configuration(core)
        self.exti = pins.Exti(core, syscfg)
        self.rtc.on_wakeup = self._rtc_wakeup
        self.flash_controller.on_latency = self._check_speed
        rcc.on_change.append(self._check_speed)
        self.ports = [pins.Port(core, n, self._level) for n in range(len(pins.PORTS))]
        self.usart = serial.Usart(core, serial.USART1, 37, lambda: rcc.kernel(rcc.pclk2, 0))
        self.usart.on_send = self._serial_out
        self.spi = spi.Spi(core, spi.SPI1, 35, lambda: rcc.pclk2, self._spi_out)
        self._dma = dma = [
            spi.Dma(core, base, {spi.SPI1 + 0xC: self.spi}) for base in (spi.DMA1, spi.DMA2)
        ]
        self.spi.on_dma_request = self._serve_dma
        adc = analog.Adc(core, rcc, lambda: _CALIBRATION * _CALIBRATED_MV // self.cell_mv)
        rng = analog.Rng(core, rcc, self._random_word)
        self.watchdog = watchdog.Watchdog(core, lambda: self._reset(clocks.WATCHDOG))
        debug = Registers(core, _DBGMCU, {0: _DBGMCU_IDCODE, 4: 0, 8: 0, 12: 0, 16: 0})
        others = [
            serial.Usart(core, base, irq, lambda: rcc.pclk1)
            for base, irq in (
                (serial.USART2, 38), (serial.USART3, 39), (serial.UART4, 52), (serial.UART5, 53),
            )
        ]  # fmt: skip
        clocked: list[tuple[Registers, int, int]] = [
            (dma[0], clocks.AHB1, 0), (dma[1], clocks.AHB1, 1),
            (self.flash_controller, clocks.AHB1, 8),
            *((port, clocks.AHB2, n) for n, port in enumerate(self.ports)),
            (adc, clocks.AHB2, 13), (rng, clocks.AHB2, 18),
            *((each, clocks.APB1, 17 + n) for n, each in enumerate(others)),
            (self.power, clocks.APB1, 28),
            (syscfg, clocks.APB2, 0), (self.spi, clocks.APB2, 12), (self.usart, clocks.APB2, 14),
        ]  # fmt: skip
        for device, register, bit in clocked:
            self._attach(device, rcc.has(register, bit))
            rcc.resets[register - 0x20, bit] = device
        for device in (rcc, self.rtc, self.exti, self.watchdog, debug):
            self._attach(device)
        # What a reset of the system resets; RCC and PWR have rules of their own, the RTC goes on.
        self._reset_with_system = [d for d, _, _ in clocked if d is not self.power]
        self._reset_with_system += [self.exti, self.watchdog, debug]

    def _attach(self, device: Registers, has_clock: HasClock | None = None) -> None:
        size = -(-(max(device.values) + 4) // 0x100) * 0x100
        self.core.attach(device.base, size, Gated(device, has_clock) if has_clock else device)

    # -- what the opinion asks -----------------------------------------------------------------

    @property
    def fault_plan(self) -> FaultPlan | None:
        return self.flash_controller.fault_plan

    @fault_plan.setter
    def fault_plan(self, plan: FaultPlan | None) -> None:
        self.flash_controller.fault_plan = plan

    @property
    def now_us(self) -> float:
        return self.core.now_ns / 1000

    @property
    def cpu_us(self) -> float:
        return self.core.cpu_ns / 1000

    @property
    def flash(self) -> bytes:
        return self.core.peek(flash.MEMORY, flash.SIZE)

    def attach(self, probe: Probe) -> None:
        self._probes.append(probe)

    def frame(self) -> Frame:
        return self.display.frame()

    def set_button(self, down: bool) -> None:
        self._drive(self.board.button_pin, self.board.button_active if down else None)

    def press(self, ms: float = 120) -> None:
        self.core.after(ms * MS, lambda: self.set_button(False))
        self.set_button(True)

    def set_dock(self, docked: bool) -> None:
        self._drive(self.board.dock_pin, self.board.dock_active if docked else None)

    def send(self, data: bytes) -> None:
        byte_ns = 10e9 / _SERIAL_BAUD
        begins = max(self._line_ns, self.core.now_ns)
        self._line_ns = begins + len(data) * byte_ns
        for n, byte in enumerate(data):
            at = begins + (n + 1) * byte_ns
            self.core.after(at - self.core.now_ns, partial(self._serial_in, byte))
        self.core.after(self._line_ns + byte_ns - self.core.now_ns, self.usart.idle)
        for probe in self._probes:
            probe.serial(round(self.now_us), data, to_card=True)

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        self._until = until
        try:
            if not (until is not None and until()):
                self.core.run(self.core.now_ns + ms * MS)
        except flash.PowerIsCutError:
            self.power_off()
        finally:
            self._until = None
        return until is not None and until()

    def _look(self) -> None:
        if self._until is not None and self._until():
            self.core.stop()

    # -- power, reset, sleep -------------------------------------------------------------------

    def power_on(self) -> None:
        if self.powered:
            return
        self.powered = True
        self.clocks.backup_power_up()
        self.rtc.reset()
        self.core.after(_POWER_ON_US * 1000, self._start_cold)

    def _start_cold(self) -> None:
        if self.powered:
            self._lose_ram()
            self.power.reset()
            self.clocks.power_up(clocks.BROWN_OUT | clocks.PIN)
            self._start()

    def power_off(self) -> None:
        self._tell_state("off")
        self.powered = False
        self.core.held = True
        self.sleep = self._stop = None
        self.clocks.backup_power_up()
        for device in (*self._reset_with_system, self.rtc):
            device.reset()
        self.display.power(False)

    def _lose_ram(self, *, keep_second: bool = False) -> None:
        """What is in RAM after power was away is anybody's guess."""
        guess = random.Random(self.boots)
        for address, size in (_SRAM1,) if keep_second else (_SRAM1, _SRAM2):
            self.core.load(address, guess.randbytes(size))

    def _start(self) -> None:
        self.boots += 1
        self.sleep = self._stop = None
        self._tell_state("reset")
        for device in self._reset_with_system:
            device.reset()
        self.core.held = False
        self.core.reset(flash.MEMORY)
        self._tell_state("running")

    def _tell_state(self, state: str) -> None:
        for probe in self._probes:
            probe.state(round(self.now_us), state)

    def _software_reset(self) -> None:
        self._reset(clocks.SOFTWARE)

    def _reset(self, flag: int) -> None:
        self.power.reset()
        self.clocks.system_reset(flag | clocks.PIN)
        self._start()

    def _check_speed(self) -> None:
        """The flash needs wait states, and the low voltage a slow clock (RM0351, 3.3.3, 5.1.8)."""
        mhz, slow = self.clocks.hclk / 1e6, self.power.in_range_two
        needed = next((n for n, most in enumerate(_MOST_MHZ[slow]) if mhz <= most), None)
        runs = f"runs at {mhz:.0f} MHz in voltage range {1 + slow}"
        given = self.flash_controller.wait_states
        if needed is None:
            self.core.fault(f"{runs}, of {_MOST_MHZ[slow][-1]} at most")
        elif given < needed:
            self.core.fault(f"{runs} with {given} wait states of the flash, of {needed} at least")

    def _sleeps(self, deep: bool) -> None:
        if not deep:
            return
        mode = self.power.sleep
        self._tell_state(mode.name.lower())
        if mode.is_stop:
            self._stop = mode
            self.core.systick.halt(True)
            return
        self.sleep = mode
        self.core.held = True
        if mode is power.Sleep.SHUTDOWN:
            self.clocks.enter_shutdown()
        for device in self._reset_with_system:
            if device is not self.watchdog or mode is power.Sleep.SHUTDOWN:
                device.reset()  # the watchdog bites in Standby, too
        if self.power.flagged:
            self.core.after(_WAKE_US[mode] * 1000, self._wake_from_off)
            return
        for pin in power.WAKE_PINS:
            port, bit = self.ports[pin >> 4], pin & 15
            if self.power.listens(pin) and bit not in port.driven and not self.power.pull(pin):
                self.core.after(_FLOATING_MS * MS, self._wake_from_off)

    def _wakes(self) -> None:
        """A Stop mode is over: MSI or HSI16 runs, the PLL does not."""
        if self._stop is not None:
            self.core.stall(_WAKE_US[self._stop] * 1000)
            self._stop = None
            self.clocks.stop()
            self.core.set_clock(self.clocks.hclk)
            self.core.systick.halt(False)

    def _wake_from_off(self) -> None:
        mode, self.sleep = self.sleep, None
        if mode is power.Sleep.STANDBY:
            self._lose_ram(keep_second=self.power.keeps_sram2)
            self.power.leave_standby()
            self.clocks.leave_standby()
            self._start()
        elif mode is power.Sleep.SHUTDOWN:
            self._lose_ram()
            self.power.reset()
            self.clocks.power_up(clocks.BROWN_OUT | clocks.PIN)
            self._start()

    # -- wires ---------------------------------------------------------------------------------

    def _drive(self, pin: int, level: int | None) -> None:
        self.ports[pin >> 4].drive(pin & 15, level)

    def _level(self, pin: int, level: int) -> None:
        """A pin changed its level."""
        for probe in self._probes:
            probe.pin(round(self.now_us), pin, level)
        if pin == self.board.display_power_pin:
            self.display.power(bool(level))
        elif pin == self.board.display_select_pin:
            self.display.spi_select(level)
            self._look()
        woken = self.power.edge(pin, level)
        if self.sleep is None:
            self.exti.pin(pin, level)
        elif woken:
            self.core.after(_WAKE_US[self.sleep] * 1000, self._wake_from_off)

    def _rtc_wakeup(self, level: bool) -> None:
        self.exti.line(pins.RTC_WAKEUP_LINE, level)
        if level and self.sleep is not None and self.power.internal_wake():
            self.core.after(_WAKE_US[self.sleep] * 1000, self._wake_from_off)

    def _routed(self, pin: int, function: int) -> bool:
        """Whether a peripheral has this pin."""
        values, bit = self.ports[pin >> 4].values, pin & 15
        mode = values[0x00] >> 2 * bit & 3
        return (
            mode == _ALTERNATE and values[0x20 + 4 * (bit >> 3)] >> 4 * (bit & 7) & 15 == function
        )

    def _spi_out(self, data: bytes, clock_hz: float) -> None:
        """SPI1 has AF5. What goes out on other pins than the display's, does not reach it."""
        for probe in self._probes:
            probe.bus(round(self.now_us), "spi", data, 8e6 / clock_hz)
        if self._routed(0x05, 5) and self._routed(0x07, 5):
            self.display.spi_write(data, round(clock_hz))

    def _serve_dma(self) -> None:
        for controller in self._dma:
            controller.serve()

    def _serial_out(self, data: bytes) -> None:
        if not self._routed(0x09, 7):
            return
        self.sent += data
        for probe in self._probes:
            probe.serial(round(self.now_us), data, to_card=False)
        if self.on_send is not None:
            self.on_send(data)
        self._look()

    def _serial_in(self, byte: int) -> None:
        listens = self.powered and self.sleep is None and self._stop is None
        if listens and self._routed(0x0A, 7):
            self.usart.receive(byte, _SERIAL_BAUD)
        else:
            self.usart.lost += 1

    def _random_word(self) -> int:
        return int.from_bytes(bytes(next(self._entropy) for _ in range(4)), "little")

    def _flash_begins(self, kind: str, address: int, size: int, duration_us: float) -> None:
        for probe in self._probes:
            probe.flash(round(self.now_us), kind, address, size, round(duration_us))
