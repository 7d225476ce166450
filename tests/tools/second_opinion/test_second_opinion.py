"""Our image on an RP2040 that is emulated instruction by instruction.

The whole comparison needs a MicroPython for the Pico, as its makers publish it, in
$TALLY_RP2040_UF2. Everything else (loading, pins, the display's bus, flash, serial line) is tried
with a small program made by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import BOARDS, KIT
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.seeing.reading import read_code
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise
from tallystick.tools.second_opinion import costs, opinion
from tallystick.tools.second_opinion.chip import SecondChip
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.parts import DISPLAY, END, FLASH, ChipMarks, Part, side_by_side
from tests import needs
from tests.tools.second_opinion.thumb import button_input, flash_commands, i2c, program, uf2

UF2 = os.environ.get("TALLY_RP2040_UF2", "")
BOARD = BOARDS[KIT]
ERASE_AT = 0x1FF000
NO_PIN = 31  # always reads low
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]


class _Bus(Probe):
    def __init__(self) -> None:
        self.transfers: list[bytes] = []

    def bus(self, now_us, name, data, byte_us):
        if name == "i2c":
            self.transfers.append(bytes(data))


@pytest.fixture(scope="module")
def shown():
    """What our card sends to its display for a code, and the code."""
    with card("pico") as device:
        device.power_on()
        personalise(device)
        bus = _Bus()
        device.attach(bus)
        device.press()
        code = device.read_code()
    assert code == "755224"  # RFC 4226, appendix D
    return bus.transfers, code


def _chip(tmp_path: Path, first, then) -> SecondChip:
    path = tmp_path / "program.uf2"
    path.write_bytes(uf2(program(BOARD.button_pin, first, then)))
    return SecondChip(BOARD, read_firmware(path, BOARD))


def test_what_our_card_sends_to_its_display_is_a_code_there_too(shown, tmp_path):
    transfers, code = shown
    writes = i2c(0x3C, transfers)
    chip = _chip(tmp_path, button_input(BOARD.button_pin), writes)
    assert not chip.run(5)
    assert chip.frame().blank
    chip.press(2)
    assert chip.run(5000, until=lambda: read_code(chip.frame()) is not None)
    assert read_code(chip.frame()) == code
    assert chip.display.errors == []
    assert chip.cpu_us > 5_000  # it polled the button all the time


def test_what_goes_to_another_address_is_not_the_displays(shown, tmp_path):
    transfers, _ = shown
    writes = i2c(0x3D, transfers)
    chip = _chip(tmp_path, button_input(BOARD.button_pin), writes)
    chip.press(2)
    assert not chip.run(100, until=lambda: not chip.frame().blank)


def test_erasing_and_programming_take_the_data_sheets_time(tmp_path):
    address = ERASE_AT.to_bytes(3, "big")
    erase = flash_commands(b"\x06", b"\x20" + address)
    write = flash_commands(b"\x06", b"\x02" + address + b"tally")
    chip = _chip(tmp_path, [*erase, *write, *button_input(BOARD.button_pin)], [])
    marks = ChipMarks(chip)
    chip.run(48)  # both are done by then
    assert [kind for kind, _ in marks.take(0, chip.cpu_us)] == [FLASH, END]
    timing = BOARD.flash_timing
    assert chip.now_us >= timing.erase_us + timing.program_us
    assert chip.cpu_us < 5000  # the rest of the time it waited for the flash
    assert chip.flash[ERASE_AT : ERASE_AT + 8] == b"tally\xff\xff\xff"


def test_a_serial_lines_interrupt_can_be_cleared(tmp_path):
    uart = 0x40034000
    enabled = [(uart + 0x38, 1 << 5), (uart + 0x00, 0x55)]  # UARTIMSC, UARTDR
    sent = _chip(tmp_path, enabled, [])
    sent.run(1)
    assert sent.sent == b"\x55"
    assert sent._mcu.uart[0].read_uint32(0x40) == 1 << 5
    cleared = _chip(tmp_path, [*enabled, (uart + 0x44, 1 << 5)], [])
    cleared.run(1)
    assert cleared._mcu.uart[0].read_uint32(0x40) == 0
    assert cleared._mcu.clk_peri == 48_000_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a uf2", "not a whole UF2"),
        (uf2(b"x" * 256, family=0xE48BFF59), "another chip"),
        (uf2(b"x" * 256, address=0x100A0000), "no MicroPython"),
        (uf2(b"x" * 0xA0100), "inside the storage"),
    ],
)
def test_what_is_no_micropython_for_the_board_is_a_clear_error(content, words, tmp_path):
    path = tmp_path / "some.uf2"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        read_firmware(path, BOARD)


def test_a_missing_file_is_a_clear_error(tmp_path):
    done = subprocess.run(
        [*TALLY, "second-opinion", str(tmp_path / "none.uf2"), "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "There is no MicroPython" in done.stderr
    assert json.loads(done.stdout)["error"]


def test_emulators_that_disagree_fail_the_command(tmp_path):
    """A program that is no MicroPython never shows a code: the verdict must be no."""
    path = tmp_path / "program.uf2"
    path.write_bytes(uf2(program(NO_PIN, [], [])))  # goes to sleep at once
    verdict = opinion.compare(path, 1)
    assert not verdict.agrees
    press = next(step for step in verdict.steps if step.name == "press 1")
    assert (press.code, press.other_code) == ("755224", None)
    assert not press.pixels_agree
    assert press.parts[0].to == DISPLAY and press.parts[0].other_cpu_us is None  # it never came


def test_parts_are_what_lies_between_two_marks():
    ours = [(DISPLAY, 10.0), (FLASH, 2.0), (END, 1.0)]
    other = [(DISPLAY, 11.0), (FLASH, 3.0), (END, 2.0)]
    assert side_by_side(ours, other) == [
        Part(DISPLAY, 10, 11), Part(FLASH, 2, 3), Part(END, 1, 2),
    ]  # fmt: skip


def test_a_display_that_comes_before_the_flash_is_told_from_one_that_comes_after():
    ours = [(FLASH, 2.0), (DISPLAY, 10.0), (END, 1.0)]
    other = [(DISPLAY, 11.0), (FLASH, 3.0), (END, 2.0)]
    parts = side_by_side(ours, other)
    assert parts == [Part(FLASH, 2, None), Part(DISPLAY, None, 11)]
    assert not opinion.Step("press", "755224", "755224", True, parts).agrees


def test_marks_are_the_first_of_a_row(shown, tmp_path):
    transfers, _ = shown
    chip = _chip(tmp_path, [], i2c(0x3C, transfers))
    marks = ChipMarks(chip)
    chip.press(2)
    chip.run(5000, until=lambda: not chip.frame().blank)
    (what, before_us), (end, rest_us) = marks.take(0, chip.cpu_us)
    assert (what, end) == (DISPLAY, END)
    assert 0 < before_us < rest_us  # one mark, and it is that of the first transfer
    assert [kind for kind, _ in marks.take(0, 0)] == [END]  # of a new step


def test_the_measuring_program_finds_what_our_cost_table_charges():
    figures = costs.charged(costs.measuring_image(BOARD))
    hashes, aes = BOARD.costs["hashlib"], BOARD.costs["cryptolib"]
    assert figures["sha1_block"] == hashes["sha1_us"]
    assert figures["sha256_block"] == hashes["sha256_us"]
    assert figures["aes_key"] == pytest.approx(aes["key_us"], abs=0.5)
    assert figures["aes_block"] == aes["block_us"]
    assert figures["main"] > BOARD.boot_us
    assert figures["imports"] > BOARD.import_us_per_256 * 10_000 / 256  # bytes of bytecode


def test_a_micropython_that_does_not_run_the_measuring_program_is_a_clear_error(tmp_path):
    path = tmp_path / "program.uf2"
    path.write_bytes(uf2(program(NO_PIN, [], [])))  # goes to sleep at once
    with pytest.raises(BadInputError, match="did not get to its end"):
        costs.compare_costs(path, "pico")


@needs.second_opinion.mark
def test_what_is_charged_for_is_what_was_measured():
    """Hashes within their overhead; nothing is off by a factor."""
    figures = {cost.name: cost for cost in costs.compare_costs(Path(UF2), "pico")}
    for name, allowed in (("sha256_block", 0.1), ("aes_key", 0.1), ("aes_block", 0.1)):
        assert figures[name].us == pytest.approx(figures[name].other_us, rel=allowed), name
    for name in ("main", "sha1_block", "imports"):
        assert 0.5 < figures[name].us / figures[name].other_us < 2, name


@needs.second_opinion.mark
def test_both_emulators_give_the_same_codes_and_the_same_journal():
    verdict = opinion.compare(Path(UF2), 3)
    assert verdict.agrees, verdict
    codes = [step.code for step in verdict.steps if step.name.startswith("press")]
    assert codes == ["755224", "287082", "359152"]  # RFC 4226, appendix D
    to_display = verdict.steps[0].parts[0]
    assert to_display.cpu_us == pytest.approx(to_display.other_cpu_us, rel=0.1)
