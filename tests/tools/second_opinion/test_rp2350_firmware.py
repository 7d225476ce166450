"""MicroPython for the Pico 2 on the RP2350, card and reader: `pico2.elf`, see conftest.py."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.boards import find
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.fresh import image
from tallystick.tools.image.folder import from_folder
from tallystick.tools.second_opinion import opinion, reader_opinion
from tallystick.tools.second_opinion.cli import second_opinion
from tallystick.tools.second_opinion.firmware import load_firmware
from tallystick.tools.second_opinion.reader_host import TimedConnection
from tallystick.tools.second_opinion.reader_opinion import (
    ReaderOpinion,
    ReaderStep,
    differences,
)
from tallystick.tools.second_opinion.reader_sides import Noted, OurSide
from tallystick.tools.second_opinion.rp2350.card import ChipCard
from tallystick.tools.second_opinion.rp2350.reader import ChipReader

BOARD = find("pico2_card")
UF2_MAGIC = (0x0A324655).to_bytes(4, "little") + (0x9E5D5157).to_bytes(4, "little")
ARM, ABSOLUTE, OTHER = 0xE48BFF59, 0xE48BFF57, 0xE48BFF56

# A row is reached by the boot ROM's function, which an inline assembler of one instruction calls:
# that has no BLX of its own.
OTP = """
import machine
import uctypes

line = machine.UART(0, 115200)


@micropython.asm_thumb
def call(r0, r1, r2, r3):
    data(2, 0x4798)  # BLX r3


otp_access = call(ord("O") | ord("A") << 8, 4, 0, machine.mem16[0x16])


def otp(row, flags, data):
    return call(uctypes.addressof(data), len(data), row | flags, otp_access)


def say(*words):
    line.write((" ".join(str(word) for word in words) + "\\n").encode())


WRITE, ECC = 1 << 16, 1 << 17
one = bytearray(b"\\1\\0\\0\\0")
say("burn", otp(0x900, WRITE, one))
one[0] = 2
say("clear", otp(0x900, WRITE, one))
one[0] = 3
say("burn", otp(0x900, WRITE, one))
say("raw", machine.mem32[0x40134000 + 4 * 0x900])
say("ecc", otp(0x902, WRITE | ECC, bytearray(b"\\xef\\xbe")), machine.mem16[0x40130000 + 2 * 0x902])
machine.mem32[0x40120000 + 4 * (0x900 // 64)] = 1
one[0] = 7
say("locked", otp(0x900, WRITE, one))
say("end")
"""


@pytest.fixture
def elf(firmware):
    return firmware("pico2", (".elf",))


# Where the stack ends, the first instruction, and anything.
PROGRAM = struct.pack("<2I", 0x20082000, 0x10000101) + bytes(range(248))


def block(family: int, address: int, number: int, blocks: int = 1) -> bytes:
    words = (0x2000, address, 256, number, blocks, family)
    head = UF2_MAGIC + b"".join(word.to_bytes(4, "little") for word in words)
    return head + PROGRAM + bytes(220) + bytes.fromhex("306fb10a")


def test_a_block_for_the_boot_roms_erratum_is_no_part_of_the_program(tmp_path):
    path = tmp_path / "firmware.uf2"
    path.write_bytes(block(ABSOLUTE, 0x10FFFF00, 0, 2) + block(ARM, 0x10000000, 0))
    assert load_firmware(path, BOARD).segments == [(0, PROGRAM)]


def test_a_program_for_another_chip_is_refused(tmp_path):
    path = tmp_path / "firmware.uf2"
    path.write_bytes(block(OTHER, 0x10000000, 0))
    with pytest.raises(BadInputError, match="another chip"):
        load_firmware(path, BOARD)


def test_the_card_agrees(elf):
    found = opinion.compare(elf, "pico2_card")
    assert [(step.name, step.differences) for step in found.steps if not step.agrees] == []


def test_the_reader_agrees(elf):
    found = reader_opinion.compare_readers(elf)
    assert found.same_random
    assert [(step.name, step.differs) for step in found.steps if not step.agrees] == []


def test_micropython_burns_rows_of_the_one_time_programmable_memory(tmp_path, elf):
    (tmp_path / "main.py").write_text(OTP)
    program = from_folder(tmp_path, BOARD.name)
    chip = ChipCard(BOARD, [*load_firmware(elf, BOARD).segments, *program.segments])
    chip.power_on()
    assert chip.run(3000, until=lambda: b"end\n" in chip.sent)
    assert chip.sent.decode().splitlines() == [
        "burn 0", "clear -18", "burn 0", "raw 3", "ecc 0 48879", "locked -4", "end",
    ]  # fmt: skip
    assert chip.otp.raw(0x900) == 3


def test_a_hasty_host_finds_the_key_and_nothing_before_it(elf):
    """MicroPython's own serial port, with its prompt, would be there within five milliseconds."""
    board = find("pico2")
    flash = [*load_firmware(elf, board).segments, *image("pico2").segments]
    identity = ReaderIdentity.development("TR00000001").encode()
    reader = ChipReader(board, [*flash, (board.identity.address, identity)], ScriptedSensor)
    reader.host.debounce_ns = 1e6
    reader.power_on()
    reader.run(1000)
    assert [found.device[8:12].hex() for found in reader.host.seen] == ["09120100"]
    assert reader.host.ready
    reader.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "pico2", "nothing.elf"], "There is no MicroPython nothing.elf"),
        (["--board", "pico2", "--costs", "nothing.elf"], "--costs is measured on a card's board"),
        (["--board", "pico2_card", "FILE"], "mp_hal_get_random"),
        (["--board", "pico2_card", "nothing.elf"], "There is no MicroPython nothing.elf"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, arguments, words):
    path = tmp_path / "firmware.uf2"
    path.write_bytes(block(ARM, 0x10000000, 0))
    given = [str(path) if argument == "FILE" else argument for argument in arguments]
    done = CliRunner().invoke(second_opinion, given)
    assert isinstance(done.exception, BadInputError)
    assert words in done.exception.what


# -- what the opinion of a reader is made of -------------------------------------------------------


NOTED = Noted([b"\0\0\0\1\x90\0\2\0ab", b"\0\0\0\1\0cd"], b"sensor", [("program", 0x1000)], b"left")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"answers": NOTED.answers[:1]}, "answers: 2 and 1"),
        ({"answers": [NOTED.answers[0], b"\0\0\0\1\0ce"]}, "answer 2"),
        ({"sensor": b"sensoR"}, "bytes to the sensor, from byte 5"),
        ({"flash": [("program", 0x2000)]}, "program at 0x1000 and program at 0x2000"),
        ({"content": b"gone"}, "content of the flash"),
        ({"burnt": {0x900: 1}}, "burnt rows"),
    ],
)
def test_a_difference_of_two_readers_is_told(change, word):
    other = replace(NOTED, **change)
    assert any(word in said for said in differences(NOTED, other, exact=True))
    assert differences(NOTED, NOTED, exact=True) == []


def test_one_step_of_a_reader_that_differs_is_enough():
    same, other = ReaderStep("start", [], 1.0, 2.0), ReaderStep("log-in", ["gone"], 1.0, 1.0)
    assert ReaderOpinion([same, same], same_random=True).agrees
    assert not ReaderOpinion([same, other], same_random=True).agrees


def test_where_chance_differs_only_its_shape_is_compared():
    chance = [b"\0\0\0\1\x90\0\3\0xyz", b"\0\0\0\1\0ef"]
    assert differences(NOTED, replace(NOTED, answers=chance, content=b"x"), exact=False) == []
    refused = [b"\0\0\0\1\x90\0\1\x2e", b"\0\0\0\1\0ef"]
    for change in (
        {"answers": refused}, {"sensor": b"sensoR"}, {"flash": []}, {"burnt": {0x900: 1}},
    ):  # fmt: skip
        assert differences(NOTED, replace(NOTED, **change), exact=False) != [], change


def test_a_step_that_both_refuse_is_no_agreement():
    refused = reader_opinion.Refused("0x2F - USER_ACTION_TIMEOUT")
    assert reader_opinion.result_differences(1, 1) == []
    assert "refused on both: 0x2F" in reader_opinion.result_differences(refused, refused)[0]
    assert "1 and 2" in reader_opinion.result_differences(1, 2)[0]


@pytest.mark.slow
def test_our_own_reader_gives_a_second_opinion_on_itself():
    """Two of ours, run by the same steps as a chip: nothing may differ."""
    sides = [OurSide("pico2"), OurSide("pico2")]
    try:
        found = {}
        for name, act in reader_opinion.STEPS:
            results = [reader_opinion.try_step(act, side) for side in sides]
            one, two = (side.take() for side in sides)
            assert differences(one, two, exact=True) == [], name
            assert reader_opinion.result_differences(*results) == [], name
            found[name] = results[0]
    finally:
        for side in sides:
            side.close()
    assert found["another finger"][0] != "taken"
    for step in ("log-in", "log-in after it", "log-in after the cut", "log-in, updated"):
        assert found[step][0][0] & 5 == 5, step  # UP, UV
    assert found["the PIN that holds"] in ("2468", "97531")
    assert found["update over USB"] == (0, 1, 1, "9.9.9", "CONFIRMED")
    assert found["the host sleeps and wakes"] == found["INIT and getInfo"]


class Bus:
    """Gives packets that were there before."""

    def __init__(self, *packets):
        self.reports = deque(packets)

    def write_report(self, report):
        pass

    def run_until(self, done, limit_ms=0):
        return done()


def packet(command, data):
    return (b"\0\0\0\1" + bytes((command, 0, len(data))) + data).ljust(64, b"\0")


def test_a_hosts_own_nonce_and_keep_alives_are_no_answers():
    init = packet(0x86, b"nonce678" + b"\0\0\0\2rest")
    waits, works = packet(0xBB, b"\2"), packet(0xBB, b"\1")
    bus = TimedConnection(Bus(works, waits, works, waits, init))
    for _ in range(5):
        bus.read_packet()
    assert bus.answers == [waits, init.replace(b"nonce678", bytes(8))]
    with pytest.raises(ConnectionError):
        bus.read_packet()
