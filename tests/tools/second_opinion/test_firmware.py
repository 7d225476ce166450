"""Files that are no MicroPython for the board: told before anything is run."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Region
from tallystick.tools.second_opinion.firmware import load_firmware
from tests.tools.second_opinion.thumb import uf2

RP2350 = 0xE48BFF59


def _vectors(stack: int, entry: int) -> bytes:
    return struct.pack("<2I", stack, entry) + bytes(2040)


OF_RP2350 = _vectors(0x20082000, 0x10000101)
OF_STM32 = _vectors(0x20018000, 0x08000401)
OF_RP2040 = struct.pack("<2I", 0x4B32B500, 0x60582021) + bytes(2040)
NOISE = random.Random(1).randbytes(5_000)

REFUSED = [
    ("pico", "another chip's.uf2", uf2(OF_RP2350, family=RP2350), "is for another chip"),
    ("pico", "another chip's, said to be its own.uf2", uf2(OF_RP2350), "does not begin as"),
    ("pico2", "another chip's.uf2", uf2(OF_RP2040), "is for another chip"),
    ("pico2", "another chip's, said to be its own.uf2", uf2(OF_RP2040, family=RP2350), "not begin"),
    ("pico2_card", "of an STM32.uf2", uf2(OF_STM32, family=RP2350), "does not begin as"),
    ("nucleo_l476rg", "of a Pico.bin", OF_RP2040, "does not begin as"),
    ("nucleo_l476rg", "of a Pico 2.bin", OF_RP2350, "does not begin as"),
    ("pico", "cut off.uf2", uf2(OF_RP2040)[:2048], "4 blocks of 8: it was cut off"),
    ("pico", "cut off in a block.uf2", uf2(OF_RP2040)[:2000], "not a whole UF2 file"),
    ("pico", "noise.uf2", NOISE, ""),
    ("pico2", "noise.elf", b"\x7fELF" + NOISE, "is no whole ELF file"),
    ("pico2", "cut off.elf", b"\x7fELF\x01\x01\x01" + bytes(9), "is no whole ELF file"),
    ("nucleo_l476rg", "noise.hex", NOISE, "is not Intel HEX"),
    ("nucleo_l476rg", "noise.bin", NOISE, "does not begin as"),
    ("nucleo_l476rg", "empty.bin", b"", "does not begin as"),
    ("pico2", "empty.uf2", b"", ""),
]


@pytest.mark.parametrize(("board", "name", "data", "says"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_is_no_micropython_for_the_board_is_refused(tmp_path, board, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadInputError) as refused:
        load_firmware(path, find(board))
    assert says in refused.value.what
    assert name in refused.value.what
    assert refused.value.todo


@pytest.mark.parametrize("area", ["storage", "record", "identity", "journal"])
def test_one_that_reaches_into_an_area_of_the_boards_own_is_refused(tmp_path, area):
    board = find("nucleo_l476rg")
    # The first of its areas is the one in the way: of others, whatever their order.
    away = {"boot": Region(0xF0000, 0x800)} | dict.fromkeys(
        ("storage", "record", "identity", "journal"), Region(0xF0000, 0x800)
    )
    board = replace(board, **(away | {area: Region(0x1000, 0x800)}))
    path = tmp_path / "a.bin"
    path.write_bytes(OF_STM32.ljust(0x1001, b"\0"))
    with pytest.raises(BadInputError, match=f"inside the (boot )?{area} that begins at 0x1000"):
        load_firmware(path, board)
    path.write_bytes(OF_STM32.ljust(0x1000, b"\0"))
    assert load_firmware(path, board).segments


@pytest.mark.parametrize(
    ("board", "name", "data"),
    [
        ("pico", "a.uf2", uf2(OF_RP2040)),
        ("pico2", "a.uf2", uf2(OF_RP2350, family=RP2350)),
        ("nucleo_l476rg", "a.bin", OF_STM32),
    ],
)
def test_what_is_one_is_taken(tmp_path, board, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert load_firmware(path, find(board)).segments
