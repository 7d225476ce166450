"""The low-power board in this interpreter: what its registers hold at which moment.

The stand-in for the chip does what RM0351 says of the few registers that the board has: what is
protected without its clock or key, what follows later, and which clock a voltage allows. A register
that it does not know is an error, and so is a wait that never ends.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from typing import Any

import pytest

from tests.firmware.boards.test_flash import FLASH, given, module  # noqa: F401 (a fixture)
from tests.firmware.boards.test_pico2 import Poll, Uart

WORD = 0xFFFFFFFF
FLASH_ACR, FLASH_SR, FLASH_CR, FLASH_KEYR = 0x40022000, 0x40022010, 0x40022014, 0x40022008
RCC_CR, RCC_CFGR, RCC_PLLCFGR = 0x40021000, 0x40021008, 0x4002100C
RCC_APB1ENR1, RCC_CCIPR = 0x40021058, 0x40021088
PWR_CR1, PWR_CR3, PWR_CR4 = 0x40007000, 0x40007008, 0x4000700C
PWR_SR2, PWR_SCR, PWR_PDCRA, PWR_PDCRC = 0x40007014, 0x40007018, 0x40007024, 0x40007034
RTC_TR, RTC_CR, RTC_WPR, RTC_SSR = 0x40002800, 0x40002808, 0x40002824, 0x40002828
BACKUP0, BACKUP1 = 0x40002850, 0x40002854
USART1_CR1, USART1_BRR = 0x40013800, 0x4001380C
SYSTICK_LOAD = 0xE000E014
ADC_ISR, ADC_CR, ADC_SMPR1, ADC_SQR1 = 0x50040000, 0x50040008, 0x50040014, 0x50040030
ADC_DR, ADC_CCR = 0x50040040, 0x50040308
VREFINT_CAL = 0x1FFF75AA

RTC = {RTC_TR, RTC_CR, RTC_WPR, RTC_SSR, BACKUP0, BACKUP1}
PWR = {PWR_CR1, PWR_CR3, PWR_CR4, PWR_SR2, PWR_SCR, PWR_PDCRA, PWR_PDCRC}
OTHERS = {
    FLASH_ACR, FLASH_SR, FLASH_CR, FLASH_KEYR, RCC_CR, RCC_CFGR, RCC_PLLCFGR, RCC_APB1ENR1,
    RCC_CCIPR, USART1_CR1, USART1_BRR, SYSTICK_LOAD, ADC_ISR, ADC_CR, ADC_SMPR1, ADC_SQR1, ADC_DR,
    ADC_CCR,
}  # fmt: skip
RTC_CLOCK, PWR_CLOCK, DBP, PLLON, PLLRDY = 1 << 10, 1 << 28, 1 << 8, 1 << 24, 1 << 25
RTC_TIMER = 1 << 10 | 1 << 14  # the wake-up timer and its interrupt
BYPSHAD = 1 << 5
LATER = 3  # reads until a status follows
# MHz, by wait states, in a voltage range (RM0351, table 11).
ALLOWED = {1: (16, 32, 48, 64, 80), 2: (6, 12, 18, 26, 26)}

# Bits that mean something here: (which, how they are when the board's code begins to run).
MEANT = {
    RCC_CR: (PLLON | PLLRDY | 1 << 8, PLLON | PLLRDY),
    RCC_CFGR: (7 << 11 | 15, 15),  # from the PLL
    RCC_PLLCFGR: (0x7F << 8 | 3 << 25, 26 << 8 | 1 << 25),
    RCC_APB1ENR1: (RTC_CLOCK | PWR_CLOCK, 0),
    PWR_CR1: (DBP | 3 << 9, 2 << 9),
    PWR_SR2: (1 << 10, 0),
    RTC_CR: (RTC_TIMER | BYPSHAD, RTC_TIMER),
    RTC_SSR: (255, 249),
    RTC_TR: (0x003F7F7F, 0),
    BACKUP0: (WORD, 0),
    BACKUP1: (WORD, 0),
    FLASH_ACR: (7, 3),
    FLASH_SR: (WORD, 0),
    PWR_PDCRA: (1, 0),
    PWR_PDCRC: (1 << 5, 0),
    PWR_CR3: (1 << 10 | 0x1F, 0),
    USART1_CR1: (1, 1),
    RCC_CCIPR: (3, 0),
    ADC_CR: (WORD, 1 << 29),  # in deep power-down
    ADC_ISR: (4, 0),
}


class Stm:
    """Registers and, behind them, the chip."""

    def __init__(self) -> None:
        self.there: dict[int, int] = {}
        self.log: list[tuple[int, int]] = []
        self.reads: dict[int, list[int]] = {}  # what some read as, one after another
        self.coming: dict[int, tuple[int, int]] = {}  # after so many reads it is that
        self.accesses = 0
        self.keys: list[int] = []  # what was written to RTC_WPR
        self.woken = 0  # flags of the wake-up pins
        self.fill(0)

    def fill(self, other: int) -> None:
        """`other`: 0 or WORD, every bit that is not the board's."""
        for address in RTC | PWR | OTHERS:
            which, value = MEANT.get(address, (0, 0))
            self.there[address] = other & ~which & WORD | value

    def runs(self) -> None:
        """As after `start`."""
        self.there[RCC_APB1ENR1] |= RTC_CLOCK | PWR_CLOCK
        self.there[PWR_CR1] |= DBP

    def _clocked(self, address: int) -> bool:
        clocks = self.there[RCC_APB1ENR1]
        if address in RTC:
            return bool(clocks & RTC_CLOCK)
        return address not in PWR or bool(clocks & PWR_CLOCK)

    def _count(self) -> None:
        self.accesses += 1
        assert self.accesses < 1000, "it waits for ever"

    def __getitem__(self, address: int) -> int:
        self._count()
        value = self.there[address]
        if not self._clocked(address):
            return 0
        if address == ADC_DR:
            assert not self.coming, "nothing is converted yet, or the converter goes off"
        if self.reads.get(address):
            value = self.reads[address].pop(0)
        elif address in self.coming:
            left, then = self.coming[address]
            self.coming[address] = (left - 1, then)
            if left == 1:
                self.there[address] = then
                del self.coming[address]
        return value - (1 << 32) if value >> 31 else value  # a word comes with its sign

    def __setitem__(self, address: int, value: int) -> None:
        self._count()
        before, value = self.there[address], value & WORD
        assert not self.coming, "not waited for"
        self.log.append((address, value))
        if not self._clocked(address) or (
            address in RTC
            and (
                not self.there[PWR_CR1] & DBP
                or (address == RTC_CR and self.keys[-2:] != [0xCA, 0x53])
            )
        ):
            return
        self.there[address] = value
        if address == RTC_WPR:
            self.keys.append(value)
        elif address == PWR_SCR:
            self.woken &= ~value
        elif address in (PWR_CR3, PWR_CR4):
            self.woken = 0x1F  # whatever their levels were
        elif address == PWR_CR1 and (value ^ before) & 3 << 9:
            self.there[PWR_SR2] |= 1 << 10
            self.coming[PWR_SR2] = (LATER, self.there[PWR_SR2] & ~(1 << 10))
        elif address == FLASH_ACR:
            self._later(address, value, before, 7)
        elif address == RCC_CFGR and value & 3 == 3:
            assert self.there[RCC_CR] & PLLRDY
            self.there[address] = value | 12  # nobody waits for this one
        elif address == RCC_CFGR:
            assert value & 3 == 0
            self._later(address, value & ~12, before, 12)
        elif address == RCC_CR:
            running = value & PLLON
            assert running or self.there[RCC_CFGR] & 12 == 0, "the core runs from it"
            self._later(address, value & ~PLLRDY | running << 1, before, PLLRDY)
        elif address == RCC_PLLCFGR:
            assert not self.there[RCC_CR] & (PLLON | PLLRDY), "while it runs"
        elif address in (USART1_BRR, RCC_CCIPR):
            assert not self.there[USART1_CR1] & 1, "while the line is on"
        elif address == ADC_CR:
            self._adc(value, before)
        wait_states = min(self.there[FLASH_ACR] & 7, 4)
        assert self.mhz() <= ALLOWED[self.range()][wait_states]

    def _later(self, address: int, value: int, before: int, status: int) -> None:
        now = value & ~status | before & status
        self.there[address] = now
        if now != value:
            self.coming[address] = (LATER, value)

    def _adc(self, value: int, before: int) -> None:
        if value & 4:
            # On, and 640.5 clocks of the channel that is the reference.
            assert (before & 1, self.there[ADC_CCR] >> 22 & 1) == (1, 1)
            assert (self.there[ADC_SMPR1], self.there[ADC_SQR1]) == (7, 0)
            self.there[ADC_CR] = value & ~4
            self.there[ADC_ISR] |= 1  # ready
            self.coming[ADC_ISR] = (LATER, self.there[ADC_ISR] | 4)
        elif value & 2:
            self.coming[ADC_CR] = (LATER, value & ~3)

    def range(self) -> int:
        return self.there[PWR_CR1] >> 9 & 3

    def mhz(self) -> int:
        if not self.there[RCC_CFGR] & 12:
            return 4
        pll = self.there[RCC_PLLCFGR]
        return 4 * (pll >> 8 & 0x7F) // (2 * (1 + (pll >> 25 & 3)))


class Bench:
    """Chip, pins and time around the board."""

    def __init__(self) -> None:
        self.stm = Stm()
        self.levels = {"A0": 0, "C5": 0}
        self.pins: list[tuple[Any, ...]] = []
        self.edges: dict[str, Any] = {}
        self.buses: list[Any] = []
        self.slept: list[int] = []
        self.sleeping: Any = lambda: None
        self.now = 1000
        self.ended: list[str] = []
        self.thresholds: list[int] = []
        self.board: Any = None

    def lightsleep(self, ms: int) -> None:
        self.slept.append(ms)
        self.sleeping()

    def deepsleep(self) -> None:
        assert not self.stm.woken, "it wakes at once"
        self.ended.append("deepsleep")

    def clock(self, hours: int, minutes: int, seconds: int, parts: int) -> tuple[int, int]:
        """RTC_TR and RTC_SSR, with every bit set that is none of theirs."""
        digits = (int(f"{n:02}", 16) for n in (hours, minutes, seconds))
        word = int.from_bytes(bytes(digits), "big")
        return word | 0xFFC08080, 0xFFFFFF00 | parts

    def is_at(self, *time: int) -> None:
        self.stm.there[RTC_TR], self.stm.there[RTC_SSR] = self.clock(*time)


@pytest.fixture
def bench(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Bench:  # noqa: F811
    made = Bench()

    class BenchPin:
        IN, OUT, PULL_DOWN, IRQ_RISING, IRQ_FALLING = "in", "out", "down", 1, 2

        def __init__(self, name: str, *how: str, **value: int) -> None:
            self.name = name
            made.pins.append((name, *how, *value.items()))

        def value(self) -> int:
            return made.levels[self.name]

        def irq(self, handler: Any, trigger: int) -> None:
            made.edges[self.name] = (handler, trigger)

    class Adc:
        CORE_VREF = 100

        def __init__(self, channel: int) -> None:
            assert channel == 100

        def read_u16(self) -> int:
            made.stm.there[ADC_CR] = 1 << 28 | 1
            made.stm.there[ADC_CCR] |= 1 << 22
            return 12345

    def spi(number: int, *, baudrate: int) -> Any:
        made.buses.append((number, baudrate, made.stm.mhz()))
        return made.buses[-1]

    machine = module(
        Pin=BenchPin, ADC=Adc, SPI=spi, UART=Uart, lightsleep=made.lightsleep,
        deepsleep=made.deepsleep, reset=lambda: made.ended.append("reset"),
    )  # fmt: skip
    others = {
        "machine": machine,
        "select": module(poll=Poll, POLLIN=1),
        "stm": module(mem32=made.stm, mem16={VREFINT_CAL: 1655}, FLASH=0x40022000, **FLASH),
        "lib.memory_lcd": module(MemoryLcd=lambda bus, select, buffer: (bus, select.name, buffer)),
    }
    for name, one in others.items():
        monkeypatch.setitem(sys.modules, name, one)
    given["uctypes"].bytearray_at = None
    monkeypatch.setattr(gc, "threshold", made.thresholds.append, raising=False)
    round_ = 1 << 30
    monkeypatch.setattr(time, "ticks_ms", lambda: made.now % round_)
    monkeypatch.setattr(time, "ticks_add", lambda ticks, ms: (ticks + ms) % round_)
    half = round_ // 2
    monkeypatch.setattr(time, "ticks_diff", lambda a, b: (a - b + half) % round_ - half)
    made.board = importlib.import_module("boards.nucleo_l476rg")
    return made


@pytest.fixture(params=[0, WORD], ids=["others 0", "others 1"])
def other(request: pytest.FixtureRequest, bench: Bench) -> int:
    """What all bits are that are not the board's: they stay."""
    bench.stm.fill(request.param)
    return int(request.param)


def stays(stm: Stm, address: int, other: int, **bits: int) -> bool:
    """Whether only the board's bits differ, and these are `bits`."""
    which = MEANT[address][0]
    return stm.there[address] == other & ~which & WORD | bits["now"]


# -- flash, beside what test_flash.py sees ---------------------------------------------------------


@pytest.mark.parametrize("harmless", [0, 1, 1 << 17])
def test_a_double_word_is_waited_for(bench: Bench, harmless: int) -> None:
    pages = bench.board._Pages(0x74000, 24)
    at = 0x08074000
    bench.stm.there |= {at: 0, at + 4: 0}
    bench.stm.reads[FLASH_SR] = [1 << 16, 1 << 16 | harmless, 1 << 16, harmless]
    pages.program(0, b"12345678")
    assert bench.stm.reads[FLASH_SR] == []
    assert (bench.stm.there[at], bench.stm.there[at + 4]) == (0x34333231, 0x38373635)


# -- what wakes, and what sleeps -------------------------------------------------------------------

MARK = 0x1C0DE000
BUTTON, DOCK, CLEAN, EMPTY, WAS_DOCKED = 1, 2, 4, 8, 16


@pytest.mark.parametrize("flipped", [None, *range(32)])
def test_a_mark_and_its_complement(bench: Bench, other: int, flipped: int | None) -> None:
    """Any bit that fell over in the cell's absence makes a cold start."""
    mark = MARK | CLEAN
    flip = 0 if flipped is None else 1 << flipped
    bench.stm.there |= {BACKUP0: mark, BACKUP1: ~mark & WORD ^ flip}
    assert bench.board.start() == (0 if flip else BUTTON | CLEAN)
    assert (bench.stm.there[BACKUP0], bench.stm.there[BACKUP1]) == (0, 0)
    assert bench.board.start() == 0  # told once


@pytest.mark.parametrize(
    ("left", "dock", "cause"),
    [
        (MARK, 0, BUTTON),
        (MARK, 1, DOCK),
        (MARK | WAS_DOCKED, 1, BUTTON),
        (MARK | WAS_DOCKED, 0, DOCK),
        (MARK | CLEAN, 0, BUTTON | CLEAN),
        (MARK | EMPTY, 1, DOCK | EMPTY),
        (MARK | WAS_DOCKED | CLEAN | EMPTY, 0, DOCK | CLEAN | EMPTY),
        (MARK | 0xFE3, 1, DOCK),  # no flag of it
        (MARK | 0xFFF, 1, BUTTON | CLEAN | EMPTY),
        (MARK ^ 0x1000, 0, 0),
        (MARK | 1 << 31, 0, 0),
        (MARK & ~(1 << 28), 0, 0),
        (0, 0, 0),
        (0, 1, 0),
        (WORD, 0, 0),
    ],
)
def test_why_it_starts(bench: Bench, other: int, left: int, dock: int, cause: int) -> None:
    bench.stm.there |= {BACKUP0: left, BACKUP1: ~left & WORD}
    bench.levels["C5"] = dock
    assert bench.board.start() == cause


def test_what_a_start_turns_on(bench: Bench, other: int) -> None:
    stm = bench.stm
    bench.board.start()
    assert stays(stm, RCC_APB1ENR1, other, now=RTC_CLOCK | PWR_CLOCK)
    assert stays(stm, PWR_CR1, other, now=DBP | 2 << 9)
    assert stays(stm, RTC_CR, other, now=RTC_TIMER | BYPSHAD)
    assert stm.keys == [0xCA, 0x53, 0xFF]  # protected again
    assert {pin: trigger for pin, (_, trigger) in bench.edges.items()} == {"A0": 3, "C5": 3}
    assert bench.edges["A0"][0](None) is None
    (threshold,) = bench.thresholds
    assert 30_000 < threshold < 35_000


@pytest.mark.parametrize("flags", [0, CLEAN, EMPTY, CLEAN | EMPTY])
@pytest.mark.parametrize("button", [0, 1])
@pytest.mark.parametrize("dock", [0, 1])
def test_what_is_left_of_it_asleep(
    bench: Bench, other: int, flags: int, button: int, dock: int
) -> None:
    """Two pins pulled down, each to wake it when its level is no longer what it is now."""
    stm = bench.stm
    stm.runs()
    stm.woken = 0x1F
    bench.levels |= {"A0": button, "C5": dock}
    bench.board.off(flags)
    assert bench.ended == ["deepsleep"]
    assert stm.there[PWR_CR4] == button | dock << 4
    assert stays(stm, PWR_CR3, other, now=1 << 10 | 1 | 1 << 4)
    assert stays(stm, PWR_PDCRA, other, now=1)
    assert stays(stm, PWR_PDCRC, other, now=1 << 5)
    assert stays(stm, RTC_CR, other, now=0)  # nothing but the pins wakes it
    assert stm.keys == [0xCA, 0x53, 0xFF]
    mark = MARK | flags | dock * WAS_DOCKED
    assert (stm.there[BACKUP0], stm.there[BACKUP1]) == (mark, ~mark & WORD)
    bench.levels["C5"] = 1 - dock
    assert bench.board.start() == DOCK | flags


# -- time ------------------------------------------------------------------------------------------

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("now", "ms"),
    [
        ((0, 0, 0, 249), 0),
        ((0, 0, 0, 248), 4),
        ((0, 0, 0, 0), 996),
        ((0, 0, 0, 121), 512),
        *(((0, 0, s, 249), s * 1000) for s in (1, 2, 4, 8, 9, 10, 20, 40, 59)),
        *(((0, m, 0, 249), m * 60_000) for m in (1, 2, 4, 8, 9, 10, 20, 40, 59)),
        *(((h, 0, 0, 249), h * HOUR) for h in (1, 2, 4, 8, 9, 10, 20, 23)),
        ((23, 59, 59, 0), 24 * HOUR - 4),
    ],
)
def test_milliseconds_since_midnight(bench: Bench, now: tuple[int, ...], ms: int) -> None:
    bench.stm.runs()
    bench.is_at(*now)
    assert bench.board._rtc_ms() == ms


def test_a_step_of_the_clock_while_it_is_read(bench: Bench) -> None:
    """Its two registers are no copy of one moment."""
    bench.stm.runs()
    (old, last), (new, first) = bench.clock(9, 59, 59, 0), bench.clock(10, 0, 0, 249)
    bench.stm.reads |= {RTC_SSR: [last, first, first], RTC_TR: [old, new]}
    assert bench.board._rtc_ms() == 10 * HOUR
    assert bench.stm.reads == {RTC_SSR: [], RTC_TR: []}


@pytest.mark.parametrize(
    ("ms", "counts"), [(0, 3), (1, 4), (4, 7), (5, 8), (100, 101), (250, 248), (1000, 980)]
)
def test_a_light_sleep_is_as_long_as_asked_for_and_a_step(
    bench: Bench, ms: int, counts: int
) -> None:
    """The port sleeps 1.024 ms for each."""
    bench.stm.runs()
    bench.board.wait(ms)
    assert bench.slept == [counts]
    assert ms <= -(-counts * 1024 // 1000) <= ms + 5


@pytest.mark.parametrize(
    ("began", "ended", "awake", "passed"),
    [
        ((10, 0, 0, 249), (10, 0, 2, 249), 0, 2000),
        ((10, 0, 0, 249), (10, 0, 2, 249), 30, 2000),  # of that, ticks counted 30
        ((23, 59, 59, 249), (0, 0, 1, 249), 1, 2000),  # over midnight
        ((10, 0, 0, 249), (10, 0, 0, 248), 0, 4),
        ((10, 0, 0, 249), (10, 0, 0, 248), 3, 4),
        ((10, 0, 0, 249), (10, 0, 0, 249), 0, 0),
        ((10, 0, 0, 249), (10, 0, 0, 249), 3, 3),  # within a step: it goes on, never back
    ],
)
def test_time_goes_on_asleep(
    bench: Bench, began: tuple[int, ...], ended: tuple[int, ...], awake: int, passed: int
) -> None:
    bench.stm.runs()
    bench.now = (1 << 30) - 1
    start = bench.board.ticks_ms()
    assert start == bench.now
    for n in (1, 2):
        bench.is_at(*began)

        def sleeping() -> None:
            bench.is_at(*ended)
            bench.now += awake

        bench.sleeping = sleeping
        bench.board.wait(5000)
        assert (bench.board.ticks_ms() - start) % (1 << 30) == n * passed


# -- the line, and the clock that the dock allows --------------------------------------------------


def test_undocked_it_stays_slow(bench: Bench) -> None:
    bench.stm.runs()
    bench.board.wait(10)
    assert bench.stm.log == []
    bench.board.serial()
    assert (bench.stm.mhz(), bench.stm.range(), bench.buses) == (26, 2, [])


def test_the_line_has_a_clock_of_its_own(bench: Bench, other: int) -> None:
    """HSI16: within 1 %, and the same at either speed."""
    stm = bench.stm
    stm.runs()
    line = bench.board.serial()
    assert (line.how, line.wires) == ((1, 115_200), {"rxbuf": 512})
    assert bench.board._poller.watched == [line]
    assert stays(stm, RCC_CR, other, now=PLLON | PLLRDY | 1 << 8)
    assert stays(stm, RCC_CCIPR, other, now=2)
    assert stays(stm, USART1_CR1, other, now=1)  # on again
    assert stm.there[USART1_BRR] == 139
    before = list(stm.log)
    assert bench.board.serial() is line
    assert stm.log == before


def test_a_selected_clock_is_replaced(bench: Bench) -> None:
    bench.stm.runs()
    bench.stm.there[RCC_CCIPR] = 3
    bench.board.serial()
    assert bench.stm.there[RCC_CCIPR] == 2


def test_docked_a_byte_ends_a_wait_and_the_button_is_looked_at(bench: Bench) -> None:
    bench.stm.runs()
    bench.levels["C5"] = 1
    bench.board.wait(7)
    before = list(bench.stm.log)
    for ms in (19, 20, 5000):
        bench.board.wait(ms)
    assert bench.board._poller.waits == [7, 19, 20, 20]
    assert (bench.slept, bench.stm.log) == ([], before)


FAST = {"mhz": 80, "range": 1, "wait states": 4, "apb2": 5, "tick": 80_000}
SLOW = {"mhz": 26, "range": 2, "wait states": 3, "apb2": 0, "tick": 26_000}


def speed(stm: Stm) -> dict[str, int]:
    return {
        "mhz": stm.mhz(),
        "range": stm.range(),
        "wait states": stm.there[FLASH_ACR] & 7,
        "apb2": stm.there[RCC_CFGR] >> 11 & 7,
        "tick": stm.there[SYSTICK_LOAD] + 1,
    }


def test_on_its_dock_it_is_fast_and_slow_again_before_it_sleeps(bench: Bench, other: int) -> None:
    """On the way no clock is above what voltage and wait states allow: the stand-in looks."""
    stm = bench.stm
    stm.runs()
    for _ in range(2):
        bench.levels["C5"] = 1
        bench.board.serial()
        assert speed(stm) == FAST
        assert stays(stm, RCC_CFGR, other, now=5 << 11 | 15)
        assert stays(stm, RCC_PLLCFGR, other, now=40 << 8)
        assert stays(stm, FLASH_ACR, other, now=4)
        assert stays(stm, PWR_CR1, other, now=DBP | 1 << 9)
        before = list(stm.log)
        bench.board.serial()
        assert stm.log == before
        bench.levels["C5"] = 0
        asleep: list[dict[str, int]] = []
        bench.sleeping = lambda seen=asleep: seen.append(speed(stm))
        bench.board.wait(5)
        assert asleep == [SLOW]
        assert stays(stm, RCC_CFGR, other, now=15)
        assert stays(stm, RCC_PLLCFGR, other, now=26 << 8 | 1 << 25)
        assert stays(stm, RCC_CR, other, now=PLLON | PLLRDY | 1 << 8)
        before = list(stm.log)
        bench.board.wait(5)
        assert stm.log == before
    # Made while the clock was slow: its divisor is then right for both.
    assert bench.buses == [(1, 1_000_000, 26)]


def test_whatever_the_clock_was_before(bench: Bench) -> None:
    stm = bench.stm
    stm.runs()
    stm.there[RCC_PLLCFGR] = 0x7F << 8 | 3 << 25
    stm.there[RCC_CFGR] = 7 << 11
    stm.there[FLASH_ACR] = 7
    bench.levels["C5"] = 1
    bench.board.serial()
    assert speed(stm) == FAST
    assert stm.there[RCC_PLLCFGR] == 40 << 8


# -- wires, the panel, the cell --------------------------------------------------------------------


def test_wires(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    board = bench.board
    assert (board.NAME, board.HEAP) == ("nucleo_l476rg", 65536)
    assert (board.COLD, board.BUTTON, board.DOCK, board.CLEAN, board.EMPTY) == (0, 1, 2, 4, 8)
    assert bench.pins == [("A0", "in", "down"), ("C5", "in", "down")]
    assert (board.button(), board.docked()) == (0, 0)
    bench.levels |= {"A0": 1}
    assert (board.button(), board.docked()) == (1, 0)
    bench.levels = {"A0": 0, "C5": 1}
    assert (board.button(), board.docked()) == (0, 1)
    monkeypatch.setattr("os.urandom", lambda n: b"r" * n)
    assert board.random(5) == b"rrrrr"
    board.restart()
    assert bench.ended == ["reset"]


def test_the_panel_is_fed_before_it_is_selected(bench: Bench) -> None:
    del bench.pins[:]
    bus, select, frame = bench.board.display()
    assert bench.pins == [("B5", "out", ("value", 1)), ("B6", "out", ("value", 0))]
    assert (bus, select) == ((1, 1_000_000, 26), "B6")
    assert (frame is bench.board._frame, len(frame)) == (True, 128 * (128 // 8 + 2) + 2)
    assert bench.board.display()[0] is bus


@pytest.mark.parametrize(
    ("raw", "mv"), [(1655, 3000), (1654, 3001), (2758, 1800), (4095, 1212), (1, 4_965_000)]
)
def test_the_cell_is_measured_against_the_reference(
    bench: Bench, other: int, raw: int, mv: int
) -> None:
    stm = bench.stm
    stm.there[ADC_DR] = raw
    assert bench.board.cell_mv() == mv
    # Off, its regulator and the reference too: nothing of it draws in Stop mode.
    assert (stm.there[ADC_CR], stm.there[ADC_CCR]) == (1 << 29, 0)
    assert [value for address, value in stm.log if address == ADC_CR] == [
        1 << 28 | 1 | 4, 1 << 28 | 1 | 2, 1 << 29,
    ]  # fmt: skip


def test_a_reading_of_nothing_divides_by_nothing(bench: Bench) -> None:
    bench.stm.there[ADC_DR] = 0
    assert bench.board.cell_mv() == 3000 * 1655
