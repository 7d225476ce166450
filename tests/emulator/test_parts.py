"""Parts that board.toml solders to a board: each by its data sheet, and what is wrong told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.project import Project
from tallystick.emulator.parts import soldered
from tallystick.emulator.parts.part import BoardPart
from tallystick.emulator.parts.sh1106 import Sh1106
from tallystick.emulator.parts.soldered import kinds
from tallystick.emulator.parts.soldered.i2c_parts import Eeprom, I2cRegisters, Tmp102
from tallystick.emulator.parts.soldered.led import Led
from tallystick.tools.image.folder import of_project

BUS = 'bus = ["GP5", "GP4"]'


@pytest.fixture
def bench(tmp_path):
    """bench(main.py, board.toml): a powered board with them."""
    cards = []

    def make(source: str, toml: str) -> Card:
        folder = tmp_path / f"p{len(cards)}"
        (folder / "firmware").mkdir(parents=True)
        (folder / "firmware" / "main.py").write_text(source)
        (folder / "board.toml").write_text('board = "pico"\n' + toml)
        project = Project.find(folder)
        card = Card(of_project(project), seed=1, fittings=project.fittings())
        cards.append(card)
        card.power_on()
        return card

    yield make
    for card in cards:
        card.close()


LED = '[[part]]\nkind = "led"\nname = "lamp"\npin = "GP16"\n'


def test_a_led_follows_its_pin_and_takes_its_current(bench):
    card = bench(
        "import time\nfrom machine import Pin\np = Pin(16, Pin.OUT)\n"
        "while True:\n    p.on()\n    time.sleep(1)\n    p.off()\n    time.sleep(3)\n",
        LED,
    )
    lamp = card.part("lamp")
    card.run_for(500)
    lit = card.supply.current_ua()
    card.run_for(1000)
    assert not lamp.lit and lit - card.supply.current_ua() == 2000
    card.run_for(16_000)
    assert lamp.state()["on_ms"] == pytest.approx(5000, abs=600)
    card.power_off()
    assert not lamp.lit


@pytest.mark.parametrize("ending", ["machine.deepsleep()", "Pin(16, Pin.IN)", "1/0"])
def test_a_led_to_the_supply_is_dark_when_nobody_drives_it(bench, ending):
    """Not lit by a level that the chip does not put there."""
    toml = LED + "active = 0\n"
    source = "import machine, time\nfrom machine import Pin\n"
    card = bench(source + "p = Pin(16, Pin.OUT, value=0)\ntime.sleep(1)\n" + ending, toml)
    lamp = card.part("lamp")
    assert lamp.lit
    try:
        card.run_for(2000)
    except Exception as error:
        assert "ZeroDivisionError" in str(error)
    assert not lamp.lit


def test_a_deep_sleep_that_was_given_a_time_ends_as_a_reset_does(bench):
    card = bench("import machine\nprint('awake')\nmachine.deepsleep(5000)\n", LED)
    card.run_for(16_000)
    assert card.console.count("awake") == 4 and card.mcu.boots == 4
    forever = bench("import machine\nprint('awake')\nmachine.deepsleep()\n", LED)
    forever.run_for(100_000)
    assert forever.mcu.boots == 1


@pytest.mark.parametrize(("more", "bright"), [("", 0.25), ("active = 0\n", 0.75)])
def test_a_led_shows_pulses_as_brightness(bench, more, bright):
    card = bench(
        "import time\nfrom machine import Pin, PWM\n"
        "PWM(Pin(16), freq=1000, duty_u16=16384)\ntime.sleep(9)\n", LED + more
    )  # fmt: skip
    assert card.part("lamp").state()["brightness"] == bright


def test_two_buttons_bounce_and_wake(bench):
    toml = "".join(
        f'[[part]]\nkind = "button"\nname = "{name}"\npin = {pin}\n'
        for name, pin in (("up", 14), ("down", 15))
    )
    card = bench(
        "import time\nfrom machine import Pin\n"
        "def heard(pin):\n    print('up' if pin is up else 'down')\n"
        "up = Pin(14, Pin.IN, Pin.PULL_UP)\n"
        "for pin in (up, Pin(15, Pin.IN, Pin.PULL_UP)):\n    pin.irq(heard, Pin.IRQ_FALLING)\n"
        "while True:\n    time.sleep(60)\n",
        toml,
    )
    card.do("down", "press", 50)
    card.run_for(200)
    assert set(card.console.split()) == {"down"}
    with pytest.raises(BadInputError, match="does not know 'kick'"):
        card.do("down", "kick")
    with pytest.raises(BadInputError, match="no part 'left'"):
        card.do("left", "press")


SENSOR = f'[[part]]\nkind = "tmp102"\nname = "air"\n{BUS}\n'


def test_a_thermometer_by_its_data_sheet():
    """TI SBOS397, table 6-5 (12 bits) and 6-6 (13 bits)."""
    part = Tmp102(("GP5", "GP4"))
    part.power(True)
    for celsius, digits in ((127.9375, 0x7FF0), (100, 0x6400), (0.25, 0x0040), (0, 0),
                            (-0.25, 0xFFC0), (-25, 0xE700), (-55, 0xC900)):  # fmt: skip
        part.do("set", celsius)
        assert part.i2c_write(0x48, b"\0")
        assert part.i2c_read(0x48, 2) == digits.to_bytes(2, "big")
    assert part.i2c_write(0x48, b"\x01\x60\xb0")  # extended mode
    part.i2c_write(0x48, b"\0")
    for celsius, digits in ((150, 0x4B00), (128, 0x4000), (-25, 0xF380)):
        part.do("set", celsius)
        found = int.from_bytes(part.i2c_read(0x48, 2), "big")
        assert found == digits | 1
    assert not part.i2c_write(0x49, b"\0") and part.i2c_read(0x49, 2) is None
    with pytest.raises(BadInputError):
        part.do("set", "warm")


class _Stub:
    def __init__(self):
        self.now = 0

    @property
    def clock(self):
        return self

    def pin(self, name):
        return 0

    def i2c(self, *_):
        pass


def test_an_eeprom_writes_in_pages_and_takes_its_time():
    """Microchip DS20001203: a write goes round in its page; 5 ms without an answer."""
    part = Eeprom(("a", "b"))
    part.wire(bench := _Stub())
    part.power(True)
    assert part.i2c_write(0x50, b"\0\x3e" + b"abcd")
    assert part.i2c_read(0x50, 1) is None and not part.i2c_write(0x50, b"")
    bench.now += 5_000
    assert part.i2c_write(0x50, b"\0\x3c")
    assert part.i2c_read(0x50, 4) == b"\xff\xffab"
    assert part.memory[:2] == b"cd"
    part.i2c_write(0x50, b"\x7f\xff")
    assert part.i2c_read(0x50, 3) == b"\xffcd"  # reading goes round at the end
    part.power(False)
    part.power(True)
    assert part.memory[:2] == b"cd"


@given(st.integers(0, 255), st.binary(min_size=1, max_size=300), st.integers(1, 40))
def test_registers_are_read_as_they_were_written(first, content, count):
    part = I2cRegisters(("a", "b"), 0x10)
    part.power(True)
    expected = bytearray(256)
    for at, value in enumerate(content):
        expected[(first + at) & 255] = value
    assert part.i2c_write(0x10, bytes([first]) + content)
    assert part.i2c_write(0x10, bytes([first]))
    assert part.i2c_read(0x10, count) == bytes(expected[(first + n) & 255] for n in range(count))


@pytest.mark.parametrize("value", [{"0x100": 1}, {"1": 256}, {"1": []}, {"255": [1, 2]}, [1], None])
def test_registers_that_there_are_not_are_refused(value):
    part = I2cRegisters(("a", "b"), 0x10)
    with pytest.raises(BadInputError):
        part.do("set", value)
    assert not any(part.registers)


def test_an_sh1106_shows_its_ram_from_column_two_on():
    glass = Sh1106()
    assert glass.i2c_write(0x3C, b"\x00\xaf\xa1\xc8")
    glass.i2c_write(0x3C, b"\x00\xb0\x02\x10")
    glass.i2c_write(0x3C, b"\x40\xff")
    frame = glass.frame()
    assert [frame.at(0, y) for y in range(9)] == [1] * 8 + [0]
    assert frame.pixels.count(1) == 8
    # Its last column stays the last: nothing runs into the next page.
    glass.i2c_write(0x3C, b"\x00\xb0\x02\x18")
    glass.i2c_write(0x3C, b"\x40" + b"\xff" * 20)
    assert glass.frame().at(2, 8) == 0 and not glass.errors
    glass.i2c_write(0x3C, b"\x00\xad\x8a")  # without its converter it is dark
    assert glass.frame().blank
    glass.i2c_write(0x3C, b"\x00\x20\x00")  # an SSD1306's addressing
    assert "SH1106: not in the data sheet" in glass.errors[0]


def test_a_uart_peer_hears_and_answers(bench):
    toml = (
        '[[part]]\nkind = "uart-peer"\nname = "modem"\nline = ["GP8", "GP9"]\n'
        'answers = {AT = "OK"}\n'
    )
    card = bench(
        "import time\nfrom machine import UART, Pin\n"
        "u = UART(1, 9600, tx=Pin(8), rx=Pin(9))\nu.write('AT\\r\\n')\n"
        "while True:\n    time.sleep_ms(10)\n    if u.any():\n        print(u.read())\n",
        toml,
    )
    card.run_for(100)
    assert b"".join(map(eval, card.console.split("\n")[:-1])) == b"OK\r\n"
    card.do("modem", "say", "x")
    card.run_for(100)
    assert card.console.endswith("b'x'\n")
    assert card.part("modem").state()["heard"] == "AT\r\n"
    began = card.clock.now
    card.part("modem").do("say", "x" * 99 + "end")  # a millisecond each at 9600 baud
    assert card.run_until(lambda: "end" in card.console)
    assert 100_000 < card.clock.now - began < 140_000


WRONG = {
    "board = 7": "something else than",
    "colour = 1": "something else than",
    "board = \"pico\"\n[part]\nkind = 'led'": "something else than",
    "[[part]]\nname = 'x'": "part 1 has no kind",
    "[[part]]\nkind = 'lamp'": "there is no kind 'lamp'",
    "[[part]]\nkind = 'led'": "part 1 \\(led\\): missing",
    "[[part]]\nkind = 'led'\npin = 1\nhue = 2": "part 1 \\(led\\): got an unexpected",
    "[[part]]\nkind = 'mine:BoardPart'": "There is no .*mine.py",
    "[[part]": "cannot be read",
    LED + LED: "two parts are called 'lamp'",
    "[[part]]\nkind = 'led'\nlamp = 3": "Its keys: pin, active \\(1\\), ma \\(2.0\\), name",
}


@pytest.mark.parametrize("toml", WRONG)
def test_a_board_file_that_is_wrong_is_told(tmp_path, toml):
    (tmp_path / "main.py").write_text("")
    (tmp_path / "board.toml").write_text(toml)
    with pytest.raises(BadInputError, match=WRONG[toml]):
        Project.find(tmp_path).fittings()


@pytest.mark.parametrize("pin", ['"GP77"', "77", '"LAMP"', "-1", "true"])
def test_a_pin_that_the_chip_does_not_have(bench, pin):
    with pytest.raises(BadInputError, match="pico has no pin"):
        bench("", f'[[part]]\nkind = "led"\npin = {pin}\n')


def test_a_folder_without_a_main(tmp_path):
    with pytest.raises(BadInputError, match=r"no main\.py"):
        Project.find(tmp_path)


def test_a_part_of_ones_own_beside_the_board_file(bench, tmp_path):
    (tmp_path / "p0").mkdir()
    (tmp_path / "p0" / "parts.py").write_text(
        "from tallystick.emulator.parts.part import BoardPart\n"
        "class Tap(BoardPart):\n"
        "    def __init__(self, pin):\n        self.pin = pin\n"
        "    def wire(self, bench):\n        bench.drive(bench.pin(self.pin), 1)\n"
    )
    (tmp_path / "p0" / "firmware").mkdir()
    (tmp_path / "p0" / "firmware" / "main.py").write_text(
        "from machine import Pin\nprint(Pin(3, Pin.IN).value())"
    )
    (tmp_path / "p0" / "board.toml").write_text(
        'board="pico"\n[[part]]\nkind = "parts:Tap"\npin = 3\n'
    )
    project = Project.find(tmp_path / "p0")
    with Card(of_project(project), seed=1, fittings=project.fittings()) as card:
        card.power_on()
        assert card.console == "1\n"  # wired before power-on


def test_kinds_and_boards_of_other_wheels(tmp_path, monkeypatch):
    """A wheel that is installed: metadata on the path, as pip leaves them."""
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tallystick.parts]\nbuzzer = others_wheel:Buzzer\nbroken = others_wheel:NAME\n"
        "[tallystick.boards]\nblue = others_wheel:BOARD\nred = others_wheel:BOARD\n"
    )
    (tmp_path / "others_wheel.py").write_text(
        "from dataclasses import replace\nfrom tallystick.emulator.boards import pico\n"
        "from tallystick.emulator.parts.soldered.led import Led\n"
        "class Buzzer(Led):\n    pass\nNAME = 'x'\nBOARD = replace(pico.BOARD, name='blue')\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    (tmp_path / "main.py").write_text("print('hi')")
    (tmp_path / "board.toml").write_text('board = "blue"\n[[part]]\nkind = "buzzer"\npin = 1\n')
    project = Project.find(tmp_path)
    with Card(of_project(project), fittings=project.fittings()) as card:
        card.power_on()
        assert (card.board.name, card.console) == ("blue", "hi\n")
    (tmp_path / "board.toml").write_text('[[part]]\nkind = "broken"\n')
    with pytest.raises(BadInputError, match="broken is no BoardPart"):
        Project.find(tmp_path).fittings()
    with pytest.raises(BadInputError, match="not the board of this name"):
        boards.find("red")
    assert "blue" in boards.card_board_names()


def test_every_kind_is_in_the_guide():
    page = (Path(__file__).parents[2] / "docs/guides/bench.md").read_text(encoding="utf-8")
    assert len(kinds()) == 8
    for kind, part in kinds().items():
        assert f"`{kind}`" in page and issubclass(part, BoardPart)


def test_a_kind_is_a_file_and_no_list_is_told(tmp_path, monkeypatch):
    """As one that is put beside ours."""
    (tmp_path / "horn.py").write_text(
        "from tallystick.emulator.parts.soldered.led import Led\n"
        "class Horn(Led):\n    kind = 'horn'\nclass NoKind(Led):\n    pass\n"
    )
    monkeypatch.setattr(soldered, "__path__", [*soldered.__path__, str(tmp_path)])
    kinds.cache_clear()
    try:
        assert kinds()["horn"].__name__ == "Horn" and kinds()["led"] is Led
        assert len(kinds()) == 9
    finally:
        kinds.cache_clear()
        sys.modules.pop("tallystick.emulator.parts.soldered.horn")
