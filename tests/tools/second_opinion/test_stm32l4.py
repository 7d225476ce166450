"""The STM32L476 by itself, with small programs: what its manual says of each peripheral, and of the
ways to sleep. No firmware."""

from __future__ import annotations

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.nor_flash import Cut, Phase
from tallystick.emulator.seeing.reading import read_code
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise
from tallystick.tools.second_opinion.cortex import FIRST_IRQ, SYSTICK, ChipError
from tallystick.tools.second_opinion.stm32l4.chip import CYCLES_PER_INSTRUCTION, Stm32L4
from tallystick.tools.second_opinion.stm32l4.power import Sleep
from tests.tools.second_opinion.assembly import RAM, keep, program, put, stores, wait

BOARD = find("nucleo_l476rg")
BASE = 0x08000000
RCC, PWR, FLASH, RTC = 0x40021000, 0x40007000, 0x40022000, 0x40002800
GPIOA, GPIOB = 0x48000000, 0x48000400
EXTI, SYSCFG, USART1, SPI1, DMA1 = 0x40010400, 0x40010000, 0x40013800, 0x40013000, 0x40020000
ADC, RNG, IWDG, SCR = 0x50040000, 0x50060800, 0x40003000, 0xE000ED10
NVIC_ISER0, NVIC_ISER1 = 0xE000E100, 0xE000E104
CLOCKS = [
    (RCC + 0x48, 0x103), (RCC + 0x4C, 0x420FF), (RCC + 0x58, 1 << 28), (RCC + 0x60, 0x5001),
]  # fmt: skip
FOREVER = "\nforever: b forever"
SLEEP = "\nsleep: wfi\nb sleep"
MARK = (RAM + 0x100, 0x600D)  # the program got there


def make(main, handlers=None, clocks=CLOCKS, **how):
    chip = Stm32L4(BOARD, [(0, program(BASE, stores(*clocks) + "\n" + main, handlers))], **how)
    chip.power_on()
    return chip


def word(chip, slot):
    return chip.core.word(RAM + 4 * slot)


def run(main, ms=20, **how):
    chip = make(main + FOREVER, **how)
    chip.run(ms)
    return chip


def deep(mode):
    """The way into a low-power mode, after everything that it needs."""
    return stores((PWR, 0x200 | mode), (SCR, 4)) + SLEEP


# -- clocks and unknown registers ----------------------------------------------------------------


def test_it_starts_at_four_megahertz():
    chip = run("", ms=2)
    busy_us = (chip.cpu_us * 4) / CYCLES_PER_INSTRUCTION
    assert chip.core.instructions == pytest.approx(busy_us, abs=1)


def test_the_pll_makes_eighty_megahertz_of_four():
    pll = (
        stores((FLASH, 0x604), (RCC + 0x0C, 1 | 40 << 8 | 1 << 24), (RCC, 0x63 | 1 << 24))
        + "\n"
        + wait(RCC, 1 << 25, 1 << 25, "ready")
        + "\n"
        + stores((RCC + 0x08, 3))
    )
    chip = run(pll + "\n" + keep(RCC + 0x08, 0))
    assert chip.core.hz == 80_000_000
    assert word(chip, 0) & 0xC == 0xC  # SWS


def test_range_two_at_twenty_six_megahertz_with_slower_buses():
    pll = stores((RCC + 0x0C, 1 | 26 << 8 | 1 << 24 | 1 << 25), (RCC, 0x63 | 1 << 24))
    chip = run(pll + "\n" + stores((RCC + 0x08, 3 | 5 << 11 | 4 << 8)))
    clocks = chip.clocks
    assert (clocks.hclk, clocks.pclk1, clocks.pclk2) == (26e6, 13e6, 6.5e6)


PLL_80 = [(RCC + 0x0C, 1 | 40 << 8 | 1 << 24), (RCC, 0x63 | 1 << 24), (RCC + 0x08, 3)]
PLL_26 = [(RCC + 0x0C, 1 | 26 << 8 | 1 << 24 | 1 << 25), (RCC, 0x63 | 1 << 24), (RCC + 0x08, 3)]
RANGE_1, RANGE_2, WAIT_3, WAIT_4 = (PWR, 0x200), (PWR, 0x400), (FLASH, 0x603), (FLASH, 0x604)


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ([WAIT_4, *PLL_80], []),
        (PLL_80, ["80 MHz in voltage range 1 with 0 wait states of the flash, of 4"]),
        ([*PLL_80, WAIT_4], ["with 0 wait states"]),  # too late
        ([WAIT_3, *PLL_26, RANGE_2], []),
        ([WAIT_4, RANGE_2, *PLL_80], ["80 MHz in voltage range 2, of 26 at most"]),
        ([WAIT_4, *PLL_80, RANGE_2], ["80 MHz in voltage range 2"]),
        ([RANGE_2, (FLASH, 0x602), *PLL_26], ["26 MHz in voltage range 2 with 2 wait states"]),
        ([WAIT_4, *PLL_26, RANGE_2, RANGE_1, (RCC + 0x08, 0), *PLL_80], ["voltage range 2"]),
    ],
)  # the last one does not wait until the voltage is up
def test_a_clock_that_flash_or_voltage_cannot_keep_up_with_is_a_fault(writes, words):
    faults = run(stores(*writes)).faults
    assert len(faults) == len(words), faults
    assert all(word in fault for word, fault in zip(words, faults, strict=True))


def test_raising_the_voltage_takes_its_time_and_says_so():
    waits = wait(PWR + 0x14, 1 << 10, 0, "rises")
    chip = run(stores(RANGE_2, WAIT_4, RANGE_1) + "\n" + waits + "\n" + stores(*PLL_80))
    assert chip.faults == [] and chip.core.hz == 80e6


def test_a_clock_that_does_not_run_cannot_be_chosen():
    with pytest.raises(ChipError, match="source that does not run"):
        run(stores((RCC + 0x08, 3)))


def test_the_crystal_that_is_not_fitted_is_never_ready():
    chip = run(stores((PWR, 0x300), (RCC + 0x90, 1)) + "\n" + keep(RCC + 0x90, 0))
    assert word(chip, 0) == 1


def test_without_its_clock_a_peripheral_takes_nothing():
    main = stores((GPIOB + 0x14, 0x55)) + "\n" + keep(GPIOB + 0x14, 0)
    assert word(run(main, clocks=[]), 0) == 0
    assert word(run(main), 0) == 0x55


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (stores((RCC + 0x100, 1)), "wrote 0x40021100"),
        (keep(USART1 + 0x2C, 0), "read 0x4001382c, an unknown register of Usart"),
        (keep(0x40015000, 0), "read 0x40015000, which this chip does not have"),
        (stores((SPI1 + 4, 0xF00), (SPI1, 1 << 6)), "set SPI frames that are not eight bits"),
    ],
)
def test_what_it_does_not_have_ends_the_run_with_the_address(main, words):
    with pytest.raises(ChipError, match=rf"{words}.*\(at 0x0800"):
        run(main)


# -- flash ---------------------------------------------------------------------------------------

PAGE = 0xC0000  # in the other bank than the program
AT = BASE + PAGE
KEYS = [(FLASH + 0x08, 0x45670123), (FLASH + 0x08, 0xCDEF89AB)]
PG, SR = (FLASH + 0x14, 1), FLASH + 0x10
PROGERR, PGAERR, SIZERR, PGSERR, BSY, EOP = 8, 1 << 5, 1 << 6, 1 << 7, 1 << 16, 1
IDLE = wait(SR, BSY, 0, "idle{0}")


def written(*pairs, before=(), **how):
    """Stores to flash with the controller open; the status comes into slot 0."""
    chip = Stm32L4(BOARD, [(0, b""), *before])
    main = stores(*CLOCKS, *KEYS, PG)
    for n, (at, value) in enumerate(pairs):
        main += "\n" + stores((at, value), **how)
        if n % 2:
            main += "\n" + IDLE.format(n)
    code = program(BASE, main + "\n" + IDLE.format("end") + "\n" + keep(SR, 0) + FOREVER)
    chip.core.load(BASE, code)
    chip.power_on()
    chip.run(50)
    return chip


def test_a_double_word_is_programmed_by_its_second_half():
    chip = written((AT, 0x11223344), (AT + 4, 0x55667788))
    assert chip.flash[PAGE : PAGE + 8].hex() == "4433221188776655"
    assert word(chip, 0) == 0
    assert written((AT, 0x11223344)).flash[PAGE : PAGE + 8] == b"\xff" * 8


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ([(AT + 4, 1), (AT + 8, 2)], PGAERR | PGSERR),  # begins in the middle; then an error is set
        ([(AT, 1), (AT + 12, 2)], PGAERR),
        ([(AT, 1), (AT + 4, 2), (AT, 3), (AT + 4, 4)], PROGERR),
    ],
)
def test_what_is_no_blank_double_word_is_refused(pairs, error):
    chip = written(*pairs)
    assert word(chip, 0) == error


def test_zeros_may_be_programmed_over_anything():
    chip = written((AT, 1), (AT + 4, 2), (AT, 0), (AT + 4, 0))
    assert word(chip, 0) == 0
    assert chip.flash[PAGE : PAGE + 8] == bytes(8)


def test_less_than_words_are_refused():
    assert word(written((AT, 1), size="h"), 0) == SIZERR
    assert word(written((AT, 1), size="b"), 0) == SIZERR


def test_a_store_without_pg_is_a_sequence_error():
    chip = run(stores(*KEYS, (AT, 1), (AT + 4, 2)) + "\n" + keep(SR, 0))
    assert word(chip, 0) == PGSERR
    assert chip.flash[PAGE : PAGE + 8] == b"\xff" * 8


def test_an_error_that_is_not_cleared_stops_the_next_operation():
    main = stores(*KEYS, PG, (AT + 4, 1), (AT, 1), (AT + 4, 2)) + "\n" + keep(SR, 0)
    main += "\n" + stores((SR, 0xC3FB), (AT, 1), (AT + 4, 2)) + "\n" + IDLE.format(1)
    chip = run(main + "\n" + keep(SR, 1))
    assert (word(chip, 0), word(chip, 1)) == (PGAERR | PGSERR, 0)
    assert chip.flash[PAGE] == 1


def test_a_wrong_key_locks_it_until_the_next_reset():
    wrong = [(FLASH + 0x08, 0x45670123), (FLASH + 0x08, 1)]
    chip = run(stores(*wrong, *KEYS, PG) + "\n" + keep(FLASH + 0x14, 0))
    assert word(chip, 0) >> 31 == 1 and word(chip, 0) & 1 == 0
    assert word(run(stores(*KEYS, PG) + "\n" + keep(FLASH + 0x14, 0)), 0) == 1


def test_a_page_of_the_other_bank_is_erased_while_the_program_runs_on():
    erase = 2 | 128 << 3 | 1 << 11
    main = stores(*KEYS, (FLASH + 0x14, erase), (FLASH + 0x14, erase | 1 << 16))
    main += "\n" + keep(SR, 0) + "\n" + IDLE.format(1) + "\n" + keep(SR, 1) + FOREVER
    chip = Stm32L4(BOARD, [(0, program(BASE, stores(*CLOCKS) + "\n" + main)), (PAGE, bytes(4096))])
    begun = []
    chip.attach(_Flash(begun))
    chip.power_on()
    chip.run(50)
    assert chip.flash[PAGE : PAGE + 4096] == b"\xff" * 2048 + bytes(2048)
    assert word(chip, 0) == BSY and word(chip, 1) == 0  # EOP only with EOPIE
    assert begun == [("erase", PAGE, 2048)]


def test_a_program_in_the_same_bank_waits():
    here = 0x40000
    erase = 2 | (here >> 11) << 3
    main = stores(*KEYS, (FLASH + 0x14, erase | 1 << 24), (FLASH + 0x14, erase | 1 << 24 | 1 << 16))
    chip = run(main + "\n" + keep(SR, 0) + "\n" + keep(0xE0001004, 1), ms=50)
    assert word(chip, 0) == EOP
    assert chip.cpu_us > 22_000


class _Flash(Probe):
    def __init__(self, begun):
        self.begun = begun

    def flash(self, now_us, kind, address, size, duration_us):
        self.begun.append((kind, address, size))


def test_a_cut_leaves_half_of_a_write_and_a_chip_without_power():
    chip = Stm32L4(BOARD, [])
    main = stores(*CLOCKS, *KEYS, PG, (AT, 0x11223344), (AT + 4, 0x55667788), MARK)
    chip.core.load(BASE, program(BASE, main + FOREVER))
    chip.fault_plan = lambda op: Cut(Phase.DURING, op.new[:4] + op.old[4:])
    chip.power_on()
    chip.run(10)
    assert not chip.powered
    assert chip.flash[PAGE : PAGE + 8].hex() == "44332211ffffffff"
    chip.fault_plan = None
    chip.power_on()
    chip.run(10)
    assert chip.boots == 2 and word(chip, 0x40) == MARK[1]
    assert chip.flash_controller.get(0x10) & PROGERR  # what is torn cannot be written again


# -- pins, serial line, display --------------------------------------------------------------------


def test_a_pin_reads_what_drives_it_and_else_its_pull():
    main = stores((GPIOA + 0x00, 0xABFFFFF0), (GPIOA + 0x0C, 0x64000004))
    chip = make(main + "\nagain: " + keep(GPIOA + 0x10, 0) + "\nb again")
    chip.run(1)
    assert word(chip, 0) & 3 == 2  # PA0 floats, PA1 is pulled up
    chip.set_button(True)
    chip.run(1)
    assert word(chip, 0) & 3 == 3
    chip.set_button(False)
    chip.run(1)
    assert word(chip, 0) & 3 == 2


COUNT = put("r0", RAM) + "\nldr r1, [r0]\nadds r1, #1\nstr r1, [r0]"
BUTTON_EDGES = [
    (GPIOA + 0x00, 0xABFFFFFC), (EXTI + 0x08, 1), (EXTI + 0x00, 1), (NVIC_ISER0, 1 << 6), (RAM, 0),
]  # fmt: skip


def test_a_rising_edge_interrupts_once():
    handler = COUNT + "\n" + stores((EXTI + 0x14, 1)) + "\nbx lr"
    chip = make(stores(*BUTTON_EDGES) + SLEEP, {FIRST_IRQ + 6: handler})
    chip.run(1)
    for _ in range(3):
        chip.press(5)
        chip.run(20)
    assert word(chip, 0) == 3


UART = [
    (GPIOA + 0x00, 0xABEBFFFF), (GPIOA + 0x24, 0x770), (USART1 + 0x0C, 35), (USART1, 0x2D),
]  # fmt: skip


def test_the_serial_line_echoes_by_interrupt():
    handler = put("r0", USART1) + "\nldr r1, [r0, #0x24]\nadds r1, #1\nstr r1, [r0, #0x28]\nbx lr"
    main = stores(*UART, (NVIC_ISER1, 1 << 5)) + SLEEP
    chip = make(main, {FIRST_IRQ + 37: handler})
    chip.run(1)
    chip.send(b"HAL")
    assert chip.run(10, until=lambda: len(chip.sent) == 3)
    assert chip.sent == b"IBM"
    assert chip.usart.lost == 0


def test_bytes_that_nobody_reads_overrun():
    chip = make(stores(*UART) + FOREVER)
    chip.run(1)
    chip.send(b"abc")
    chip.run(10)
    assert chip.usart.lost == 2
    assert chip.usart.get(0x1C) & 0x28 == 0x28  # ORE, RXNE


def test_a_line_at_another_speed_or_on_no_pin_is_not_understood():
    slow = [*UART[:2], (USART1 + 0x0C, 70), UART[3], (USART1 + 0x28, 0x55)]
    chip = make(stores(*slow) + FOREVER)
    chip.run(1)
    assert chip.usart.baud == pytest.approx(57_142, abs=1)
    chip.send(b"a")
    chip.run(1)
    assert chip.usart.get(0x24) == ord("a") ^ 0xA5
    nowhere = run(stores(*UART[2:], (USART1 + 0x28, 0x55)))
    assert nowhere.sent == b""


class _Bus(Probe):
    def __init__(self):
        self.transfers = []

    def bus(self, now_us, name, data, byte_us):
        if name == "spi":
            self.transfers.append(bytes(data))


@pytest.fixture(scope="module")
def shown():
    """What our card sends to its display for a code."""
    with card("nucleo_l476rg") as device:
        device.power_on()
        personalise(device)
        bus = _Bus()
        device.attach(bus)
        device.press()
        assert device.read_code() == "755224"  # RFC 4226, appendix D
    return bus.transfers[-1] if len(bus.transfers[-1]) > 2000 else max(bus.transfers, key=len)


def display(mosi=7, alternate=5, prescaler=1):
    """Pins, SPI1 at PCLK / (2 << prescaler), and its DMA channel, from flash at 0xA0000."""
    mode = 0xABFFFFFF & ~(3 << 10 | 3 << 2 * mosi) | 2 << 10 | 2 << 2 * mosi
    return [
        (GPIOA + 0x00, mode), (GPIOA + 0x20, alternate << 20 | alternate << 4 * mosi),
        (GPIOB + 0x18, 1 << 5), (GPIOB + 0x00, 0xFFFFD6BF), (GPIOB + 0x18, 1 << 6),
        (SPI1 + 0x04, 0x1702), (SPI1, 0x344 | prescaler << 3),
    ]  # fmt: skip


def dma(count):
    channel = DMA1 + 0x08 + 0x14 * 2
    return [
        (channel + 4, count), (channel + 8, SPI1 + 0xC), (channel + 12, BASE + 0xA0000),
        (NVIC_ISER0, 1 << 13), (channel, 0x93),
    ]  # fmt: skip


def sent_to_the_display(shown, **how):
    done = stores((DMA1 + 0x04, 0xF00)) + "\n" + wait(SPI1 + 0x08, 1 << 7, 0, "busy")
    done += "\n" + stores((GPIOB + 0x28, 1 << 6), MARK) + "\nbx lr"
    main = stores(*display(**how), *dma(len(shown))) + SLEEP
    code = program(BASE, stores(*CLOCKS) + "\n" + main, {FIRST_IRQ + 13: done})
    chip = Stm32L4(BOARD, [(0, code), (0xA0000, shown)])
    chip.power_on()
    chip.run(60)
    assert word(chip, 0x40) == MARK[1]
    return chip


def test_what_our_card_sends_to_its_display_is_a_code_there_too(shown):
    chip = sent_to_the_display(shown)
    assert read_code(chip.frame()) == "755224"
    assert chip.display.errors == []
    assert chip.now_us > len(shown) * 8  # at 1 MHz


def test_what_goes_out_on_other_pins_does_not_reach_the_display(shown):
    assert sent_to_the_display(shown, mosi=4).frame().blank
    assert sent_to_the_display(shown, alternate=7).frame().blank


def test_a_clock_that_is_too_fast_is_the_displays_error(shown):
    chip = sent_to_the_display(shown, prescaler=0)
    assert "a clock of 2.0 MHz" in chip.display.errors[0]


def test_bytes_one_by_one_go_the_same_way():
    main = stores(*display()[:-2], (SPI1 + 0x04, 0x1700), (SPI1, 0x34C))
    main += "\n" + stores((SPI1 + 0x0C, 0x2180), size="h")  # two frames of a byte
    main += "\n" + wait(SPI1 + 0x08, 1 << 7, 0, "busy") + "\n" + stores((GPIOB + 0x28, 1 << 6))
    chip = make(main + FOREVER)
    bus = _Bus()
    chip.attach(bus)
    chip.run(10)
    assert b"".join(bus.transfers) == b"\x80\x21"
    assert chip.display.errors  # a command that is no whole line: it came to the panel


# -- analogue, random numbers, watchdog ------------------------------------------------------------


def adc(sampling=6, vrefen=1 << 22):
    on = [
        (RCC + 0x88, 3 << 28),
        (ADC + 0x308, vrefen),
        (ADC + 0x08, 1 << 28),
        (ADC + 0x14, sampling),
    ]
    main = stores(*on, (ADC + 0x08, 1 << 28 | 1)) + "\n" + wait(ADC, 1, 1, "ready")
    main += "\n" + stores((ADC + 0x08, 1 << 28 | 5)) + "\n" + wait(ADC, 4, 4, "done")
    return main + "\n" + keep(ADC + 0x40, 0)


@pytest.mark.parametrize(("mv", "raw"), [(3000, 1655), (2500, 1986), (3600, 1379)])
def test_the_reference_reads_higher_as_the_cell_falls(mv, raw):
    chip = run(adc(), cell_mv=mv)
    assert word(chip, 0) == raw
    assert chip.faults == []
    assert chip.core.peek(0x1FFF75AA, 2) == (1655).to_bytes(2, "little")


def test_the_reference_has_to_be_on_and_sampled_for_long_enough():
    assert word(run(adc(vrefen=0)), 0) == 0
    assert "of 4.0" in run(adc(sampling=0)).faults[0]


def test_an_adc_without_its_regulator_is_an_error():
    with pytest.raises(ChipError, match="regulator"):
        run(stores((ADC + 0x08, 1)))


def test_random_numbers_need_their_clock():
    main = stores((RNG, 4)) + "\n" + keep(RNG + 4, 0)
    assert word(run(main), 0) == 2  # CECS
    main = stores((RCC + 0x88, 3 << 26), (RNG, 4)) + "\n" + wait(RNG + 4, 1, 1, "ready")
    chip = run(main + "\n" + keep(RNG + 8, 0), entropy=iter(range(1, 100)))
    assert word(chip, 0) == 0x04030201


def test_a_watchdog_that_is_not_fed_resets_and_says_so():
    start = [(IWDG, 0x5555), (IWDG + 4, 0), (IWDG + 8, 79), (IWDG, 0xCCCC)]  # 10 ms
    chip = make(stores(*start) + "\n" + keep(RCC + 0x94, 0) + FOREVER)
    chip.run(9)
    assert chip.boots == 1 and word(chip, 0) >> 24 == 0x0C
    chip.run(9)
    assert chip.boots == 2 and word(chip, 0) >> 24 == 0x2C
    fed = make(stores(*start) + "\nagain: " + stores((IWDG, 0xAAAA)) + "\nb again")
    fed.run(50)
    assert fed.boots == 1


def test_a_reset_by_software_keeps_ram_and_says_so():
    ask = COUNT + "\ncmp r1, #1\nbne over\n" + stores((0xE000ED0C, 0x05FA0004)) + "\nover:\n"
    code = program(BASE, stores(*CLOCKS) + "\n" + ask + keep(RCC + 0x94, 1) + FOREVER)
    chip = Stm32L4(BOARD, [(0, code)])
    chip.power_on()
    chip.run(0.1)  # not yet out of reset
    chip.core.load(RAM, bytes(8))
    chip.run(0)
    chip._lose_ram = lambda: None  # RAM begins with zeros, so that it counts
    chip.run(5)
    assert chip.boots == 2 and word(chip, 0) == 2
    assert word(chip, 1) >> 24 == 0x1C


# -- sleep -----------------------------------------------------------------------------------------

BACKUP = [(PWR, 0x300), (RTC + 0x50, 0x1C0DE001)]
WAKE = [(PWR + 0x24, 1), (PWR + 0x0C, 0), (PWR + 0x08, 0x8000 | 1 << 10 | 1), (PWR + 0x18, 0x1F)]


def sleeper(mode, *more):
    """Keeps what it finds at its start, then writes its marks and sleeps."""
    found = [keep(PWR + 0x10, 1), keep(RTC + 0x50, 2), keep(RCC + 0x94, 3), keep(RAM + 0x200, 4)]
    before = stores((RAM + 0x200, 0xCAFE), (PWR + 0x18, 0x11F))
    return "\n".join(found) + "\n" + before + "\n" + stores(*BACKUP, *more) + "\n" + deep(mode)


@pytest.mark.parametrize(
    ("mode", "sleep", "status", "flags"),
    [(3, Sleep.STANDBY, 0x101, 0x0C), (4, Sleep.SHUTDOWN, 0, 0x0C)],
)
def test_a_press_ends_what_is_like_a_reset(mode, sleep, status, flags):
    chip = make(sleeper(mode, *WAKE))
    chip.run(5)
    assert chip.sleep is sleep and chip.boots == 1
    cpu_us = chip.cpu_us
    chip.run(60_000)
    assert chip.boots == 1 and chip.cpu_us == cpu_us
    chip.press(5)
    chip.run(20)
    assert chip.boots == 2
    assert word(chip, 1) == status  # Standby and wake-up flags; Shutdown has neither
    assert word(chip, 2) == 0x1C0DE001
    assert word(chip, 3) >> 24 == flags
    assert word(chip, 4) != 0xCAFE  # RAM is lost


def test_the_backup_registers_go_with_the_power_and_need_their_bit():
    chip = make(sleeper(3, *WAKE))
    chip.run(5)
    chip.power_off()
    chip.power_on()
    chip.run(5)
    assert word(chip, 2) == 0
    shut = run(stores((RTC + 0x50, 5)) + "\n" + keep(RTC + 0x50, 0))
    assert word(shut, 0) == 0


def test_a_wake_up_pin_that_nothing_pulls_wakes_by_itself():
    chip = make(sleeper(3, (PWR + 0x08, 0x8001), (PWR + 0x18, 0x1F)))
    chip.run(5000)
    assert chip.boots > 3


def test_a_wake_up_flag_that_is_set_ends_standby_at_once():
    main = sleeper(3, *WAKE[:-1]).replace(deep(3), "waits: b waits")
    chip = make(main)
    chip.run(5)
    chip.press(1)
    chip.run(5)
    assert chip.power.values[0x10] & 1
    again = make(sleeper(3, *WAKE[:3]))
    again.power.values[0x10] = 1
    again.run(5)
    assert again.boots >= 1 and again.sleep is Sleep.STANDBY


def test_the_release_wakes_where_that_was_asked_for():
    falling = [WAKE[0], (PWR + 0x0C, 1), *WAKE[2:]]
    chip = make(sleeper(3, *falling))
    chip.set_button(True)
    chip.run(50)
    assert chip.boots == 1
    chip.set_button(False)
    chip.run(50)
    assert chip.boots == 2


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_stop_keeps_ram_and_an_edge_ends_it(mode):
    handler = stores((EXTI + 0x14, 1)) + "\n" + COUNT + "\nbx lr"
    tick = stores((0xE000E014, 39_999), (0xE000E010, 7))
    main = stores(*BUTTON_EDGES, (RAM + 4, 0)) + "\n" + tick + "\n" + deep(mode)
    ticks = COUNT.replace("[r0]", "[r0, #4]") + "\nbx lr"
    chip = make(main, {FIRST_IRQ + 6: handler, SYSTICK: ticks})
    chip.run(5)
    before = word(chip, 1)
    chip.run(1000)
    assert word(chip, 1) == before  # SysTick stands still
    chip.press(5)
    chip.run(20)
    assert word(chip, 0) == 1 and chip.boots == 1


def test_the_clocks_timer_ends_stop_and_pll_is_off_after_it():
    rtc = [
        (PWR, 0x300), (RCC + 0x94, 1), (RCC + 0x90, 1 << 15 | 2 << 8),
        (RTC + 0x24, 0xCA), (RTC + 0x24, 0x53), (RTC + 0x14, 1999), (RTC + 0x08, 0x4400),
        (EXTI, 1 << 20), (EXTI + 0x08, 1 << 20), (NVIC_ISER0, 1 << 3), (RAM, 0),
        (RCC + 0x0C, 1 | 40 << 8 | 1 << 24), (RCC, 0x63 | 1 << 24), (RCC + 0x08, 3),
    ]  # fmt: skip
    clear = stores((RTC + 0x0C, 0xFFFFFBFF), (EXTI + 0x14, 1 << 20)) + "\n" + COUNT + "\nbx lr"
    # 2000 × 16 / 32 kHz: a second
    chip = make(stores(*rtc) + "\n" + deep(2 | 0x100), {19: clear})
    chip.run(5500)
    assert word(chip, 0) == 5
    assert chip.core.hz == 4_000_000
    assert chip.cpu_us < 1000


LSI_TIMER = [
    (PWR, 0x300), (RCC + 0x94, 1), (RCC + 0x90, 1 << 15 | 2 << 8), (RTC + 0x24, 0xCA),
    (RTC + 0x24, 0x53), (RTC + 0x14, 1999), (RTC + 0x08, 0x4400),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "boots"), [(3, 3), (4, 1)])
def test_the_timer_on_lsi_ends_standby_and_is_not_there_in_shutdown(mode, boots):
    chip = make(stores(*LSI_TIMER, (PWR + 0x18, 0x1F)) + "\n" + deep(mode | 0x100))
    chip.run(2500)
    assert chip.boots == boots


def test_the_watchdog_bites_in_standby_and_not_in_shutdown():
    start = [(IWDG, 0x5555), (IWDG + 8, 79), (IWDG, 0xCCCC)]
    for mode, bites in ((3, True), (4, False)):
        chip = make(stores(*start, (PWR + 0x18, 0x1F)) + "\n" + deep(mode))
        chip.run(100)
        assert (chip.boots > 1) is bites


def test_what_comes_over_the_serial_line_in_stop_is_lost():
    chip = make(stores(*UART) + "\n" + deep(2))
    chip.run(5)
    chip.send(b"abc")
    chip.run(5)
    assert chip.usart.lost == 3


def test_the_calendar_counts_while_it_is_not_held():
    start = [
        (PWR, 0x300), (RCC + 0x94, 1), (RCC + 0x90, 1 << 15 | 2 << 8),
        (RTC + 0x24, 0xCA), (RTC + 0x24, 0x53), (RTC + 0x0C, 0x80),
        (RTC + 0x10, 249), (RTC + 0x10, 127 << 16 | 249), (RTC, 0x235958), (RTC + 0x0C, 0),
    ]  # fmt: skip
    chip = make(stores(*start) + FOREVER)
    chip.run(1500)
    assert chip.rtc.get(0) == 0x235959
    assert 120 <= chip.rtc.get(0x28) <= 126
    chip.run(1000)
    assert chip.rtc.get(0) == 0
