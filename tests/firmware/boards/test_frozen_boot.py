"""The first code of a device, on real MicroPython: it never writes to flash, whatever it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

FROZEN = Path(__file__).parents[3] / "firmware/boards/micropython"
STAGE = """
import sys, vfs
writes = []
class Flash:
    def __init__(self, start=0, len=0):
        self.data = bytearray(b"\\xff" * 64 * 4096)
        {content}
    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = self.data[at : at + len(buf)]
    def writeblocks(self, block, buf, offset=0):
        writes.append(("write", block))
        at = block * 4096 + offset
        self.data[at : at + len(buf)] = buf
        return 0
    def ioctl(self, op, arg):
        if op == 6:
            writes.append(("erase", arg))
            self.data[arg * 4096 : (arg + 1) * 4096] = b"\\xff" * 4096
        return 64 if op == 4 else 4096 if op == 5 else 0
class Module: pass
slept = []
device = Flash()
for name in ("rp2", "pyb"):
    sys.modules[name] = module = Module()
    module.Flash = lambda start=0: device
sys.modules["machine"] = machine = Module()
machine.deepsleep = lambda: slept.append(1)
for place in vfs.mount():
    vfs.umount(place[1])
writes.clear()
exec({source!r})
answer([bool(slept), writes])
"""
GOOD = """
        vfs.VfsLfs2.mkfs(self)
        fs = vfs.VfsLfs2(self)
        vfs.mount(fs, "/made")
        open("/made/boot.py", "w").close()
        vfs.umount("/made")
"""
WITHOUT_PROGRAM = "vfs.VfsLfs2.mkfs(self)"
NOISE = "self.data[:] = bytes((i * 7 + (i >> 8)) & 255 for i in range(64 * 4096))"


@pytest.mark.parametrize("place", ["rp2", "TALLY_NUCLEO_L476RG"])
@pytest.mark.parametrize(
    ("content", "sleeps"),
    [("pass", True), (NOISE, True), (WITHOUT_PROGRAM, True), (GOOD, False)],
    ids=["blank", "noise", "without a program", "good"],
)
def test_nothing_is_ever_written(micropython, place, content, sleeps):
    source = (FROZEN / place / "_boot.py").read_text()
    slept, writes = micropython.run(STAGE.format(content=content, source=source), heap="2m")
    assert writes == []
    assert slept is sleeps
