"""The RP2040 of the second opinion by itself, with a small program made by hand: loading, pins, the
display's bus, flash, serial line. What its MicroPython costs needs that, see conftest.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.nor_flash import Cut, Phase
from tallystick.emulator.seeing.reading import read_code
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise
from tallystick.tools.second_opinion import costs
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.record import END, FLASH, Recorder
from tallystick.tools.second_opinion.rp2040 import Rp2040
from tests.tools.second_opinion.thumb import button_input, flash_commands, i2c, program, uf2

BOARD = find("pico")
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


def _chip(tmp_path: Path, first, then) -> Rp2040:
    path = tmp_path / "program.uf2"
    path.write_bytes(uf2(program(BOARD.button_pin, first, then)))
    chip = Rp2040(BOARD, read_firmware(path, BOARD))
    chip.power_on()
    return chip


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
    recorder = Recorder(chip)
    chip.run(48)  # both are done by then
    record = recorder.take("")
    assert [kind for kind, _ in record.marks] == [FLASH, END]
    assert record.wires[FLASH] == [(f"erase {ERASE_AT:#x}", b""), (f"program {ERASE_AT:#x}", b"")]
    timing = BOARD.flash_timing
    assert chip.now_us >= timing.erase_us + timing.program_us
    assert chip.cpu_us >= timing.erase_us + timing.program_us  # it waits for its flash
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


def test_a_cut_leaves_half_of_a_write_and_a_chip_without_power(tmp_path):
    address = ERASE_AT.to_bytes(3, "big")
    write = flash_commands(b"\x06", b"\x02" + address + b"tally")
    chip = _chip(tmp_path, [*write, *button_input(BOARD.button_pin)], [])
    chip.fault_plan = lambda op: Cut(Phase.DURING, op.new[:2] + op.old[2:])
    chip.run(10)
    assert not chip.powered
    assert chip.flash[ERASE_AT : ERASE_AT + 5] == b"ta\xff\xff\xff"
    chip.fault_plan = None
    before = chip.now_us
    chip.run(10)  # without power time goes on, and nothing else
    assert chip.now_us == before + 10_000
    chip.power_on()
    chip.run(10)
    assert chip.boots == 2
    assert chip.flash[ERASE_AT : ERASE_AT + 5] == b"tally"


def test_bytes_come_in_over_the_serial_line_one_by_one(tmp_path):
    uart = 0x40034000
    chip = _chip(tmp_path, [(uart + 0x30, 0x301)], [])
    chip.send(b"ab")
    chip.run(0.1)
    assert chip._mcu.uart[0].read_uint32(0) == ord("a")
    chip.run(0.1)
    assert chip._mcu.uart[0].read_uint32(0) == ord("b")


def test_what_is_charged_for_is_what_was_measured(firmware):
    """Hashes within their overhead and what one compiler differs by from the next (a key of AES: 61
    us in the published MicroPython, 70 in one of GCC 12); nothing is off by a factor."""
    figures = {cost.name: cost for cost in costs.compare_costs(firmware("pico"), "pico")}
    for name, allowed in (("sha256_block", 0.1), ("aes_key", 0.2), ("aes_block", 0.1)):
        assert figures[name].us == pytest.approx(figures[name].other_us, rel=allowed), name
    for name in ("main", "sha1_block", "imports"):
        assert 0.5 < figures[name].us / figures[name].other_us < 2, name
