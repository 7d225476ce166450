"""Firmware and emulator agree on every card board: pins, flash map, heap. A probe runs the board's
own file on emulated hardware and says what it sees; a new board is under test once it is in the
emulator's table (docs/guides/porting.md)."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tallystick.emulator.boards import ALL, BOARDS
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.tools.image import filesystem
from tallystick.tools.image.folder import from_folder

FIRMWARE = Path(__file__).parents[3] / "firmware"
PATTERN = 16  # bytes: every run of this size in flash tells its own address

PROBE = """
import board
{body}
raise RuntimeError("SEEN" + repr(seen) + "SEEN")
"""
FLASH = """
def head(sectors, sector=0):
    buf = bytearray(16)
    sectors.read(sector * sectors.SECTOR, buf)
    return (sectors.SECTORS, sectors.SECTOR, sectors.UNIT, bytes(buf))
def mounted(n):
    try:
        board.slot_system(n)
    except OSError:
        return False
    return True
seen = {
    "journal": head(board.journal()),
    "last": head(board.journal(), board.journal().SECTORS - 1)[3],
    "record": head(board.boot_record()),
    "slots": [head(board.slot(n)) for n in (0, 1)],
    "mounted": [mounted(n) for n in (0, 1)],
    "identity": board.identity(),
    "name": board.NAME,
    "heap": board.HEAP,
}
"""
PINS = "board.start()\nseen = (bool(board.button()), bool(board.docked()))"
PARTS = """
display = board.display()
display.fb.fill_rect(10, 10, 40, 20, display.ink)
display.show()
seen = (board.cell_mv(), len(board.random(9)))
board.serial().write(repr(seen).encode())
while True:
    board.wait(1000)
"""


@pytest.fixture(params=BOARDS)
def board(request):
    return BOARDS[request.param]


@pytest.fixture
def probe(board, tmp_path):
    """probe(body, prepare): runs a piece of firmware on the board; what it saw, and the card."""
    cards = []

    def run(body, prepare=lambda card: None, returns=True):
        folder = tmp_path / "probe"
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "boards").mkdir(exist_ok=True)
        for path in (FIRMWARE / "boards").glob("*.py"):
            if path.stem in ("pico", "rp2_flash"):
                (folder / "boards" / path.name).write_text(path.read_text())
        for name in ("memory_lcd", "ssd1306"):
            (folder / "lib" / f"{name}.py").write_text(
                (FIRMWARE / "lib" / f"{name}.py").read_text()
            )
        source = (FIRMWARE / "boards" / f"{board.name}.py").read_text()
        (folder / "board.py").write_text(source)
        (folder / "main.py").write_text(PROBE.format(body=body))
        card = Card(from_folder(folder, board.name), seed=1)
        cards.append(card)
        prepare(card)
        if not returns:
            card.power_on()
            card.run_for(100)
            return card
        with pytest.raises(FirmwareCrashError) as caught:
            card.power_on()
            card.run_for(100)
        return ast.literal_eval(caught.value.what.split("SEEN")[1]), card

    yield run
    for card in cards:
        card.close()


def marked(address):
    return b"@" + address.to_bytes(7, "big") + bytes(8)


def test_flash_map_name_and_heap(board, probe):
    sector = board.flash_timing.sector
    regions = [board.identity, board.journal, board.record, *board.slots]

    def mark(card):
        for region in regions:
            content = b"".join(marked(at) for at in range(region.address, region.end, PATTERN))
            card.flash.load(region.address, content)

    seen, _ = probe(FLASH, mark)
    unit = board.flash_timing.program_unit

    def expect(region):
        return (region.size // sector, sector, unit, marked(region.address))

    assert seen["journal"] == expect(board.journal)
    assert seen["last"] == marked(board.journal.end - sector)
    assert seen["record"] == expect(board.record)
    assert seen["slots"] == [expect(slot) for slot in board.slots]
    assert seen["mounted"] == [False, False]  # what is there is no file system
    assert seen["identity"][:16] == marked(board.identity.address)
    assert len(seen["identity"]) == 134
    assert (seen["name"], seen["heap"]) == (board.name, board.heap)


MOUNT = """
import vfs
vfs.mount(board.slot_system({n}), "/slot")
seen = open("/slot/name").read()
"""


@pytest.mark.parametrize("n", [0, 1])
def test_the_file_system_of_a_slot(board, probe, n):
    sector = board.flash_timing.sector

    def fill(card):
        for number, slot in enumerate(board.slots):
            files = {"name": f"slot {number}".encode()}
            content = filesystem.pack(files, board, room=slot.size - sector, what="test")
            card.flash.load(slot.address + sector, content)

    assert probe(MOUNT.format(n=n), fill)[0] == f"slot {n}"


@pytest.mark.parametrize("pressed", [False, True])
@pytest.mark.parametrize("docked", [False, True])
def test_button_and_dock(board, probe, pressed, docked):
    def hold(card):
        card.mcu.set_input(board.button_pin, board.button_active ^ (not pressed))
        card.mcu.set_input(board.dock_pin, board.dock_active ^ (not docked))

    assert probe(PINS, hold)[0] == (pressed, docked)


def test_display_serial_line_and_cell(board, probe):
    sent = bytearray()

    def listen(card):
        card.mcu.uart.on_send = sent.extend

    card = probe(PARTS, listen, returns=False)
    millivolts, size = ast.literal_eval(sent.decode())
    assert not card.frame().blank
    assert -30 < card.supply.voltage_mv() - millivolts < 400  # it was under load
    assert size == 9


def test_every_board_is_in_both_places():
    kept = {path.stem for path in (FIRMWARE / "boards").glob("*.py")}
    shared = {"once", "rom", "rp2_flash"}  # those are of chips that several boards have
    assert kept - shared == set(ALL)


def test_time_that_loading_takes_is_not_forgotten(board):
    """ROMFS is executed where it lies; LittleFS is read first, which costs, too."""
    assert board.import_us_per_256 > 0
    assert (board.read_us_per_256 > 0) == (board.image_format == "littlefs")


def test_areas_do_not_overlap_and_lie_on_whole_sectors(board):
    sector = board.flash_timing.sector
    areas = sorted(
        [board.boot, *board.slots, board.record, board.identity, board.journal],
        key=lambda area: area.address,
    )
    for area, following in pairwise(areas):
        assert area.end <= following.address
    for area in areas:
        assert area.address % sector == 0 and area.size % sector == 0
        assert area.end <= board.flash_size
    assert board.boot.address == board.storage.address
    assert all(slot.end <= board.storage.end for slot in board.slots)


ASKED_FOR = {
    "NAME",
    "HEAP",
    "COLD",
    "BUTTON",
    "DOCK",
    "CLEAN",
    "EMPTY",
    "ticks_ms",
    "start",
    "off",
    "button",
}
ASKED_FOR |= {"docked", "wait", "serial", "display", "cell_mv", "random", "identity", "journal"}
ASKED_FOR |= {"boot_record", "slot", "slot_system", "restart"}


def uses_of_board(folders):
    """Attributes of the board that the firmware in `folders` uses."""
    for path in [path for folder in folders for path in folder.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if owner in ("board", "_board"):
                    yield node.attr


def test_the_board_has_what_the_firmware_asks_for(board, probe):
    used = set(uses_of_board([FIRMWARE / "card", FIRMWARE / "boot"]))
    assert used <= ASKED_FOR, "docs/guides/porting.md lists what a board has: add to both"
    body = f"seen = [name for name in {sorted(ASKED_FOR)!r} if not hasattr(board, name)]"
    assert probe(body)[0] == []


def test_the_porting_guide_names_tests_and_functions_that_exist():
    guide = (FIRMWARE.parent / "docs" / "guides" / "porting.md").read_text()
    folders = (Path(__file__).parent, FIRMWARE.parent / "tests" / "house")
    here = "".join(path.read_text() for one in folders for path in one.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", guide))
    assert named and all(f"def {name}(" in here for name in named)
    section = guide.split("## What a card's board file has")[1].split("## Steps")[0]
    listed = set(re.findall(r"`(\w+)(?:\([\w, ]*\))?`", section))
    assert listed >= ASKED_FOR


def test_every_board_is_in_the_page_of_boards():
    page = (FIRMWARE.parent / "docs" / "reference" / "boards.md").read_text()
    for name in ALL:
        assert f"`{name}`" in page
