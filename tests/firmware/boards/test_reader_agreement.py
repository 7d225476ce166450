"""Firmware and emulator agree on the reader's board, too: a probe runs its file on the emulated
hardware and says what it sees."""

from __future__ import annotations

import ast
from itertools import pairwise

import pytest

from tallystick.emulator.boards import READERS
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.image import filesystem
from tallystick.tools.image.folder import from_folder
from tests.firmware.boards.test_agreement import FIRMWARE, PATTERN, PROBE, marked, uses_of_board

FLASH = """
def head(sectors, sector=0):
    buf = bytearray(16)
    sectors.read(sector * sectors.SECTOR, buf)
    return bytes(buf)
records = board.records()
seen = {
    "name": board.NAME,
    "records": (records.SECTORS, records.SECTOR, records.UNIT),
    "first": head(records),
    "last": head(records, records.SECTORS - 1),
    "identity": bytes(board.identity(16, 16)),
    "record": head(board.boot_record()),
    "slots": [head(board.slot(n)) for n in (0, 1)],
    "sizes": [board.slot(0).SECTORS, board.slot(1).SECTORS, board.boot_record().SECTORS],
}
"""
MOUNT = """
import vfs
vfs.mount(board.slot_system({n}), "/slot")
seen = open("/slot/name").read()
"""
PINS = "seen = bool(board.touched())"
LINE = """
board.sensor_uart().write(b"to the module")
board.led(True)
while True:
    board.wait(1000)
"""
ASKED_FOR = {
    "NAME", "cold", "restart", "sensor_uart", "hid", "wait", "touched", "led", "random", "root",
    "identity", "records", "once", "boot_record", "slot", "slot_system",
    "attestation_key",
}  # fmt: skip


@pytest.fixture(params=READERS)
def board(request):
    return READERS[request.param]


@pytest.fixture
def start(board, tmp_path):
    """start(body, prepare): the reader with a piece of firmware, not powered."""
    made = []

    def make(body):
        source = (FIRMWARE / "boards" / f"{board.name}.py").read_text()
        (tmp_path / "board.py").write_text(source)
        shared = tmp_path / "boards" / "rp2_flash.py"
        shared.parent.mkdir(exist_ok=True)
        shared.write_text((FIRMWARE / "boards" / shared.name).read_text())
        (tmp_path / "main.py").write_text(PROBE.format(body=body))
        reader = Reader(from_folder(tmp_path, board.name), identity=b"", seed=1)
        made.append(reader)
        return reader

    yield make
    for reader in made:
        reader.close()


def seen(reader):
    with pytest.raises(FirmwareCrashError) as caught:
        reader.power_on()
    return ast.literal_eval(caught.value.what.split("SEEN")[1])


def test_name_and_flash_map(board, start):
    reader = start(FLASH)
    for region in (board.identity, board.journal, board.record, *board.slots):
        content = b"".join(marked(at) for at in range(region.address, region.end, PATTERN))
        reader.flash.load(region.address, content)
    sector = board.flash_timing.sector
    assert seen(reader) == {
        "name": board.name,
        "records": (board.journal.size // sector, sector, board.flash_timing.program_unit),
        "first": marked(board.journal.address),
        "last": marked(board.journal.end - sector),
        "identity": marked(board.identity.address + 16),
        "record": marked(board.record.address),
        "slots": [marked(slot.address) for slot in board.slots],
        "sizes": [one.size // sector for one in (*board.slots, board.record)],
    }


@pytest.mark.parametrize("n", [0, 1])
def test_the_file_system_of_a_slot(board, start, n):
    reader, sector = start(MOUNT.format(n=n)), board.flash_timing.sector
    for number, slot in enumerate(board.slots):
        files = {"name": f"slot {number}".encode()}
        content = filesystem.pack(files, board, room=slot.size - sector, what="test")
        reader.flash.load(slot.address + sector, content)
    assert seen(reader) == f"slot {n}"


@pytest.mark.parametrize("touched", [False, True])
def test_touch(board, start, touched):
    reader = start(PINS)
    reader.mcu.set_input(board.touch_pin, board.touch_active ^ (not touched))
    assert seen(reader) is touched


def test_the_sensors_line_and_the_light(start):
    reader = start(LINE)
    sent = bytearray()
    reader.mcu.uart.on_send = sent.extend
    reader.power_on()
    assert sent == b"to the module"
    assert reader.led


def test_areas_do_not_overlap_and_lie_on_whole_sectors(board):
    sector = board.flash_timing.sector
    areas = [board.boot, *board.slots, board.record, board.identity, board.journal]
    for area, following in pairwise(areas):
        assert area.end <= following.address
    assert all(area.address % sector == 0 and area.size % sector == 0 for area in areas)
    assert areas[-1].end <= board.storage.end <= board.flash_size
    assert board.boot.address == board.file_system.address == board.storage.address


def test_the_board_has_what_the_firmware_asks_for(start):
    used = set(uses_of_board([FIRMWARE / "reader", FIRMWARE / "lib"]))
    assert used <= ASKED_FOR
    body = f"seen = [name for name in {sorted(ASKED_FOR)!r} if not hasattr(board, name)]"
    assert seen(start(body)) == []
