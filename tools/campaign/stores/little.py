"""littlefs on a flash whose power goes, and what its documents say judged.

They say (README, "Power-loss resilience", and DESIGN): a power failure at any moment leaves the
last known good state; what was written is there once the file is closed or synchronised, whole;
other files are as they were; a rename happens or does not. Its block device reports a block that
fails.
"""

from __future__ import annotations

from typing import Any

import littlefs
from littlefs import lfs

from tallystick.faults.flash import FaultyFlash, PowerLostError

BLOCK, BLOCKS, UNIT = 1024, 16, 16
_CORRUPT = -84  # LFS_ERR_CORRUPT: the block is bad
_LOST = -5  # LFS_ERR_IO


class _Device(littlefs.UserContext):
    """A block device on the flash. Nothing may be raised through littlefs's C code: when the power
    is gone every call fails, and whoever uses it is told at the end."""

    def __init__(self, flash: FaultyFlash) -> None:
        super().__init__(buffer=flash.memory)
        self._flash = flash
        self.off = False

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        at = block * cfg.block_size + off
        return self._flash.memory[at : at + size]

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        return self._do(lambda: self._flash.program(block * cfg.block_size + off, bytes(data)))

    def erase(self, cfg: Any, block: int) -> int:
        return self._do(lambda: self._flash.erase(block))

    def _do(self, change: Any) -> int:
        if self.off:
            return _LOST
        try:
            return 0 if change() else _CORRUPT
        except PowerLostError:
            self.off = True
            return _LOST


class LittleStore:
    """Two files that stay, one that is replaced again and again, one that is renamed over another.
    `promised`: what each file may hold; None: that it is not there."""

    def __init__(self) -> None:
        self.promised: dict[str, set[bytes | None]] = {}
        made = FaultyFlash(BLOCK * BLOCKS, BLOCK, UNIT)
        self._make(made)
        self._begin, self._promised = bytes(made.memory), dict(self.promised)

    def flash(self) -> FaultyFlash:
        flash = FaultyFlash(BLOCK * BLOCKS, BLOCK, UNIT)
        flash.memory[:] = self._begin
        self.promised = dict(self._promised)
        return flash

    def _make(self, flash: FaultyFlash) -> None:
        fs = self._mounted(_Device(flash), make=True)
        for _ in range(6):  # so that what is erased later was written
            self._write(fs, "large", b"l" * 2500)
        for name, content in (("kept", b"k" * 40), ("large", b"L" * 2500), ("state", b"0" * 100)):
            self._write(fs, name, content)
        fs.unmount()

    def work(self, flash: FaultyFlash) -> None:
        device = _Device(flash)
        try:
            fs = self._mounted(device)
            for number in (1, 2, 3):
                self._write(fs, "state", b"%d" % number * 100)
            self._write(fs, "other", b"o" * 1500)
            self._rename(fs, "other", "large")
            self._remove(fs, "kept")
            fs.unmount()
        except littlefs.LittleFSError:
            if not device.off:
                raise
        if device.off:
            raise PowerLostError

    def recover(self, flash: FaultyFlash) -> str:
        """Mounted, every file compared, one written, and all once more from a new mount."""
        device = _Device(flash)
        try:
            fs = self._mounted(device)
            broken = self._compared(fs)
            if not broken:
                self._write(fs, "after", b"a" * 300)
                fs.unmount()
                broken = self._compared(self._mounted(device))
        except littlefs.LittleFSError as error:
            broken = f"it says {error}"
        if device.off:
            raise PowerLostError
        return broken

    def _mounted(self, device: _Device, *, make: bool = False) -> Any:
        fs = littlefs.LittleFS(
            context=device, mount=False, block_size=BLOCK, block_count=BLOCKS, read_size=UNIT,
            prog_size=UNIT, cache_size=UNIT * 4, lookahead_size=8,
        )  # fmt: skip
        if make:
            fs.format()
        fs.mount()
        return fs

    def _write(self, fs: Any, name: str, content: bytes) -> None:
        before = self.promised.get(name, {None})
        # A file that is new is there, and empty, from when it is opened.
        self.promised[name] = before | {content} | ({b""} if None in before else set())
        # Not as a Python file: one whose closing fails would be closed once more.
        file = lfs.file_open(fs.fs, name, "w")
        lfs.file_write(fs.fs, file, content)
        lfs.file_close(fs.fs, file)
        self.promised[name] = {content}

    def _rename(self, fs: Any, old: str, new: str) -> None:
        """Both names change together; each is judged by itself."""
        content = self.promised[old]
        self.promised[new] = self.promised[new] | content
        self.promised[old] = content | {None}
        fs.rename(old, new)
        self.promised[new], self.promised[old] = content, {None}

    def _remove(self, fs: Any, name: str) -> None:
        self.promised[name] = self.promised[name] | {None}
        fs.remove(name)
        self.promised[name] = {None}

    def _compared(self, fs: Any) -> str:
        there = set(fs.listdir("/"))
        for name, may in self.promised.items():
            content = None
            if name in there:
                file = lfs.file_open(fs.fs, name, "r")
                content = bytes(lfs.file_read(fs.fs, file, lfs.file_size(fs.fs, file)))
                lfs.file_close(fs.fs, file)
            if content not in may:
                return f"{name} holds {_told(content)}"
            self.promised[name] = {content}
        return ""


def _told(content: bytes | None) -> str:
    return "nothing: it is not there" if content is None else f"{len(content)} other bytes"
