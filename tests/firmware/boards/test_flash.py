"""The boards' flash code in this interpreter: which registers and blocks it touches, in what order.
The maps and the chips themselves are in other tests; these see every write."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

FIRMWARE = Path(__file__).parents[3] / "firmware"


def module(**there: Any) -> ModuleType:
    made = ModuleType("given")
    made.__dict__.update(there)
    return made


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Modules that a board imports; fill in, then import."""
    found: dict[str, Any] = {
        "micropython": module(const=lambda value: value, asm_thumb=lambda one: one,
                              opt_level=lambda *_: 0),
        "machine": MagicMock(),
        "uctypes": module(addressof=lambda what: ("address of", bytes(what))),
    }  # fmt: skip
    for name, made in found.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.syspath_prepend(str(FIRMWARE))
    for name in ("ticks_add", "ticks_diff", "ticks_ms", "sleep_ms", "sleep_us"):
        monkeypatch.setattr(time, name, None, raising=False)
    yield found
    for name in [one for one in sys.modules if one.split(".")[0] in ("boards", "lib")]:
        del sys.modules[name]


# -- the RP2 boards: MicroPython's block device ----------------------------------------------------


class Blocks:
    def __init__(self, start: int = -1, len: int = -1) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.where = (start, len)

    def readblocks(self, block: int, buf: bytearray, offset: int) -> None:
        self.done.append(("read", block, offset, len(buf)))
        buf[:] = b"r" * len(buf)

    def writeblocks(self, block: int, buf: bytes, offset: int) -> None:
        self.done.append(("write", block, offset, bytes(buf)))

    def ioctl(self, operation: int, block: int) -> None:
        self.done.append(("ioctl", operation, block))


@pytest.fixture
def rp2(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "rp2", module(Flash=Blocks))
    monkeypatch.setitem(sys.modules, "vfs", module(VfsLfs2=lambda *a, **k: (a, k)))
    return importlib.import_module("boards.rp2_flash")


def test_sectors_of_the_storage_area(rp2: Any) -> None:
    sectors = rp2.Sectors(300, 7)
    assert (sectors.SECTORS, sectors.SECTOR, sectors.UNIT) == (7, 4096, 256)
    buffer = bytearray(8)
    for address in (0, 4095, 4096, 2 * 4096 + 256):
        sectors.read(address, buffer)
        sectors.program(address, b"data")
    assert buffer == b"r" * 8
    places = [(300, 0), (300, 4095), (301, 0), (302, 256)]
    assert rp2.storage.done[::2] == [("read", *place, 8) for place in places]
    assert rp2.storage.done[1::2] == [("write", *place, b"data") for place in places]
    sectors.erase(0)
    sectors.erase(6)
    assert rp2.storage.done[-2:] == [("ioctl", 6, 300), ("ioctl", 6, 306)]


def test_where_slots_and_boot_record_are(rp2: Any) -> None:
    def where(sectors: Any) -> tuple[int, int]:
        return sectors._first, sectors.SECTORS

    assert where(rp2.boot_record()) == (333, 2)
    assert [where(rp2.slot(n)) for n in (0, 1)] == [(20, 150), (170, 150)]
    for n, first in ((0, 21), (1, 171)):
        (device,), options = rp2.slot_system(n)
        assert device.where == (first * 4096, 149 * 4096)
        assert options == {"readsize": 64, "progsize": 64, "lookahead": 16}


# -- rows that are burnt once ----------------------------------------------------------------------


class Registers:
    """Addresses that are read and written; `reads`: what some read as, one after another."""

    def __init__(self, **_: Any) -> None:
        self.there: dict[int, int] = {}
        self.reads: dict[int, list[int]] = {}
        self.log: list[tuple[int, int]] = []

    def __getitem__(self, address: int) -> int:
        if self.reads.get(address):
            return self.reads[address].pop(0)
        return self.there.get(address, 0)

    def __setitem__(self, address: int, value: int) -> None:
        self.log.append((address, value))
        if address != SR:  # ones clear what they are written to
            self.there[address] = value


@pytest.mark.parametrize(("answer", "burnt"), [(0, True), (1, False), (-1, False)])
def test_rows_that_are_burnt(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, answer: int, burnt: bool
) -> None:
    calls: list[tuple[Any, ...]] = []

    def call(*arguments: Any) -> int:
        calls.append(arguments)
        return 0x1234 if len(calls) == 1 else answer

    monkeypatch.setitem(sys.modules, "boards.rom", module(call=call))
    memory = Registers()
    given["machine"].mem32 = memory
    given["machine"].mem16 = {0x16: 0x777}
    once = importlib.import_module("boards.once")
    monkeypatch.setattr(once, "rom", module(call=call), raising=False)
    memory.there[0x40134000 + 4 * (0xC0 + 6)] = 0xFF800001
    assert once.ROWS == 3136 and once.read(6) == 0x800001 and once.read(4) == 0
    assert once.burn(6, 0x10) is burnt
    word = bytes.fromhex("11008000")
    assert calls == [(0x414F, 4, 0, 0x777), (("address of", word), 4, 0x100C6, 0x1234)]


# -- the Nucleo: the chip's own controller ---------------------------------------------------------

FLASH = {"FLASH_ACR": 0, "FLASH_KEYR": 8, "FLASH_SR": 0x10, "FLASH_CR": 0x14}
BASE = 0x08000000
SR, CR, KEYR, ACR = 0x1010, 0x1014, 0x1008, 0x1000
UNLOCKED = [(SR, 0xC3FB), (KEYR, 0x45670123), (KEYR, 0xCDEF89AB)]
LOCKED = (CR, 1 << 31)


@pytest.fixture
def nucleo(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    registers = Registers()
    content = bytearray(b"\xff" * 0x100000)
    stm = module(mem32=registers, mem16=MagicMock(), mem8=MagicMock(), FLASH=0x1000, **FLASH)
    stm.__getattr__ = lambda name: MagicMock()
    monkeypatch.setitem(sys.modules, "stm", stm)
    given["uctypes"].bytearray_at = lambda at, size: memoryview(content)[at - BASE :][:size]
    board = importlib.import_module("boards.nucleo_l476rg")
    registers.log.clear()
    return SimpleNamespace(board=board, registers=registers, content=content)


def test_pages_are_read_where_they_are(nucleo: Any) -> None:
    pages = nucleo.board._Pages(0x74000, 24)
    assert (pages.SECTORS, pages.SECTOR, pages.UNIT) == (24, 2048, 8)
    nucleo.content[0x74000 + 2050 : 0x74000 + 2054] = b"here"
    buffer = bytearray(4)
    pages.read(2050, buffer)
    assert buffer == b"here"


@pytest.mark.parametrize("place", [0, 1, 7, 8, 15, 1024, 2039, 2040, 2047])
def test_a_page_with_any_byte_is_not_blank(nucleo: Any, place: int) -> None:
    pages = nucleo.board._Pages(0x74000, 24)
    assert pages.is_blank(3)
    nucleo.content[0x74000 + 3 * 2048 + place] = 0xFE
    assert not pages.is_blank(3) and pages.is_blank(2) and pages.is_blank(4)
    nucleo.content[0x74000 + 3 * 2048 : 0x74000 + 4 * 2048] = b"\0" * 2048
    assert not pages.is_blank(3)


def test_double_words_are_programmed_one_by_one(nucleo: Any) -> None:
    pages = nucleo.board._Pages(0x74000, 24)
    at = BASE + 0x74000 + 2048 + 8
    data = bytes(range(8)) + b"\xff" * 8 + b"\xff" * 4 + b"abcd" + b"abcd" + b"\xff" * 4
    nucleo.registers.reads[SR] = [1 << 16, 1 << 16, 0]
    pages.program(2048 + 8, data)
    assert nucleo.registers.log == [
        *UNLOCKED, (CR, 1), (at, 0x03020100), (at + 4, 0x07060504),
        (at + 16, 0xFFFFFFFF), (at + 20, 0x64636261), (at + 24, 0x64636261),
        (at + 28, 0xFFFFFFFF), LOCKED,
    ]  # fmt: skip
    assert nucleo.registers.reads[SR] == []


@pytest.mark.parametrize("error", [n for n in range(16) if 0xC3FA >> n & 1])
def test_whatever_the_controller_reports_is_an_error(nucleo: Any, error: int) -> None:
    pages = nucleo.board._Pages(0x74000, 24)
    nucleo.registers.reads[SR] = [1 << 16 | 1 << error, 1 << error]
    with pytest.raises(OSError) as raised:
        pages.program(0, b"12345678abcdefgh")
    assert raised.value.args == (5,)
    assert nucleo.registers.log[-1] == LOCKED and len(nucleo.registers.log) == 7
    nucleo.registers.log.clear()
    nucleo.registers.reads[SR] = [1 << error]
    nucleo.registers.there[ACR] = 0x604
    with pytest.raises(OSError):
        pages.erase(0)
    assert nucleo.registers.log[-4:] == [LOCKED, (ACR, 0x204), (ACR, 0x1204), (ACR, 0x604)]


@pytest.mark.parametrize("harmless", [0, 2, 10, 11, 17])
def test_what_is_no_error(nucleo: Any, harmless: int) -> None:
    nucleo.registers.reads[SR] = [1 << harmless]
    nucleo.board._Pages(0, 1).program(0, b"12345678")


@pytest.mark.parametrize(
    ("first", "sector", "number", "bank"),
    [(0x74000, 0, 232, 0), (0x74000, 23, 255, 0), (0x84000, 0, 8, 1), (0x74000, 24, 0, 1),
     (0xC0000, 119, 247, 1)],
)  # fmt: skip
def test_which_page_is_erased(nucleo: Any, first: int, sector: int, number: int, bank: int) -> None:
    nucleo.registers.there[ACR] = 0x704
    nucleo.board._Pages(first, 24).erase(sector)
    control = 2 | number << 3 | bank << 11
    assert nucleo.registers.log == [
        *UNLOCKED, (CR, control), (CR, control | 1 << 16), LOCKED,
        (ACR, 0x304), (ACR, 0x1304), (ACR, 0x704),
    ]  # fmt: skip


def test_where_the_pages_are(nucleo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    board = nucleo.board

    def where(pages: Any) -> tuple[int, int]:
        return pages._first, pages.SECTORS

    assert where(board.journal()) == (0x74000, 24)
    assert where(board.boot_record()) == (0x72800, 2)
    assert [where(board.slot(n)) for n in (0, 1)] == [(0x84000, 120), (0xC0000, 120)]
    monkeypatch.setitem(sys.modules, "vfs", module(VfsRom=lambda view: view))
    for n, first in ((0, 0x84000), (1, 0xC0000)):
        nucleo.content[first + 2048] = 0x41 + n
        system = board.slot_system(n)
        assert (system[0], len(system)) == (0x41 + n, 119 * 2048)
    nucleo.content[0x73800 : 0x73800 + 134] = bytes(range(134))
    nucleo.content[0x73800 + 134] = 0x77
    assert board.identity() == bytes(range(134))
