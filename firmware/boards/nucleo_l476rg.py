"""NUCLEO-L476RG: STM32L476RG, the low-power reference.

Button from 3V3 to PA0 (WKUP1), dock contact on PC5 (WKUP5), memory LCD on SPI1 (PA5 SCK, PA7
MOSI), with chip select on PB6, its supply and DISP on PB5 (a few µA, which the pin can give; asleep
the pin floats and a pull-down takes the panel off the cell), serial line on UART1 (PA9 TX, PA10
RX).
The journal and the identity lie in pages of the internal flash between MicroPython and its storage
area, written through the flash controller (RM0351, chapter 3): they are covered by read-out
protection.

Asleep the chip is shut down (RM0351, 5.3.10): two wake-up pins, their pulls and the backup
registers are all that is left, no clock runs, and it wakes as after power-on. So what it was is
told by a mark in two backup registers, each the complement of the other; anything else is a cold
start. There is no brown-out reset in that state, and none is missed: nothing runs that could go
wrong, and the supervisor is back before the first instruction. A reset by the pin NRST asleep looks
like a knock on the button.
Light sleep is Stop 2, in which the port's millisecond tick stands still: time asleep is taken from
the real-time clock, which runs from LSI (32 kHz, within a few per cent). A press runs at 26 MHz in
voltage range 2; on the dock, which feeds the card, it is 80 MHz in range 1.
"""

import gc
import time

import machine
import stm
from machine import ADC, SPI, UART, Pin
from micropython import const
from uctypes import bytearray_at

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from select import poll

    from vfs import VfsRom

    from typed.board import Display, Flash, Serial
    from typed.kinds import Readable, Ticks, Writable

NAME = "nucleo_l476rg"
HEAP = 65536  # bytes that MicroPython must give, see card/selftest.py

# Why the card started, and what it left itself with `off`, while power held since.
COLD = const(0)
BUTTON = const(1)
DOCK = const(2)
CLEAN = const(4)  # everything in flash is settled
EMPTY = const(8)  # the cell was critical

# Offsets in flash. Storage starts at 0x80000 with the boot stage's file system.
_FLASH_BASE = const(0x08000000)
_RECORD = const(0x72800)
_IDENTITY = const(0x73800)
_JOURNAL = const(0x74000)
_SLOT_A = const(0x84000)
_SLOT_B = const(0xC0000)
_SLOT_PAGES = const(120)

_RCC_CR = const(0x40021000)
_RCC_CFGR = const(0x40021008)
_RCC_PLLCFGR = const(0x4002100C)
_RCC_APB1ENR1 = const(0x40021058)
_RCC_CCIPR = const(0x40021088)
_PWR_CR1 = const(0x40007000)
_PWR_CR3 = const(0x40007008)
_PWR_CR4 = const(0x4000700C)
_PWR_SR2 = const(0x40007014)
_PWR_SCR = const(0x40007018)
_PWR_PDCRA = const(0x40007024)
_PWR_PDCRC = const(0x40007034)
_RTC_TR = const(0x40002800)
_RTC_CR = const(0x40002808)
_RTC_WPR = const(0x40002824)
_RTC_SSR = const(0x40002828)
_BACKUP0 = const(0x40002850)  # RTC_BKP0R and RTC_BKP1R: kept asleep, lost with the cell
_BACKUP1 = const(0x40002854)
_MARK = const(0x1C0DE000)
_WAS_DOCKED = const(16)
_WAKE_PINS = const(0x11)  # WKUP1 and WKUP5
_USART1_CR1 = const(0x40013800)
_USART1_BRR = const(0x4001380C)
_SYSTICK_LOAD = const(0xE000E014)
_DAY_MS = const(86400000)

_VREFINT_CAL = const(0x1FFF75AA)
_ADC_ISR = const(0x50040000)
_ADC_CR = const(0x50040008)
_ADC_SMPR1 = const(0x50040014)
_ADC_SQR1 = const(0x50040030)
_ADC_DR = const(0x50040040)
_ADC_CCR = const(0x50040308)

_frame = bytearray(128 * 18 + 2)  # set aside before imports scatter the heap
_button = Pin("A0", Pin.IN, Pin.PULL_DOWN)
_dock = Pin("C5", Pin.IN, Pin.PULL_DOWN)
_uart: "UART | None" = None
_poller: "poll | None" = None
_bus: "SPI | None" = None
_fast = False
_asleep_ms = 0  # spent in Stop mode since start


def _edge(_pin: "Pin") -> None:
    """Only there to end a light sleep."""


def start() -> int:
    """Why the card runs: COLD, or BUTTON or DOCK with the flags given to `off`."""
    gc.threshold(32768)  # code is executed in flash here: there is little to scatter the heap
    stm.mem32[_RCC_APB1ENR1] = stm.mem32[_RCC_APB1ENR1] | 1 << 10 | 1 << 28
    stm.mem32[_PWR_CR1] = stm.mem32[_PWR_CR1] | 1 << 8
    left = stm.mem32[_BACKUP0]
    complement = stm.mem32[_BACKUP1]
    stm.mem32[_BACKUP0] = stm.mem32[_BACKUP1] = 0
    _rtc_control(0, 1 << 5)  # BYPSHAD: read the clock itself, its copy is stale after Stop mode
    _button.irq(_edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)
    _dock.irq(_edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)
    if left & ~0xFFF != _MARK or left != ~complement:
        return COLD
    moved = _dock.value() != (left & _WAS_DOCKED) // _WAS_DOCKED
    return (DOCK if moved else BUTTON) | left & (CLEAN | EMPTY)


def off(flags: int) -> None:
    """Shutdown; never returns. A press or docking starts the card again, as after reset.

    flags: CLEAN and EMPTY, as the next `start` shall know them.
    """
    docked = _dock.value()
    mark = _MARK | flags | docked * _WAS_DOCKED
    stm.mem32[_BACKUP0] = mark
    stm.mem32[_BACKUP1] = ~mark
    _rtc_control(1 << 10 | 1 << 14, 0)  # the wake-up timer of the last light sleep
    # Asleep the pins keep no level of their own: pull both down (PA0, PC5).
    stm.mem32[_PWR_PDCRA] = stm.mem32[_PWR_PDCRA] | 1
    stm.mem32[_PWR_PDCRC] = stm.mem32[_PWR_PDCRC] | 1 << 5
    # Wake on the next press; on its release when the button is stuck down now; likewise the dock.
    stm.mem32[_PWR_CR4] = _button.value() | docked << 4
    stm.mem32[_PWR_CR3] = stm.mem32[_PWR_CR3] | 1 << 10 | _WAKE_PINS  # APC, EWUP
    stm.mem32[_PWR_SCR] = 0x1F
    machine.deepsleep()


def _rtc_control(clear: int, set_bits: int) -> None:
    stm.mem32[_RTC_WPR] = 0xCA
    stm.mem32[_RTC_WPR] = 0x53
    stm.mem32[_RTC_CR] = stm.mem32[_RTC_CR] & ~clear | set_bits
    stm.mem32[_RTC_WPR] = 0xFF


def _rtc_ms() -> int:
    """Milliseconds since midnight, in steps of 4 ms."""
    parts = stm.mem32[_RTC_SSR]
    while True:
        before, clock, parts = parts, stm.mem32[_RTC_TR], stm.mem32[_RTC_SSR]
        if before == parts:
            break  # no step of the clock came between
    hours = (clock >> 20 & 3) * 10 + (clock >> 16 & 15)
    minutes = (clock >> 12 & 7) * 10 + (clock >> 8 & 15)
    seconds = (clock >> 4 & 7) * 10 + (clock & 15)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + (249 - (parts & 255)) * 4


def ticks_ms() -> "Ticks":
    """Like `time.ticks_ms`, and it goes on in light sleep."""
    return time.ticks_add(time.ticks_ms(), _asleep_ms)


def button() -> int:
    """1 while the button is down, else 0."""
    return _button.value()


def docked() -> int:
    """1 while the card lies in its dock, else 0."""
    return _dock.value()


def wait(ms: int) -> None:
    """Up to `ms` and a step of the clock, less on an edge of the button or the dock, or (docked) on
    a byte."""
    global _asleep_ms
    if _dock.value():
        # The UART does not run in Stop mode, and the dock feeds the card.
        serial()
        assert _poller is not None  # as `serial` left it
        _poller.poll(ms if ms < 20 else 20)
        return
    if _fast:
        _set_clock(26, 1, 2, 3, 0)
    before, began = _rtc_ms(), time.ticks_ms()
    # The port counts on 32,768 Hz. 4 ms more, a step of the clock: too early means once more.
    machine.lightsleep((ms + 4) * 125 >> 7)
    awake = time.ticks_diff(time.ticks_ms(), began)
    asleep = (_rtc_ms() - before) % _DAY_MS - awake
    if asleep > 0:
        _asleep_ms += asleep


def serial() -> "Serial":
    """The line to the station, 115200 baud, made when it is first needed."""
    global _uart, _poller
    if _uart is None:
        import select

        _uart = UART(1, 115200, rxbuf=512)
        # Clocked by HSI16, which is within 1 % where MSI without its crystal may be 3 % off.
        stm.mem32[_RCC_CR] = stm.mem32[_RCC_CR] | 1 << 8
        control = stm.mem32[_USART1_CR1]
        stm.mem32[_USART1_CR1] = control & ~1
        stm.mem32[_RCC_CCIPR] = stm.mem32[_RCC_CCIPR] & ~3 | 2
        stm.mem32[_USART1_BRR] = 139  # 16 MHz / 115200
        stm.mem32[_USART1_CR1] = control
        _poller = select.poll()
        _poller.register(_uart, select.POLLIN)
    if not _fast and _dock.value():
        _display_bus()
        _set_clock(40, 0, 1, 4, 5)
    return _uart


def _set_clock(times: int, divisor: int, voltage_range: int, wait_states: int, apb2: int) -> None:
    """times, divisor, apb2: PLLN, PLLR and PPRE2 as RCC_PLLCFGR and RCC_CFGR have them.

    The display's bus keeps a clock under 1.1 MHz in both: 26 MHz / 32 and 80 MHz / 4 / 32.
    """
    global _fast
    _fast = voltage_range == 1
    if _fast:
        _set_range(voltage_range)
        _set_wait_states(wait_states)
    stm.mem32[_RCC_CFGR] = stm.mem32[_RCC_CFGR] & ~3  # MSI, 4 MHz, while the PLL changes
    while stm.mem32[_RCC_CFGR] & 12:
        pass
    stm.mem32[_RCC_CR] = stm.mem32[_RCC_CR] & ~(1 << 24)
    while stm.mem32[_RCC_CR] & 1 << 25:
        pass
    settings = stm.mem32[_RCC_PLLCFGR] & ~(0x7F << 8 | 3 << 25)
    stm.mem32[_RCC_PLLCFGR] = settings | times << 8 | divisor << 25
    stm.mem32[_RCC_CR] = stm.mem32[_RCC_CR] | 1 << 24
    while not stm.mem32[_RCC_CR] & 1 << 25:
        pass
    stm.mem32[_RCC_CFGR] = stm.mem32[_RCC_CFGR] & ~(7 << 11) | apb2 << 11 | 3
    stm.mem32[_SYSTICK_LOAD] = (80000 if _fast else 26000) - 1
    if not _fast:
        _set_wait_states(wait_states)
        _set_range(voltage_range)


def _set_range(voltage_range: int) -> None:
    stm.mem32[_PWR_CR1] = stm.mem32[_PWR_CR1] & ~(3 << 9) | voltage_range << 9
    while stm.mem32[_PWR_SR2] & 1 << 10:
        pass


def _set_wait_states(wait_states: int) -> None:
    acr = stm.FLASH + stm.FLASH_ACR
    stm.mem32[acr] = stm.mem32[acr] & ~7 | wait_states
    while stm.mem32[acr] & 7 != wait_states:
        pass


def _display_bus() -> "SPI":
    global _bus
    if _bus is None:
        _bus = SPI(1, baudrate=1000000)
    return _bus


def display() -> "Display":
    """The display, set up. Its driver is imported here: most of the time it is not needed."""
    from lib.memory_lcd import MemoryLcd

    Pin("B5", Pin.OUT, value=1)
    return MemoryLcd(_display_bus(), Pin("B6", Pin.OUT, value=0), buffer=_frame)


def cell_mv() -> int:
    """The supply is the cell: measured against the internal reference (calibrated at 3.0 V)."""
    ADC(ADC.CORE_VREF).read_u16()  # turns both on, and reads another channel (MicroPython 1.28)
    stm.mem32[_ADC_SMPR1] = 7  # 640.5 clocks: at 80 MHz 8 µs, of at least 4 (DS10198, table 25)
    stm.mem32[_ADC_SQR1] = 0
    stm.mem32[_ADC_CR] = stm.mem32[_ADC_CR] | 4  # ADSTART
    while not stm.mem32[_ADC_ISR] & 4:  # EOC
        pass
    raw = stm.mem32[_ADC_DR]
    stm.mem32[_ADC_CR] = stm.mem32[_ADC_CR] | 2  # ADDIS: it would draw in Stop mode, too
    while stm.mem32[_ADC_CR] & 1:
        pass
    stm.mem32[_ADC_CR] = 1 << 29  # DEEPPWD
    stm.mem32[_ADC_CCR] = 0
    return 3000 * stm.mem16[_VREFINT_CAL] // (raw or 1)


def random(n: int) -> bytes:
    """n bytes of the chip's random number generator."""
    from os import urandom

    return urandom(n)


def identity() -> bytes:
    """The factory's segment, 134 bytes; 0xFF where nothing was written."""
    return bytes(bytearray_at(_FLASH_BASE + _IDENTITY, 134))


class _Pages:
    """Pages of the internal flash. A double word of 8 bytes is programmed once (it has ECC)."""

    SECTOR = 2048
    UNIT = 8

    def __init__(self, first: int, count: int) -> None:
        self.SECTORS = count
        self._first = first

    def read(self, address: int, buf: "Writable") -> None:
        buf[:] = bytearray_at(_FLASH_BASE + self._first + address, len(buf))

    def is_blank(self, sector: int) -> bool:
        page = memoryview(bytearray_at(_FLASH_BASE + self._first + sector * 2048, 2048))
        return page[8:] == page[:-8] and page[:8] == b"\xff" * 8  # each as the one before it

    def program(self, address: int, buf: "Readable") -> None:
        at = _FLASH_BASE + self._first + address
        self._unlock()
        try:
            stm.mem32[stm.FLASH + stm.FLASH_CR] = 1  # PG
            for i in range(0, len(buf), 8):
                low = int.from_bytes(buf[i : i + 4], "little")
                high = int.from_bytes(buf[i + 4 : i + 8], "little")
                if low & high == 0xFFFFFFFF:
                    continue
                stm.mem32[at + i] = low
                stm.mem32[at + i + 4] = high
                self._finish()
        finally:
            self._lock()

    def erase(self, sector: int) -> None:
        page = (self._first >> 11) + sector
        self._unlock()
        try:
            control = 2 | (page & 0xFF) << 3 | (1 << 11 if page > 255 else 0)  # PER, PNB, BKER
            stm.mem32[stm.FLASH + stm.FLASH_CR] = control
            stm.mem32[stm.FLASH + stm.FLASH_CR] = control | 1 << 16  # STRT
            self._finish()
        finally:
            self._lock()
            # The data cache may hold what was there before (RM0351, 3.3.4).
            acr = stm.mem32[stm.FLASH + stm.FLASH_ACR]
            stm.mem32[stm.FLASH + stm.FLASH_ACR] = acr & ~(1 << 10)
            stm.mem32[stm.FLASH + stm.FLASH_ACR] = acr & ~(1 << 10) | 1 << 12
            stm.mem32[stm.FLASH + stm.FLASH_ACR] = acr

    def _unlock(self) -> None:
        stm.mem32[stm.FLASH + stm.FLASH_SR] = 0xC3FB  # clear old errors
        stm.mem32[stm.FLASH + stm.FLASH_KEYR] = 0x45670123
        stm.mem32[stm.FLASH + stm.FLASH_KEYR] = 0xCDEF89AB

    def _lock(self) -> None:
        stm.mem32[stm.FLASH + stm.FLASH_CR] = 1 << 31

    def _finish(self) -> None:
        while True:
            status = stm.mem32[stm.FLASH + stm.FLASH_SR]
            if not status & 1 << 16:  # BSY
                break
        if status & 0xC3FA:  # any error
            raise OSError(5)


def journal() -> "Flash":
    """Where the card's state is kept."""
    return _Pages(_JOURNAL, 24)


def boot_record() -> "Flash":
    """Where the boot record is kept: lib/slots.py."""
    return _Pages(_RECORD, 2)


def slot(n: int) -> "Flash":
    """A slot as pages, to be written: the header's first, then the file system's."""
    return _Pages(_SLOT_B if n else _SLOT_A, _SLOT_PAGES)


def slot_system(n: int) -> "VfsRom":
    """The file system of a slot, to be mounted: bytecode is executed where it lies. Raises OSError
    when there is none.
    """
    from vfs import VfsRom

    first = _FLASH_BASE + (_SLOT_B if n else _SLOT_A)
    return VfsRom(bytearray_at(first + 2048, (_SLOT_PAGES - 1) * 2048))


def restart() -> None:
    """As after power-on; never returns."""
    machine.reset()
