"""A Pico 2 with a card's parts and power that goes, with small programs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.nor_flash import Cut, Phase
from tallystick.tools.second_opinion.rp2350.card import ChipCard
from tallystick.tools.second_opinion.rp2350.chip import FLASH
from tests.tools.second_opinion.assembly import program, stores
from tests.tools.second_opinion.test_rp2350 import (
    FOREVER,
    LINE,
    RAM,
    UART,
    i2c,
    load,
    rom_call,
)

BOARD = find("pico2_card")
PADS, SIO, AT = 0x40038000, 0xD0000000, 0x3000
BLANK = rom_call(b"RE", (AT, 4096, 1 << 16, 0xD8))
WRITE = rom_call(b"RP", (AT, FLASH, 256))


class Heard(Probe):
    def __init__(self):
        self.buses, self.writes, self.lines = [], [], []

    def bus(self, now_us, name, data, byte_us):
        self.buses.append((name, data))

    def flash(self, now_us, kind, address, size, duration_us):
        self.writes.append((kind, address, size))

    def serial(self, now_us, data, *, to_card):
        self.lines.append((to_card, data))


@pytest.fixture
def make():
    made = []

    def make(main):
        chip = ChipCard(BOARD, [(0, program(FLASH, main + FOREVER))])
        made.append(chip)
        return chip

    yield make
    for chip in made:
        chip.close()


def test_without_power_nothing_runs(make):
    chip = make(stores((RAM, 7)))
    chip.run(5)
    assert chip.boots == 0
    assert chip.cpu_us == 0
    assert chip.now_us == 5000
    chip.power_on()
    chip.run(1)
    assert chip.core.word(RAM) == 7


def test_power_that_goes_in_a_write_leaves_half_of_it(make):
    chip = make(BLANK + WRITE + stores((RAM, 7)))
    torn = []

    def plan(operation):
        if operation.kind == "erase":
            return None
        torn.append(operation.address)
        return Cut(Phase.DURING, operation.new[:128] + operation.old[128:])

    chip.fault_plan = plan
    chip.power_on()
    chip.run(200)
    assert not chip.powered
    assert torn == [AT]
    assert chip.flash[AT : AT + 128] == chip.flash[:128]
    assert chip.flash[AT + 128 : AT + 256] == b"\xff" * 128
    assert chip.core.word(RAM) != 7
    chip.fault_plan = None
    chip.power_on()
    chip.run(200)
    assert chip.powered
    assert chip.flash[AT : AT + 256] == chip.flash[:256]
    assert chip.boots == 2


def test_probes_hear_display_flash_and_line(make):
    chip = make(i2c(0x3C, 0x00, 0x2AF) + "\n" + stores(*LINE, (UART, 0x41)) + BLANK)
    heard = Heard()
    chip.attach(heard)
    chip.power_on()
    chip.send(b"\x55")
    chip.run(100)
    assert heard.buses == [("i2c", b"\x00\xaf")]
    assert heard.writes == [("erase", AT, 4096)]
    assert heard.lines == [(True, b"\x55"), (False, b"\x41")]
    assert chip.sent == b"\x41"


def test_run_ends_when_what_was_waited_for_came(make):
    chip = make(stores(*LINE, (UART, 0x41)))
    chip.power_on()
    assert chip.run(50, until=lambda: bool(chip.sent))
    assert chip.now_us < 1000
    assert not chip.run(5, until=lambda: len(chip.sent) > 1)


def test_bytes_follow_each_other_on_the_line(make):
    chip = make("nop")
    heard = []
    chip.power_on()
    heard_at = Heard()
    heard_at.serial = lambda now_us, data, to_card: heard.append((now_us, data))
    chip.attach(heard_at)
    chip.send(b"ab")
    chip.send(b"c")
    chip.run(1)
    assert [data for _, data in heard] == [b"a", b"b", b"c"]
    gaps = [b - a for (a, _), (b, _) in pairwise(heard)]
    assert gaps == pytest.approx([86.8, 86.8], abs=1)


def test_a_press_is_let_go_again(make):
    button = 1 << BOARD.button_pin
    pulled_up = stores((PADS + 4 + 4 * BOARD.button_pin, 0x4A))
    sample = pulled_up + "\nagain:" + load(SIO + 4) + "b again"
    chip = make(sample)
    chip.power_on()
    chip.run(1)
    assert chip.core.word(RAM) & button
    chip.press(10)
    chip.run(1)
    assert not chip.core.word(RAM) & button
    chip.run(20)
    assert chip.core.word(RAM) & button


@pytest.mark.parametrize("mv", [3000, 2412])
def test_the_cell_is_read_through_the_divider(make, mv):
    chip = make("nop")
    chip.cell_mv = mv
    raw = chip.chip.adc.sample(3)
    assert (raw << 4 | raw >> 8) * 9900 >> 16 == pytest.approx(mv, abs=3)
    assert chip.chip.adc.sample(0) == 0
