"""Boards that are written by a program of the field: OpenOCD with a debug probe, or dfu-util."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.emulator.boards.board import Board, Region
from tallystick.tools.flash.job import Job, Progress
from tallystick.tools.image.outputs import intel_hex

_TIMEOUT_S = 180
# As ST's boot ROMs name it over USB: `@Internal Flash  /0x08000000/512*0002Kg`, `04*016Kg,01*064Kg`
_LAYOUT = re.compile(r"@Internal Flash\s*/0x08000000/([^\s\"]+)")
_PAGES = re.compile(r"(\d+)\*(\d+)\s*([K]?)")
_THREE = re.compile(r"0x[0-9a-f]+: ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.IGNORECASE)
_MDW = re.compile(r"0x[0-9a-f]+: ([0-9a-f]{8})", re.IGNORECASE)


def require(program: str) -> str:
    """Path of an installed program. Raises NoDeviceError when it is not there."""
    path = shutil.which(program)
    if path is None:
        raise NoDeviceError(
            f"{program} is not installed.",
            todo=f"Install it with the system's packages: {program}.",
        )
    return path


class OpenOcdTarget:
    """Implements job.Target for one chip family, over SWD."""

    read_back = True

    def __init__(self, board: Board) -> None:
        self._program = require("openocd")
        if board.chip.openocd is None:
            raise RefusedError(f"{board.name} is not written with OpenOCD here.")
        self._way = board.chip.openocd
        self.name = "OpenOCD " + self._way.interface.split("/")[1].removesuffix(".cfg")

    def identify(self) -> str:
        """The chip's device id, in words. Raises NoDeviceError when the probe sees none."""
        return f"device id {self.word(self._way.identity_register) & 0xFFF:#x}"

    def word(self, address: int) -> int:
        """32 bits at an address. Raises NoDeviceError when the probe sees no chip."""
        match = _MDW.search(self.run(f"mdw {address:#x}"))
        if match is None:
            raise NoDeviceError(
                "The probe sees no chip.", todo="Check its cable and the board's power."
            )
        return int(match[1], 16)

    def expected(self, board: Board) -> str:
        return f"device id {self._way.identity:#x}"

    def unique(self) -> str:
        if not self._way.unique_register:
            return ""
        match = _THREE.search(self.run(f"mdw {self._way.unique_register:#x} 3"))
        return "" if match is None else "".join(match.groups())

    def read(self, board: Board, region: Region) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "read.bin"
            address = board.chip.flash_base + region.address
            self.run(f"dump_image {{{path}}} {address:#x} {region.size}")
            return path.read_bytes() if path.is_file() else b""

    def write(self, job: Job, progress: Progress) -> None:
        base = job.board.chip.flash_base
        commands = []
        if job.erased is not None:
            commands.append(f"flash erase_address {base + job.erased.address:#x} {job.erased.size}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.hex"
            path.write_bytes(intel_hex([(job.address, job.data), *job.extra]))
            self.run(*commands, f"flash write_image erase {{{path}}}")
        progress(1, 1)

    def verify(self, job: Job, progress: Progress) -> None:
        with tempfile.TemporaryDirectory() as folder:
            commands = []
            for number, (address, data) in enumerate(job.parts):
                path = Path(folder) / f"part{number}.bin"
                path.write_bytes(data)
                commands.append(f"verify_image {{{path}}} {address:#x} bin")
            self.run(*commands)
        progress(1, 1)

    def restart(self) -> None:
        self.run("reset run", halted=False)

    def close(self) -> None: ...

    def run(self, *commands: str, halted: bool = True) -> str:
        """What OpenOCD says to its commands, with the chip halted first. Raises RefusedError."""
        script = ["init", *(["reset halt"] if halted else []), *commands, "exit"]
        arguments = [self._program, "-f", self._way.interface, "-f", self._way.target]
        for command in script:
            arguments += ["-c", command]
        return _call(arguments)


class DfuTarget:
    """Implements job.Target for the boot ROM of ST's chips over USB (AN2606, AN3156)."""

    read_back = True

    def __init__(self, board: Board) -> None:
        self._program = require("dfu-util")
        self.name = "DFU 0483:df11"
        if not board.chip.dfu:
            raise RefusedError(f"{board.name} has no DFU boot ROM.", todo="Use --drive.")

    def identify(self) -> str:
        """The boot ROM does not name its chip, but the layout of its flash.
        Raises NoDeviceError."""
        layout = _LAYOUT.search(_call([self._program, "-l", "-d", "0483:df11"]))
        if layout is None:
            raise NoDeviceError(
                "No boot ROM of ST's answers on USB.", todo="Set BOOT0 and reset the board."
            )
        return ", ".join(
            f"{int(count)} pages of {int(size) * (1024 if kilo else 1)} bytes"
            for count, size, kilo in _PAGES.findall(layout[1])
        )

    def expected(self, board: Board) -> str:
        page = board.flash_timing.sector
        return f"{board.flash_size // page} pages of {page} bytes"

    def unique(self) -> str:
        return ""

    def read(self, board: Board, region: Region) -> bytes:
        return self._upload(board.chip.flash_base + region.address, region.size)

    def write(self, job: Job, progress: Progress) -> None:
        page = job.board.flash_timing.sector
        for number, (address, data) in enumerate(job.parts, 1):
            # Whole pages: the boot ROM leaves the rest of one that is begun as it was.
            self._download(address, data.ljust(-(-len(data) // page) * page, b"\xff"))
            progress(number, len(job.parts))

    def verify(self, job: Job, progress: Progress) -> None:
        """Reads both parts back; progress in parts. Raises RefusedError when they differ."""
        for number, (address, data) in enumerate(job.parts, 1):
            if self._upload(address, len(data)) != data:
                raise RefusedError(
                    f"What the board has at {address:#x} is not what was written.",
                    kept="The board is not usable as it is.",
                    todo="Flash it again; if it happens again, its flash is worn out.",
                )
            progress(number, len(job.parts))

    def restart(self) -> None:
        """Reset it by hand, with BOOT0 released: the boot ROM does not."""

    def close(self) -> None: ...

    def _download(self, address: int, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "part.bin"
            path.write_bytes(data)
            _call(
                [
                    self._program,
                    "-d",
                    "0483:df11",
                    "-a",
                    "0",
                    "-s",
                    f"{address:#x}",
                    "-D",
                    str(path),
                ]
            )

    def _upload(self, address: int, size: int) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "part.bin"
            where = f"{address:#x}:{size}"
            _call([self._program, "-d", "0483:df11", "-a", "0", "-s", where, "-U", str(path)])
            return path.read_bytes()


def _call(arguments: list[str]) -> str:
    try:
        result = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        raise NoDeviceError(f"{Path(arguments[0]).name} did not end in {_TIMEOUT_S} s.") from None
    output = result.stdout + result.stderr
    if result.returncode:
        last = [line for line in output.strip().splitlines() if line.strip()][-1:]
        raise RefusedError(
            f"{Path(arguments[0]).name} failed: {''.join(last)}",
            todo="Check the cable, the board's power and whether another program uses the probe.",
        )
    return output
