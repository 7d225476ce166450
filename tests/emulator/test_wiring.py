"""Pins are what the chip's data sheet says, wires go where they are soldered, and two that drive
one wire are a fault."""

from __future__ import annotations

import ast
import csv
import os
import re
from pathlib import Path

import pytest

from tallystick.emulator.boards import ALL, find
from tallystick.emulator.chip.pins import OPEN_DRAIN, Pins
from tallystick.emulator.chips import CHIPS
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError, WiringError
from tallystick.tools.image.folder import from_folder
from tests import needs

SOURCES = os.environ.get("TALLY_MICROPYTHON_SRC", "")
FIRMWARE = Path(__file__).parents[2] / "firmware"


def tried(foreign, lines, board="pico"):
    """What becomes of each line: "", or the exception."""
    card = foreign(
        f"import machine\nfrom machine import *\nout = []\nfor line in {lines!r}:\n    try:\n"
        "        exec(line)\n        out.append('')\n    except Exception as error:\n"
        "        out.append('%s: %s' % (type(error).__name__, error))\nprint(out)",
        board,
    )
    card.power_on()
    card.run_for(1000)
    return dict(zip(lines, ast.literal_eval(card.console), strict=True))


@pytest.mark.parametrize("board", ["pico", "pico2_card"])
@pytest.mark.parametrize(
    ("bus", "signals"),
    [("I2C", ("scl", "sda")), ("SPI", ("sck", "mosi", "miso")), ("UART", ("tx", "rx"))],
)
def test_every_pin_of_every_bus_is_as_in_the_table(foreign, board, bus, signals):
    table = find(board).chip.pins
    for number in (0, 1):
        for signal in signals:
            expected = {}
            fits = table.pins_of(f"{bus}{number}_{signal.upper()}")
            for pin in range(30):
                line = f"{bus}({number}, {signal}=Pin({pin}))"
                expected[line] = "" if pin in fits else f"ValueError: bad {signal.upper()} pin"
            assert tried(foreign, list(expected), board) == expected


@pytest.mark.parametrize(
    ("board", "there", "gone"),
    [
        (
            "pico",
            {"board.LED": 25, "board.GP3": 3, "cpu.GPIO7": 7, "board.GP29": 29},
            ["board.GPIO3", "board.GP30", "board.GP", "cpu.GP3", "cpu.LED", "cpu.GPIO30"],
        ),
        ("nucleo_l476rg", {"board.A0": 0, "cpu.A5": 5}, ["cpu.A1", "board.LED", "cpu.H9"]),
    ],
)
def test_pins_have_names_of_the_board_and_of_the_chip(foreign, board, there, gone):
    told = tried(foreign, [f"assert Pin.{name}._n == {n}" for name, n in there.items()], board)
    assert set(told.values()) == {""}
    for name in gone:
        crash = tried(foreign, [f"Pin.{name}"], board)[f"Pin.{name}"]
        assert crash.startswith("AttributeError: "), name


def test_what_the_port_refuses_is_refused_in_its_words(foreign):
    expected = {
        "Pin(99)": "ValueError: invalid pin",
        "Pin(-1)": "ValueError: invalid pin",
        "Pin('GP30')": 'ValueError: unknown named pin "GP30"',
        "Pin('LED').toggle()": "",
        "Pin('GPIO4')": "",
        "I2C(1, scl=Pin(6), sda=Pin(7))": "ValueError: bad SCL pin",
        "I2C(2)": "ValueError: I2C(2) doesn't exist",
        "SPI(0, sck=Pin(3), mosi=Pin(2))": "ValueError: bad SCK pin",
        "UART(0, tx=Pin(1), rx=Pin(0))": "ValueError: bad TX pin",
        "ADC(Pin(2))": "ValueError: Pin doesn't have ADC capabilities",
        "ADC(26).read_u16()": "",
        "WDT(timeout=9000)": "ValueError: timeout exceeds 8388",
        "Timer(3)": "ValueError: Timer doesn't exist",
        "PWM(Pin(2), freq=1, duty_u16=1)": "ValueError: freq too small",
    }
    assert tried(foreign, list(expected)) == expected


def test_the_reference_board_refuses_in_its_own_words(foreign):
    expected = {
        "Pin('C13')": "ValueError: Pin(C13) doesn't exist",
        "Pin(5)": "TypeError: can't convert to str",
        "ADC(Pin('B5'))": "ValueError: Pin(B5) does not have ADC capabilities",
        "SPI(1, sck=Pin('A5'))": "ValueError: explicit choice of sck/mosi/miso is not implemented",
        "WDT(timeout=0)": "ValueError: WDT timeout too short",
        "WDT(timeout=40000)": "ValueError: WDT timeout too long",
    }
    assert tried(foreign, list(expected), "nucleo_l476rg") == expected


SIGNALS = {"I2C": ("SCL", "SDA"), "SPI": ("SCK", "MOSI"), "UART": ("TX", "RX")}


@pytest.mark.parametrize("board", ALL)
def test_the_pins_that_a_bus_has_by_itself_carry_it(board):
    """As the port has them where none are given; the firmware of the STM32 gives none at all."""
    made = find(board)
    usual = {**made.chip.default_pins, **made.default_pins}
    assert usual
    for bus, pins in usual.items():
        for signal, pin in zip(SIGNALS[bus.rstrip("0123456789")], pins, strict=False):
            names = (f"{bus}_{signal}", f"USART{bus[-1]}_{signal}")  # as either maker calls it
            assert any(pin in made.chip.pins.pins_of(name) for name in names), names


@needs.micropython_sources.mark
@pytest.mark.parametrize("chip", CHIPS)
def test_the_table_is_micropythons_own(chip):
    """Where its sources are: its tables were made from the data sheets, too."""
    ports = Path(SOURCES) / "ports"
    names = {"stm32l4": "stm32/boards/stm32l476_af.csv"}
    rows = list(csv.reader((ports / names.get(chip, f"rp2/boards/{chip}_af.csv")).open()))
    kinds = re.compile(r"(I2C\d_(SCL|SDA)|SPI\d_(SCK|MISO|MOSI)|US?ART\d_(TX|RX)|TIM\d+_CH\dN?)$")
    words = {"_TX": "_MOSI", "_RX": "_MISO"}
    theirs = {}
    for row in rows[1:]:
        cells = [cell.strip() for cell in row[:2]]
        name = next((c for c in cells if re.fullmatch(r"P[A-H]\d+|GPIO\d+", c)), "")
        signals = {part.strip() for cell in row for part in cell.split("/")}
        signals = {
            s[:-3] + words[s[-3:]] if s.startswith("SPI") and s[-3:] in words else s
            for s in signals
        }
        theirs[name.removeprefix("P")] = {s for s in signals if kinds.match(s)}
    table = CHIPS[chip].pins
    assert table.functions
    for pin, signals in table.functions.items():
        assert {s for s in signals if kinds.match(s)} == theirs[table.names[pin]], table.names[pin]


# -- levels ------------------------------------------------------------------------------------


def test_an_open_pin_follows_its_pull(foreign):
    card = foreign(
        "from machine import Pin\n"
        "up, down = Pin(10, Pin.IN, Pin.PULL_UP), Pin(11, Pin.IN, Pin.PULL_DOWN)\n"
        "print(up.value(), down.value())\n"
        "up.init(Pin.IN, Pin.PULL_DOWN)\ndown.init(Pin.IN, Pin.PULL_UP)\n"
        "print(up.value(), down.value())"
    )
    card.power_on()
    card.run_for(100)
    assert card.console == "1 0\n0 1\n"


def test_an_open_pin_without_a_pull_reads_noise(foreign):
    card = foreign(
        "from machine import Pin, ADC\nimport time\npin = Pin(10, Pin.IN)\nseen = set()\n"
        "for _ in range(40):\n    seen.add(pin.value())\n    time.sleep_ms(5)\n"
        "print(sorted(seen), len({ADC(27).read_u16() for _ in range(20)}) > 5)"
    )
    card.power_on()
    card.run_for(1000)
    assert card.console == "[0, 1] True\n"


def test_an_open_drain_is_pulled_down_by_either_side(foreign):
    card = foreign(
        "from machine import Pin\nimport time\n"
        "wire = Pin(10, Pin.OPEN_DRAIN, Pin.PULL_UP)\n"
        "print(wire.value(), end='')\nwire(0)\nprint(wire.value(), end='')\nwire(1)\n"
        "print(wire.value(), end='')\ntime.sleep(1)\nprint(wire.value())"
    )
    card.power_on()
    card.mcu.set_input(10, 0, "a part")
    card.run_for(2000)
    assert card.console == "1010\n"


def test_a_pin_that_is_no_output_drives_nothing(foreign):
    card = foreign("from machine import Pin\nled = Pin(25)\nled.on()\nled.init(Pin.OUT)")
    seen = []
    card.mcu.pins.on_output[25] = seen.append
    card.power_on()
    card.run_for(100)
    assert seen == [1]  # once, when it is made an output: with what was latched


@pytest.mark.parametrize("level", [0, 1])
def test_two_drivers_on_one_wire_fail_the_run_and_are_named(foreign, level):
    card = foreign(f"from machine import Pin\nPin(10, Pin.OUT, value={level})")
    card.mcu.set_input(10, 1 ^ level, "the light sensor")
    with pytest.raises(WiringError, match=r"GPIO10.*(the chip to 1|the chip to 0)") as caught:
        card.power_on()
        card.run_for(100)
    assert "the light sensor" in caught.value.what


def test_two_parts_on_one_wire_are_named_as_well(foreign):
    card = foreign("import time\ntime.sleep(1)")
    card.mcu.set_input(10, 1, "part A")
    card.mcu.set_input(10, 0, "part B")
    with pytest.raises(WiringError, match="part A to 1, part B to 0"):
        card.power_on()


def test_a_bus_that_lost_a_pin_reaches_nothing(foreign):
    card = foreign(
        "from machine import I2C, Pin\ni2c = I2C(0, scl=Pin(5), sda=Pin(4))\n"
        "print(i2c.scan())\nPin(4, Pin.IN)\nprint(i2c.scan())"
    )
    card.power_on()
    card.run_for(1000)
    assert card.console == "[60]\n[]\n"


# -- the boards' own firmware, wired wrongly ------------------------------------------------------

WRONG = [
    ("pico", "scl=Pin(5), sda=Pin(4)", "scl=Pin(4), sda=Pin(5)"),
    ("pico", "scl=Pin(5), sda=Pin(4)", "scl=Pin(21), sda=Pin(20)"),
    ("pico", "UART(0, 115200", "UART(0, 115200, tx=Pin(12), rx=Pin(13)"),
    ("pico", "UART(0, 115200", "UART(1, 115200"),
    ("pico", "Pin(15, Pin.IN, Pin.PULL_UP)", "Pin(15, Pin.IN, Pin.PULL_DOWN)"),
    ("pico", "Pin(15, Pin.IN, Pin.PULL_UP)", "Pin(15, Pin.IN)"),
    ("pico", "Pin(14, Pin.IN, Pin.PULL_DOWN)", "Pin(13, Pin.IN, Pin.PULL_DOWN)"),
    ("nucleo_l476rg", 'Pin("B5", Pin.OUT, value=1)', 'Pin("B6", Pin.OUT, value=1)'),
    ("nucleo_l476rg", 'Pin("B6", Pin.OUT, value=0)', 'Pin("B5", Pin.OUT, value=0)'),
    ("nucleo_l476rg", 'Pin("A0", Pin.IN, Pin.PULL_DOWN)', 'Pin("A0", Pin.IN, Pin.PULL_UP)'),
    ("nucleo_l476rg", 'Pin("A0", Pin.IN', 'Pin("C5", Pin.IN'),
]
PROBE = """
import board

board.start()
line = board.serial()
levels = []
for _ in range(8):
    levels.append((bool(board.button()), bool(board.docked())))
    board.wait(20)
line = board.serial()
display = board.display()
display.fb.fill_rect(10, 10, 40, 20, display.ink)
display.show()
line.write(repr(set(levels)))
while True:
    board.wait(1000)
"""


def works(board_name, source, folder):
    """Whether button, dock, display and serial line of a card's board reach the firmware."""
    for name in ("lib/memory_lcd.py", "lib/ssd1306.py", "boards/rp2_flash.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((FIRMWARE / name).read_text())
    (folder / "board.py").write_text(source)
    (folder / "main.py").write_text(PROBE)
    for pressed in (False, True):
        sent = bytearray()
        with Card(from_folder(folder, board_name), seed=1) as card:
            card.mcu.uart.on_send = sent.extend
            card.supply.docked = True
            card.mcu.set_input(card.board.dock_pin, card.board.dock_active, "the dock")
            if pressed:
                card.button.bounce_us = 0
                card.button.push()
            try:
                card.power_on()
                card.run_for(1000)
            except (FirmwareCrashError, WiringError):
                return False
            if bytes(sent) != repr({(pressed, True)}).encode() or card.frame().blank:
                return False
    return True


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
def test_the_boards_are_wired_as_their_firmware_says(board, tmp_path):
    assert works(board, (FIRMWARE / "boards" / f"{board}.py").read_text(), tmp_path / "f")


@pytest.mark.parametrize(("board", "right", "wrong"), WRONG)
def test_a_wrong_wire_is_noticed(board, right, wrong, tmp_path):
    source = (FIRMWARE / "boards" / f"{board}.py").read_text()
    assert right in source
    assert not works(board, source.replace(right, wrong), tmp_path / "f")


def test_the_emulated_wires_are_those_of_the_table():
    for board in ALL.values():
        table = board.chip.pins
        tx, rx = board.uart_pins
        names = (f"UART{board.uart}", f"USART{board.uart}")
        assert any(f"{name}_TX" in table.functions[tx] for name in names)
        assert any(f"{name}_RX" in table.functions[rx] for name in names)
        display = getattr(board, "display", "")
        if display:
            kind, signals = (
                ("I2C", ("SCL", "SDA")) if display == "ssd1306" else ("SPI", ("SCK", "MOSI"))
            )
            for pin, signal in zip(board.display_pins, signals, strict=True):
                assert f"{kind}{board.display_bus}_{signal}" in table.functions[pin]


def test_an_open_drain_that_is_pulled_down_fights_with_who_drives_it_high():
    pins = Pins()
    pins.drive(3, 1, "the sensor")
    pins.configure(3, OPEN_DRAIN, 0, 0)
    assert "the sensor to 1" in pins.conflict and "the chip (open drain) to 0" in pins.conflict


def test_a_reset_ends_the_pulls_of_sleep():
    pins = Pins()
    pins.resistors[3] = 1
    pins.pull_down([3])
    assert pins.level(3) == 0
    pins.release_pulls()
    pins.drive(3, 0, "somebody")
    pins.drive(3, None, "somebody")
    assert pins.level(3) == 1


@pytest.mark.parametrize(("scl", "sda", "found"), [(5, 4, [60]), (4, 5, []), (5, 6, [])])
def test_a_part_on_i2c_is_found_on_its_own_pins_only(foreign, scl, sda, found):
    """A soft bus takes any pins; the display has its own two, each in its place."""
    card = foreign(
        "from machine import Pin, SoftI2C\nimport time\nPin(3, Pin.OUT, value=1)\n"
        f"time.sleep_ms(50)\nprint(SoftI2C(scl=Pin({scl}), sda=Pin({sda})).scan())"
    )
    card.power_on()
    card.run_for(1000)
    assert card.console == f"{found}\n"
