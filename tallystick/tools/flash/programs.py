"""Boards that are written by a program of the field: OpenOCD with a debug probe, or dfu-util."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.emulator.boards.board import FLASH_BASE, Board
from tallystick.tools.flash.job import Job, Progress
from tallystick.tools.image.header import SIZE, Header
from tallystick.tools.image.outputs import intel_hex

_CONFIG = {"stm32l4": ("interface/stlink.cfg", "target/stm32l4x.cfg")}
_DBGMCU_IDCODE = 0xE0042000  # RM0351, section 48.6.1; 0x415: STM32L475, L476, L486
_DEVICES = {"stm32l4": "device id 0x415"}
_TIMEOUT_S = 180
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
        self._chip = board.chip
        if board.chip not in _CONFIG:
            raise RefusedError(f"{board.name} is not written with OpenOCD here.")
        self.name = "OpenOCD " + _CONFIG[board.chip][0].split("/")[1].removesuffix(".cfg")

    def identify(self) -> str:
        output = self._run(f"mdw {_DBGMCU_IDCODE:#x}")
        match = _MDW.search(output)
        if match is None:
            raise NoDeviceError(
                "The probe sees no chip.", todo="Check its cable and the board's power."
            )
        return f"device id {int(match[1], 16) & 0xFFF:#x}"

    def expected(self, board: Board) -> str:
        return _DEVICES[board.chip]

    def headers(self, board: Board) -> list[Header]:
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for number, slot in enumerate(board.slots):
                path = Path(folder) / f"slot{number}"
                self._run(
                    f"dump_image {{{path}}} {FLASH_BASE[board.chip] + slot.address:#x} {SIZE}"
                )
                header = Header.decode(path.read_bytes() if path.is_file() else b"")
                if header is not None:
                    found.append(header)
        return found

    def write(self, job: Job, progress: Progress) -> None:
        base = FLASH_BASE[job.board.chip]
        commands = []
        if job.erased is not None:
            commands.append(f"flash erase_address {base + job.erased.address:#x} {job.erased.size}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.hex"
            path.write_bytes(intel_hex([(job.address, job.data)]))
            self._run(*commands, f"flash write_image erase {{{path}}}")
        progress(1, 1)

    def verify(self, job: Job, progress: Progress) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.bin"
            path.write_bytes(job.data)
            self._run(f"verify_image {{{path}}} {job.address:#x} bin")
        progress(1, 1)

    def restart(self) -> None:
        self._run("reset run", halted=False)

    def close(self) -> None: ...

    def _run(self, *commands: str, halted: bool = True) -> str:
        interface, target = _CONFIG[self._chip]
        script = ["init", *(["reset halt"] if halted else []), *commands, "exit"]
        arguments = [self._program, "-f", interface, "-f", target]
        for command in script:
            arguments += ["-c", command]
        return _call(arguments)


class DfuTarget:
    """Implements job.Target for the STM32 boot ROM over USB (AN2606, AN3156)."""

    read_back = True

    def __init__(self, board: Board) -> None:
        self._program = require("dfu-util")
        self.name = "DFU 0483:df11"
        if board.chip != "stm32l4":
            raise RefusedError(f"{board.name} has no DFU boot ROM.", todo="Use --drive.")

    def identify(self) -> str:
        output = _call([self._program, "-l", "-d", "0483:df11"])
        if "Internal Flash" not in output:
            raise NoDeviceError(
                "No boot ROM of an STM32 answers on USB.", todo="Set BOOT0 and reset the board."
            )
        return "Internal Flash"

    def expected(self, board: Board) -> str:
        return "Internal Flash"  # it does not tell which chip it is

    def headers(self, board: Board) -> list[Header]:
        found = []
        for slot in board.slots:
            data = self._upload(FLASH_BASE[board.chip] + slot.address, SIZE)
            header = Header.decode(data)
            if header is not None:
                found.append(header)
        return found

    def write(self, job: Job, progress: Progress) -> None:
        base = FLASH_BASE[job.board.chip]
        if job.erased is not None:
            self._download(base + job.erased.address, b"\xff" * job.erased.size)
        self._download(job.address, job.data)
        progress(1, 1)

    def verify(self, job: Job, progress: Progress) -> None:
        if self._upload(job.address, len(job.data)) != job.data:
            raise RefusedError(
                "What the board has in flash is not what was written.",
                kept="The board is not usable as it is.",
                todo="Flash it again; if it happens again, its flash is worn out.",
            )
        progress(1, 1)

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
            arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
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
