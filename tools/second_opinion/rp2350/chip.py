"""The RP2350: memories, peripherals where the data sheet has them (2.2), reset, coprocessors.

What it does not have: core 1 (it sleeps in the boot ROM for ever), DMA, PIO, PWM, SPI, HSTX, the
double-precision and redundancy coprocessors, Arm's non-secure state, RISC-V. A program that uses
one of them is stopped, with the address and where it is.

Time: an instruction takes one cycle, flash is read as fast as its cache. The real core takes more
where it waits for its bus; how much more is measured on a board, not here.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.adc import Adc
from tallystick.tools.second_opinion.rp2350.bootrom import BootRam, BootRom
from tallystick.tools.second_opinion.rp2350.i2c import I2c
from tallystick.tools.second_opinion.rp2350.otp import Otp, OtpControl, OtpData
from tallystick.tools.second_opinion.rp2350.pins import Pins
from tallystick.tools.second_opinion.rp2350.qspi import FlashChip, Qmi, Xip
from tallystick.tools.second_opinion.rp2350.registers import WORD, Bus, RegisterBlock
from tallystick.tools.second_opinion.rp2350.system import (
    Clocks,
    Powman,
    Resets,
    Rosc,
    Ticks,
    Watchdog,
    Xosc,
)
from tallystick.tools.second_opinion.rp2350.timer import Timer
from tallystick.tools.second_opinion.rp2350.trng import Trng
from tallystick.tools.second_opinion.rp2350.uart import Uart
from tallystick.tools.second_opinion.rp2350.usb import Usb

_SRAM, _SRAM_SIZE = 0x20000000, 0x82000
FLASH = 0x10000000
_UNCACHED, _UNTRANSLATED, _MAINTENANCE = 0x14000000, 0x1C000000, 0x18000000
_FIRST_HZ = 11_000_000  # its ring oscillator
_CYCLES_EACH = 1.0  # cycles an instruction: what the core does at best
_CHIP_ID = 0x20004927  # stepping A2
# Bits of RESETS (7.5.3).
_RESET_ADC, _RESET_I2C, _RESET_IO, _RESET_PADS, _RESET_TIMER, _RESET_UART, _RESET_USB = (
    0, 4, 6, 9, 23, 26, 28,
)  # fmt: skip


class Rp2350:
    """`rng` gives the chip's random bits. `otp` and `flash` outlive it."""

    def __init__(self, flash: NorFlash, otp: Otp, rng: random.Random, unique_id: bytes) -> None:
        self.core = core = Cortex("cortex-m33", _FIRST_HZ, _CYCLES_EACH)
        self.flash = flash
        self.boots = 0
        self.on_boot: Callable[[], None] = lambda: None
        self._rng = rng
        self._map_memory()
        self.clocks = clocks = Clocks(core)
        self.resets = Resets(core)
        self.watchdog = Watchdog(core, self._reset_by_watchdog)
        self.powman = Powman(core)
        self.timers = [Timer(core, f"TIMER{n}", 4 * n) for n in range(2)]
        self.pins = Pins(core)
        self.uarts = [Uart(core, f"UART{n}", 33 + n, lambda: clocks.peri_hz) for n in range(2)]
        self.i2cs = [I2c(core, f"I2C{n}", 36 + n, lambda: clocks.sys_hz) for n in range(2)]
        self.adc = Adc(core)
        self.usb = Usb(core)
        self.flash_chip = FlashChip(core, flash)
        self.otp = OtpControl(core, otp)
        self.rom = BootRom(core, self.flash_chip, self.otp, unique_id)
        self.rom.install()
        core.on_coprocessor = self._coprocessor
        self.rom.on_reboot = self._reboot
        self._boot_ram = BootRam(core)
        self._put_blocks(otp)

    def _map_memory(self) -> None:
        uc = self.core.uc
        self.core.memory(_SRAM, _SRAM_SIZE)
        memory = ctypes.c_void_p(self.flash.shared.address)
        for base in (FLASH, _UNCACHED, _UNTRANSLATED):
            uc.mem_map_ptr(base, self.flash.size, 5, memory)
        uc.mmio_map(_MAINTENANCE, 0x4000000, None, None, lambda *_args: None, None)

    def _put_blocks(self, otp: Otp) -> None:
        core, clocks = self.core, self.clocks
        psm = RegisterBlock(core, "PSM", {0x00: 0, 0x04: 0, 0x08: 0})
        psm.reads[0x0C] = lambda: 0x1FFFFFF & ~psm.kept[0x04]
        io_qspi = RegisterBlock(core, "IO_QSPI", {4 + 8 * n: 0x1F for n in range(8)})
        for n in range(8):
            io_qspi.reads[8 * n] = lambda: 1 << 9 | 1 << 17  # nothing is selected
        sysinfo = RegisterBlock(core, "SYSINFO")
        sysinfo.reads.update({0x00: lambda: _CHIP_ID, 0x04: lambda: 0, 0x08: lambda: 2})
        tbman = RegisterBlock(core, "TBMAN")
        tbman.reads[0x00] = lambda: 1  # an ASIC
        blocks: dict[int, RegisterBlock] = {
            0x40000000: sysinfo,
            0x40008000: RegisterBlock(core, "SYSCFG", range(0, 0x18, 4)),
            0x40010000: clocks, 0x40018000: psm, 0x40020000: self.resets, 0x40028000: self.pins,
            0x40030000: io_qspi, 0x40038000: self.pins.pads,
            0x40040000: RegisterBlock(core, "PADS_QSPI", dict.fromkeys(range(0, 0x1C, 4), 0x156)),
            0x40048000: Xosc(core), 0x40050000: clocks.pll_sys, 0x40058000: clocks.pll_usb,
            0x40060000: RegisterBlock(core, "ACCESSCTRL", range(0, 0xEC, 4)),
            0x40068000: RegisterBlock(core, "BUSCTRL", range(0, 0x2C, 4)),
            0x40070000: self.uarts[0], 0x40078000: self.uarts[1],
            0x40090000: self.i2cs[0], 0x40098000: self.i2cs[1], 0x400A0000: self.adc,
            0x400B0000: self.timers[0], 0x400B8000: self.timers[1],
            0x400C8000: Xip(core), 0x400D0000: Qmi(core), 0x400D8000: self.watchdog,
            0x400E0000: self._boot_ram, 0x400E8000: Rosc(core, lambda: self._rng.getrandbits(1)),
            0x400F0000: Trng(core, lambda: self._rng.getrandbits(32)),
            0x40100000: self.powman, 0x40108000: Ticks(core), 0x40120000: self.otp,
            0x40130000: OtpData(core, otp, self.otp), 0x40160000: tbman,
            0x50100000: self.usb.dpram, 0x50110000: self.usb, 0xD0000000: self.pins.ports,
        }  # fmt: skip
        for base, size in ((0x40000000, 0x170000), (0x50000000, 0x600000), (0xD0000000, 0x1000)):
            Bus(core, base, size, blocks)
        for n in range(2):
            self.resets.on_reset[_RESET_I2C + n] = self.i2cs[n].reset
            self.resets.on_reset[_RESET_TIMER + n] = self.timers[n].reset
            self.resets.on_reset[_RESET_UART + n] = self.uarts[n].reset
        self.resets.on_reset[_RESET_USB] = self.usb.reset
        self.resets.on_reset[_RESET_ADC] = self.adc.reset
        self.resets.on_reset[_RESET_IO] = self.pins.reset
        self.resets.on_reset[_RESET_PADS] = self.pins.reset_pads

    # -- power and reset -----------------------------------------------------------------------

    def power_on(self) -> None:
        """As power comes: memory holds nothing that is worth anything."""
        self.core.load(_SRAM, bytes(_SRAM_SIZE))
        self.watchdog.cold()
        self._start()

    def _start(self) -> None:
        """What a reset does, and then the boot ROM: it leaves the chip on its ring oscillator."""
        core = self.core
        self.boots += 1
        self.resets.write(0x00, 0)
        self.resets.write(0x00, self.resets.ALL)
        for control in (self.clocks.SYS, self.clocks.REF, self.clocks.PERI):
            self.clocks.write(control, 0)
        for pll in (self.clocks.pll_sys, self.clocks.pll_usb):
            pll.write(0x04, 0x2D)
        self.otp.reset()
        self._boot_ram.clear()
        self.rom.boot_ram(self._boot_ram.data)
        self.rom.boot_random = self._rng.randbytes(16)
        core.reset(FLASH)
        self.on_boot()

    def _reset_by_watchdog(self, reason: int) -> None:
        """Between two instructions."""
        self.watchdog.warm(reason)
        self._start()

    def _reboot(self, flags: int, delay_ms: int, _first: int, _second: int) -> None:
        if flags & 0xF:
            raise self.core.error(f"asks for a reboot of kind {flags:#x}")
        self.core.after(delay_ms * 1e6, lambda: self._reset_by_watchdog(self.watchdog.FORCED))

    # -- the coprocessor for GPIO (3.6.1) ------------------------------------------------------

    def _coprocessor(self, first: int, second: int) -> bool:
        """MCR, MRC and MCRR on coprocessor 0; the flag that DCP is engaged is clear (3.6.2)."""
        core, ports = self.core, self.pins.ports
        which = second >> 8 & 15
        rt = second >> 12 & 15
        if which in (4, 5) and first & 0xFF10 == 0xEE10:  # MRC: nothing is engaged
            if rt != 15:
                core.set_reg(rt, 0)
            return True
        if which != 0:
            return False
        acts = (_put, int.__or__, _clear, int.__xor__)
        if first & 0xFF00 == 0xEE00:
            crm, operation = second & 15, first >> 5 & 7
            name = "oe" if crm & 4 else "out"
            if first & 0x10:  # MRC: a port is read
                core.set_reg(
                    rt, (self.pins.inputs() if crm & 8 else ports.get(name)) >> 32 * (crm & 1)
                )
            elif operation < 4:
                if not crm & 1:
                    ports.set(name, acts[operation], core.reg(rt))
            else:
                self._bit(name, acts[operation - 4], core.reg(rt), 1)
            return True
        if first & 0xFFF0 == 0xEC40:  # MCRR
            operation, crm = second >> 4 & 15, second & 15
            name = "oe" if crm & 4 else "out"
            low, high = core.reg(rt), core.reg(first & 15)
            if operation < 4:
                ports.set(name, acts[operation], low)
            elif operation < 8:
                self._bit(name, acts[operation - 4], low, high & 1)
            else:
                return False
            return True
        return False

    def _bit(self, name: str, act: Callable[[int, int], int], pin: int, value: int) -> None:
        """One pin's bit is put, or set, cleared, toggled where `value` is 1."""
        ports = self.pins.ports
        old = ports.get(name)
        mask = 1 << pin
        bit = act(old & mask, value << pin) & mask
        ports.set(name, _put, (old & ~mask | bit) & WORD)


def _put(_old: int, new: int) -> int:
    return new


def _clear(old: int, new: int) -> int:
    return old & ~new
