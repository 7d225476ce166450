"""The first code of a device, on real MicroPython: it never writes to flash, whatever it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.emulator.boards import BOARDS
from tallystick.tools.image import romfs

FROZEN = Path(__file__).parents[3] / "firmware/boards/micropython"
STAGE = """
import sys, vfs
writes = []
data = bytearray(b"\\xff" * 64 * 4096)
class Flash:
    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = data[at : at + len(buf)]
    def writeblocks(self, block, buf, offset=0):
        writes.append(("write", block))
        at = block * 4096 + offset
        data[at : at + len(buf)] = buf
        return 0
    def ioctl(self, op, arg):
        if op == 6:
            writes.append(("erase", arg))
            data[arg * 4096 : (arg + 1) * 4096] = b"\\xff" * 4096
        return 64 if op == 4 else 4096 if op == 5 else 0
class Module: pass
slept = []
device = Flash()
for place in vfs.mount():
    vfs.umount(place[1])
{content}
before = bytes(data)
writes.clear()
sys.modules["rp2"] = module = Module()
module.Flash = lambda: device
sys.modules["uctypes"] = module = Module()
asked = []
def bytearray_at(address, n):
    asked.append((address, n))
    return memoryview(data)
module.bytearray_at = bytearray_at
sys.modules["machine"] = machine = Module()
machine.deepsleep = lambda: slept.append(1)
exec({source!r})
answer([bool(slept), writes, before == data, asked])
"""
GOOD = {
    "littlefs": """
vfs.VfsLfs2.mkfs(device)
vfs.mount(vfs.VfsLfs2(device), "/made")
open("/made/boot.py", "w").close()
vfs.umount("/made")
""",
    "romfs": f"data[:] = {romfs.pack({'boot.py': b''})!r} + data",
}
WITHOUT_PROGRAM = {
    "littlefs": "vfs.VfsLfs2.mkfs(device)",
    "romfs": f"data[:] = {romfs.pack({'readme': b''})!r} + data",
}
NOISE = "data[:] = bytes((i * 7 + (i >> 8)) & 255 for i in range(64 * 4096))"
BOARD_OF = {"rp2": "pico", "TALLY_NUCLEO_L476RG": "nucleo_l476rg"}


@pytest.mark.parametrize("place", BOARD_OF)
@pytest.mark.parametrize(
    ("content", "sleeps"),
    [
        (lambda _: "pass", True),
        (lambda _: NOISE, True),
        (WITHOUT_PROGRAM.get, True),
        (GOOD.get, False),
    ],
    ids=["blank", "noise", "without a program", "good"],
)
def test_nothing_is_ever_written(micropython, place, content, sleeps):
    source = (FROZEN / place / "_boot.py").read_text()
    board = BOARDS[BOARD_OF[place]]
    stage = STAGE.format(content=content(board.image_format), source=source)
    slept, writes, unchanged, asked = micropython.run(stage, heap="2m")
    assert writes == [] and unchanged
    assert slept is sleeps
    assert asked == ([list(board.mapped)] if board.mapped else [])


def test_every_frozen_start_is_tested():
    assert {path.name for path in FROZEN.iterdir() if path.is_dir()} == set(BOARD_OF)
