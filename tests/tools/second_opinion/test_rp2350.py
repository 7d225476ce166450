"""The RP2350 and its peripherals, with small programs: no firmware of anybody's is needed."""

from __future__ import annotations

import random
import struct

import pytest

from tallystick.emulator.parts.nor_flash import FlashTiming, NorFlash
from tallystick.tools.second_opinion.cortex import FIRST_IRQ, ChipError
from tallystick.tools.second_opinion.rp2350.bootrom import BootRom
from tallystick.tools.second_opinion.rp2350.chip import FLASH, Rp2350
from tallystick.tools.second_opinion.rp2350.otp import ROWS, Otp, with_ecc, without_ecc
from tests.tools.second_opinion.assembly import program, stores

RAM = 0x20000000
MS = 1e6
SIZE = 4 * 1024 * 1024
TIMING = FlashTiming(
    program_unit=256, program_us=640, sector=4096, erase_us=45_000, program_ua=1, erase_ua=1,
    endurance=100_000,
)  # fmt: skip
UNIQUE = bytes(range(8))
CHIP_RANDOM = bytes(range(0x30, 0x40))
FOREVER = "\nforever: b forever"
COUNT = "ldr r0, =0x20000000\nldr r1, [r0]\nadds r1, #1\nstr r1, [r0]\n"
ISER, VECTORS = 0xE000E100, 0x10000000
TIMER, UART, I2C, ADC = 0x400B0000, 0x40070000, 0x40090000, 0x400A0000
IO, PADS, SIO, CLOCKS, RESETS = 0x40028000, 0x40038000, 0xD0000000, 0x40010000, 0x40020000
WATCHDOG, POWMAN, OTP_DATA, OTP_RAW, TRNG = (
    0x400D8000, 0x40100000, 0x40130000, 0x40134000, 0x400F0000,
)  # fmt: skip
SET, CLEAR = 0x2000, 0x3000
ROM_CALL = """
ldr r4, =0x16
ldrh r4, [r4]
ldr r0, ={code}
ldr r1, ={mask}
blx r4
mov r4, r0
{arguments}
blx r4
ldr r4, =0x20000000
str r0, [r4]
"""
OTP_WRITE, OTP_ECC = 1 << 16, 1 << 17


class Noise(random.Random):
    """What the random number generator gives."""

    def getrandbits(self, k):
        return 0xA5A5A5A5 & ((1 << k) - 1)


@pytest.fixture
def make():
    flashes = []

    def make(main, handlers=None, rows=None):
        flash = NorFlash(SIZE, TIMING)
        flashes.append(flash)
        flash.load(0, program(FLASH, main + FOREVER, handlers))
        chip = Rp2350(flash, Otp(CHIP_RANDOM, rows), Noise(), UNIQUE)
        chip.power_on()
        return chip

    yield make
    for flash in flashes:
        flash.close()


def run(chip, ms=1.0):
    chip.core.run(chip.core.now_ns + ms * MS)
    return chip


def word(chip, number=0):
    return chip.core.word(RAM + 4 * number)


def load(address, number=0):
    """A register's value into a word of memory."""
    return f"\nldr r0, ={address}\nldr r1, [r0]\nldr r0, ={RAM + 4 * number}\nstr r1, [r0]\n"


def rom_call(code, arguments, mask=4):
    number = code[0] | code[1] << 8
    lines = "\n".join(f"ldr r{n}, ={value}" for n, value in enumerate(arguments))
    return ROM_CALL.format(code=number, mask=mask, arguments=lines)


# -- bus and clocks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (0x40010100, "CLOCKS 0x100"), (0x50000000, "0x50000000"), (0x40080000, "0x40080000"),
        (0xD0000080, "SIO 0x080"), (0x60000000, "0x60000000"),
    ],
)  # fmt: skip
def test_what_is_not_there_stops_the_program_and_is_named(make, address, named):
    chip = make(load(address))
    with pytest.raises(ChipError) as error:
        run(chip)
    assert named in error.value.what or "READ_UNMAPPED" in error.value.what
    assert "0x1000" in error.value.what  # where it is


def test_a_register_has_addresses_that_set_clear_and_toggle(make):
    scratch = WATCHDOG + 0x0C
    chip = run(make(stores(
        (scratch, 0b1100), (scratch + SET, 0b0011), (scratch + CLEAR, 0b0110),
        (scratch + 0x1000, 0b1000),
    )))  # fmt: skip
    assert chip.watchdog.kept[0x0C] == 0b0001


def test_a_narrow_write_reaches_every_lane(make):
    chip = run(make(f"ldr r0, ={WATCHDOG + 0x0C}\nmovs r1, #0x5A\nstrb r1, [r0]"))
    assert chip.watchdog.kept[0x0C] == 0x5A5A5A5A


PLL_150_MHZ = (
    (0x40050000, 1), (0x40050008, 125), (0x4005000C, 5 << 16 | 2 << 12), (0x40050004, 0),
    (CLOCKS + 0x30, 2), (CLOCKS + 0x3C, 0), (CLOCKS + 0x3C, 1),
)  # fmt: skip


def test_the_clock_is_what_the_pll_was_set_to(make):
    chip = run(make(stores(*PLL_150_MHZ, (CLOCKS + 0x48, 1 << 11))))
    assert chip.clocks.sys_hz == chip.clocks.peri_hz == 150e6
    before = chip.core.instructions
    run(chip, 1)
    assert chip.core.instructions - before == pytest.approx(150_000, abs=2)


def test_a_pll_that_is_off_gives_no_clock(make):
    chip = run(make(stores(*PLL_150_MHZ, (0x40050004 + SET, 1))))
    assert not chip.clocks.pll_sys.locked
    assert chip.clocks.pll_sys.hz == 0


def test_a_block_in_reset_forgets(make):
    chip = run(make(stores(
        (RESETS + CLEAR, 1 << 26), (UART + 0x24, 26), (RESETS + SET, 1 << 26),
    )))  # fmt: skip
    assert chip.uarts[0].kept[0x24] == 0


def test_the_power_manager_wants_its_password(make):
    with pytest.raises(ChipError, match="password"):
        run(make(stores((POWMAN + 0x6C, 5))))


def test_the_always_on_timer_counts_milliseconds(make):
    key = 0x5AFE << 16
    chip = make(stores((POWMAN + 0x68, key), (POWMAN + 0x6C, key | 1000), (POWMAN + 0x88, key | 2)))
    run(chip, 20)
    assert chip.powman.read(0x74) in (1019, 1020)


# -- timers, interrupts, sleep ---------------------------------------------------------------------


ALARM = ((ISER, 1), (TIMER + 0x40, 1), (TIMER + 0x10, 500))
ALARM_OVER = COUNT + f"ldr r0, ={TIMER + 0x3C}\nmovs r1, #1\nstr r1, [r0]\nbx lr"


def test_an_alarm_interrupts_once(make):
    chip = run(make(stores(*ALARM), {FIRST_IRQ: ALARM_OVER}), 0.4)
    assert word(chip) == 0
    run(chip, 5)
    assert word(chip) == 1


def test_waiting_for_an_alarm_takes_time_but_no_cpu_time(make):
    chip = run(make(stores(*ALARM) + "\nwfi\n" + COUNT, {FIRST_IRQ: ALARM_OVER}), 0.49)
    assert chip.core.asleep
    assert chip.core.cpu_ns < 0.02 * MS
    run(chip, 1)
    assert word(chip) == 2  # the handler, and then the program


def test_a_timer_counts_microseconds(make):
    chip = run(make(load(TIMER + 0x28)), 7)
    assert chip.timers[0].now_us == pytest.approx(7000, abs=2)


# -- pins ------------------------------------------------------------------------------------------


def pin(number):
    """As an output of the core's port."""
    return ((PADS + 4 + 4 * number, 0x56), (IO + 8 * number + 4, 5), (SIO + 0x38, 1 << number))


def test_a_pin_is_driven_by_the_port(make):
    chip = make(stores(*pin(25), (SIO + 0x18, 1 << 25), (SIO + 0x20, 1 << 25)))
    seen = []
    chip.pins.on_output[25] = seen.append
    run(chip)
    assert seen[-2:] == [1, 0]


def test_an_isolated_pad_drives_nothing(make):
    chip = make(stores((IO + 8 * 25 + 4, 5), (SIO + 0x38, 1 << 25), (SIO + 0x18, 1 << 25)))
    seen = []
    chip.pins.on_output[25] = seen.append
    run(chip)
    assert seen == []


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("ldr r2, =0x10\n.short 0xEE40, 0x2010", 0),  # mcr p0, #2, r2, c0, c0: clear
        ("ldr r2, =8\n.short 0xEE20, 0x2010", 0x18),  # mcr p0, #1, r2, c0, c0: set
        ("ldr r2, =0xFF\n.short 0xEE00, 0x2010", 0xFF),  # mcr p0, #0: put
        ("ldr r2, =0xFF\n.short 0xEE60, 0x2010", 0xEF),  # mcr p0, #3: toggle
        ("ldr r2, =6\n.short 0xEEA0, 0x2010", 0x50),  # mcr p0, #5: set bit 6
        ("ldr r2, =4\n.short 0xEEC0, 0x2010", 0),  # mcr p0, #6: clear bit 4
        ("ldr r2, =3\nldr r3, =1\n.short 0xEC43, 0x2040", 0x18),  # mcrr p0, #4: put bit 3 to r3
    ],
)
def test_the_gpio_coprocessor_is_the_same_port(make, source, out):
    chip = run(make(stores((SIO + 0x10, 0x10)) + "\n" + source))
    assert chip.pins.ports.out == out


def test_the_coprocessor_reads_pins_and_ports(make):
    # mrc p0, #0, r2, c0, c8: inputs; r3, c0, c0: outputs
    read = ".short 0xEE10, 0x2018\n.short 0xEE10, 0x3010\nldr r0, =0x20000000\nstm r0!, {r2, r3}"
    chip = make(stores((PADS + 4 + 4 * 5, 0x42), (SIO + 0x10, 0x81)) + "\n" + read)
    chip.pins.drive(5, 1)
    run(chip)
    assert word(chip) >> 5 & 1
    assert word(chip, 1) == 0x81


def test_another_coprocessor_is_named(make):
    with pytest.raises(ChipError, match="ee30 0710"):
        run(make(".short 0xEE30, 0x0710"))  # mrc p7: redundancy


EDGE = (
    (PADS + 4 + 4 * 15, 0x4A), (IO + 0x234, 0xF << 28), (ISER, 1 << 21), (IO + 0x24C, 0xC << 28),
)  # fmt: skip
EDGE_OVER = COUNT + f"ldr r0, ={IO + 0x234}\nldr r1, =0xF0000000\nstr r1, [r0]\nbx lr"


def test_an_edge_from_outside_interrupts(make):
    chip = make(stores(*EDGE), {FIRST_IRQ + 21: EDGE_OVER})
    chip.pins.drive(15, 1)
    run(chip)
    assert word(chip) == 0
    for count, level in enumerate((0, 1, 1), 1):
        chip.pins.drive(15, level)
        run(chip)
        assert word(chip) == min(count, 2)


def test_a_pin_that_nobody_drives_follows_its_pull(make):
    chip = run(make(stores((PADS + 4 + 4 * 3, 0x4A)) + load(SIO + 4)))
    assert word(chip) >> 3 & 1 == 1
    assert word(chip) >> 4 & 1 == 0  # pulled down after reset


def test_a_spinlock_is_taken_once(make):
    chip = run(make(load(SIO + 0x100) + load(SIO + 0x100, 1) + stores((SIO + 0x100, 1))
                    + load(SIO + 0x100, 2)))  # fmt: skip
    assert [word(chip, n) for n in range(3)] == [1, 0, 1]


# -- serial line, I2C, ADC -------------------------------------------------------------------------


# 115200 baud of 12 MHz: divider 6 + 33 / 64; fifo, enabled.
LINE = (
    (CLOCKS + 0x30, 2), (CLOCKS + 0x48, 1 << 11), (UART + 0x24, 6), (UART + 0x28, 33),
    (UART + 0x2C, 0x70), (UART + 0x30, 0x301),
)  # fmt: skip


def test_bytes_leave_at_the_baud_rate(make):
    chip = make(stores(*LINE, (UART, 0x41), (UART, 0x42)))
    sent = []
    chip.uarts[0].on_byte = lambda byte, baud: sent.append((byte, baud, chip.core.now_ns))
    run(chip)
    assert [byte for byte, _, _ in sent] == [0x41, 0x42]
    assert sent[0][1] == pytest.approx(115_200, rel=0.01)
    assert sent[1][2] - sent[0][2] == pytest.approx(10e9 / 115_200, rel=0.01)


def test_a_byte_arrives_and_interrupts(make):
    chip = make(stores(*LINE, (ISER + 4, 2), (UART + 0x34, 0), (UART + 0x38, 0x50)),
                {FIRST_IRQ + 33: COUNT + load(UART, 1) + "bx lr"})  # fmt: skip
    run(chip)
    chip.uarts[0].receive(0x55, 115_200)
    run(chip, 0.1)
    assert word(chip) == 0  # one byte is below the trigger level: the time-out tells
    run(chip, 1)
    assert (word(chip), word(chip, 1)) == (1, 0x55)


def test_a_byte_at_another_baud_rate_is_another_byte(make):
    chip = run(make(stores(*LINE)))
    chip.uarts[0].receive(0x55, 57_600)
    assert chip.uarts[0].read(0) != 0x55


@pytest.mark.parametrize(("off", "heard"), [(0.03, True), (-0.03, True), (0.06, False)])
def test_a_line_may_be_a_twenty_fifth_off(make, off, heard):
    chip = run(make(stores(*LINE)))
    chip.uarts[0].receive(0x55, chip.uarts[0].baud * (1 + off))
    assert (chip.uarts[0].read(0) == 0x55) == heard


class Slave:
    def __init__(self):
        self.written = []

    def answers(self, address):
        return address == 0x3C

    def write(self, address, data, byte_us):
        self.written.append((address, data, byte_us))

    def read(self, _address):
        return 0x99


def i2c(address, *commands):
    base = ((I2C + 0x6C, 0), (I2C + 0x04, address), (I2C + 0x1C, 12), (I2C + 0x20, 18))
    return stores(*base, (I2C + 0x6C, 1), *((I2C + 0x10, command) for command in commands))


def test_a_transfer_reaches_its_slave_as_one(make):
    chip = make(i2c(0x3C, 0x00, 0xAF, 0x240) + load(I2C + 0x34))
    chip.i2cs[0].slave = slave = Slave()
    run(chip)
    ((address, data, byte_us),) = slave.written
    assert (address, data) == (0x3C, b"\x00\xaf\x40")
    assert byte_us == pytest.approx(9 * 30 / 11, rel=0.01)  # of the ring oscillator's 11 MHz
    assert not word(chip) >> 9 & 1  # read before it was over: no stop yet
    assert chip.i2cs[0].read(0x34) >> 9 & 1


def test_nobody_at_an_address_aborts(make):
    chip = make(i2c(0x3D, 0x200))
    chip.i2cs[0].slave = slave = Slave()
    run(chip)
    assert chip.i2cs[0].read(0x80) == 1
    assert slave.written == []
    chip.i2cs[0].read(0x54)
    assert chip.i2cs[0].read(0x80) == 0


def test_a_byte_is_read_from_a_slave(make):
    chip = make(i2c(0x3C, 0x300) + load(I2C + 0x10))
    chip.i2cs[0].slave = Slave()
    assert word(run(chip)) == 0x99


def test_a_conversion_takes_its_time(make):
    poll = f"\nldr r0, ={ADC}\npoll: ldr r1, [r0]\nlsls r1, r1, #23\nbpl poll\n"
    chip = make(stores((ADC, 1), (ADC, 3 << 12 | 5)) + load(ADC) + poll + load(ADC + 4, 1))
    chip.adc.sample = lambda channel: 1000 + channel
    run(chip)
    assert not word(chip) >> 8 & 1
    assert word(chip, 1) == 1003


def test_random_bits_come_from_where_they_are_given(make):
    assert word(run(make(load(TRNG + 0x114)))) == 0xA5A5A5A5


# -- boot ROM, flash, OTP --------------------------------------------------------------------------


def test_flash_is_erased_and_programmed_by_the_boot_rom(make):
    at = 0x3000
    source = rom_call(b"RE", (at, 4096, 1 << 16, 0xD8)) + rom_call(b"RP", (at, VECTORS, 256))
    chip = make(source)
    chip.flash.load(at, b"\0" * 4096)
    run(chip, 100)
    assert chip.flash.memory[at : at + 256] == chip.flash.memory[:256]
    assert chip.flash.memory[at + 256 : at + 4096] == b"\xff" * 3840
    assert chip.core.now_ns > 45.6 * MS


def test_flash_is_seen_where_it_is_mapped(make):
    chip = run(make(load(FLASH + 4) + load(0x14000004, 1)))
    assert word(chip) == word(chip, 1) == chip.core.word(FLASH + 4)


def test_a_function_that_the_rom_does_not_play_is_named(make):
    with pytest.raises(ChipError, match="'QQ'"):
        run(make(rom_call(b"QQ", ())))


def test_the_rom_tells_the_chips_number(make):
    source = rom_call(b"GS", (RAM + 0x100, 9, 1))
    chip = run(make(source))
    assert word(chip) == 4
    assert chip.core.peek(RAM + 0x108, 8) == UNIQUE


def otp_call(row, flags, size, data=0):
    buffer = RAM + 0x100
    return stores((buffer, data)) + "\n" + rom_call(b"OA", (buffer, size, row | flags))


def result(chip):
    return struct.unpack("<i", chip.core.peek(RAM, 4))[0]


def test_a_bit_is_burnt_and_stays(make):
    chip = run(make(otp_call(0x900, OTP_WRITE, 4, 0x5) + otp_call(0x900, OTP_WRITE, 4, 0x7)))
    assert result(chip) == 0
    assert chip.otp._otp.raw(0x900) == 0x7


def test_a_bit_is_never_cleared(make):
    chip = run(make(otp_call(0x900, OTP_WRITE, 4, 0x2), rows={0x900: 0x1}))
    assert result(chip) == -18  # unsupported modification
    assert chip.otp._otp.raw(0x900) == 0x1


def test_a_row_with_ecc_is_read_as_memory(make):
    chip = run(
        make(otp_call(0x902, OTP_WRITE | OTP_ECC, 2, 0xBEEF) + load(OTP_DATA + 2 * 0x902, 1))
    )
    assert result(chip) == 0
    assert word(chip, 1) == 0xBEEF


def test_raw_rows_are_words_of_24_bits(make):
    chip = run(make(load(OTP_RAW + 4 * 0x903), rows={0x903: 0xFFFFFF}))
    assert word(chip) == 0xFFFFFF


def test_a_locked_page_takes_nothing_until_the_next_reset(make):
    lock = 0x40120000 + 4 * (0x900 // 64)
    chip = run(make(stores((lock, 1)) + "\n" + otp_call(0x900, OTP_WRITE, 4, 1)))
    assert result(chip) == -4
    assert chip.otp._otp.raw(0x900) == 0
    chip.power_on()
    assert chip.otp.locks[0x900 // 64] == 0


def test_a_page_locked_in_its_row_stays_so(make):
    """Two of three bytes decide."""
    chip = run(make(otp_call(0x900, OTP_WRITE, 4, 1), rows={0xF81 + 2 * (0x900 // 64): 0x050500}))
    assert result(chip) == -4
    chip.power_on()
    assert chip.otp.locks[0x900 // 64] == 5
    assert chip.otp.locks[0x940 // 64] == 0


def test_a_page_that_must_not_be_read_is_not(make):
    lock = 0x40120000 + 4 * (0x900 // 64)
    with pytest.raises(ChipError, match="locked"):
        run(make(stores((lock, 2)) + load(OTP_RAW + 4 * 0x900)))


@pytest.mark.parametrize(
    ("row", "size", "code"), [(ROWS - 1, 8, -5), (0x900, 6, -11), (0x900 | 1 << 20, 4, -5)]
)
def test_the_rom_refuses_rows_that_are_not_there(make, row, size, code):
    assert result(run(make(otp_call(row, OTP_WRITE, size, 1)))) == code


def test_the_chips_own_number_is_in_its_rows(make):
    chip = run(make("".join(load(OTP_DATA + 8 + 4 * n, n) for n in range(4))))
    assert chip.core.peek(RAM, 16) == CHIP_RANDOM


@pytest.mark.parametrize("data", [0, 1, 0xFFFF, 0xBEEF, 0x1234])
def test_ecc_corrects_one_bit(data):
    row = with_ecc(data)
    assert without_ecc(row) == data
    assert without_ecc(row ^ 0xFFFFFF) == data  # inverted
    assert {without_ecc(row ^ 1 << bit) for bit in range(22)} == {data}
    assert without_ecc(row ^ 0b11) == -1


# -- resets ----------------------------------------------------------------------------------------


def test_a_reset_by_the_watchdog_keeps_its_scratch_registers(make):
    keep = f"ldr r0, ={WATCHDOG + 0x0C}\nldr r1, [r0]\nadds r1, #1\nstr r1, [r0]\n"
    once = "cmp r1, #1\nbne over\n" + stores((WATCHDOG, 1 << 31)) + "\nover:\n"
    chip = run(make(keep + once + load(WATCHDOG + 8)))
    assert chip.boots == 2
    assert chip.watchdog.kept[0x0C] == 2
    assert word(chip) == 2  # forced
    chip.power_on()
    assert chip.watchdog.reason == 0
    assert chip.watchdog.kept[0x0C] == 0


def test_a_watchdog_that_is_not_fed_bites(make):
    chip = make(stores((WATCHDOG + 0x04, 3000), (WATCHDOG, 1 << 30)))
    run(chip, 2.9)
    assert chip.boots == 1
    run(chip, 0.3)
    assert chip.boots == 2
    assert chip.watchdog.reason == 1


def test_nothing_of_the_real_rom_is_in_ours(make):
    """Our ROM holds a table and returns: all else is blank."""
    chip = make("nop")
    assert isinstance(chip.rom, BootRom)
    content = chip.core.peek(0, 0x8000)
    assert len(content.replace(b"\0", b"")) < 100
