"""Builds MicroPython for the boards from its own sources, and prints sizes beside the flash map.

    python -m tallystick.tools.image.board_builds SOURCES FOLDER

SOURCES is a checkout of MicroPython 1.28 or later with its submodules. Nothing is fetched. Needs
gcc-arm-none-eabi, libnewlib-arm-none-eabi, libstdc++-arm-none-eabi-newlib, cmake and make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.boards import find
from tallystick.tools import firmware

DEFINITIONS = "boards/micropython"
STM32 = "TALLY_NUCLEO_L476RG"
_RP2 = {"pico": "RPI_PICO", "pico2": "RPI_PICO2"}
_TOOLS = ("make", "cmake", "arm-none-eabi-gcc", "arm-none-eabi-objcopy")


@dataclass(frozen=True)
class Build:
    """Bytes: what MicroPython takes, and where the board's own areas begin."""

    board: str
    size: int
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.board:<16}{self.size:>9,} of {self.limit:,} bytes "
            f"({self.limit - self.size:,} left before its areas begin)"
        )


def limit(board_name: str) -> int:
    """Where the first area that is not MicroPython's begins, as an offset in flash."""
    board = find(board_name)
    areas = [board.storage, board.identity, board.journal, *board.slots]
    return min(area.address for area in areas + ([board.record] if board.record else []))


def build_stm32(sources: Path, folder: Path) -> Build:
    out = folder / "nucleo_l476rg"
    definition = firmware.root() / DEFINITIONS / STM32
    _run(
        "make", "-C", str(sources / "ports/stm32"), f"BOARD_DIR={definition}", f"BUILD={out}",
        f"-j{os.cpu_count() or 1}",
    )  # fmt: skip
    image = (out / "firmware.bin").stat().st_size
    return Build("nucleo_l476rg", image, limit("nucleo_l476rg"))


def build_rp2(sources: Path, folder: Path, board: str) -> Build:
    out = folder / board
    port = sources / "ports/rp2"
    manifest = firmware.root() / DEFINITIONS / "rp2/manifest.py"
    name = _RP2[board]
    _run(
        "cmake", "-S", str(port), "-B", str(out), "-DPICO_NO_PICOTOOL=1",
        f"-DMICROPY_BOARD={name}", f"-DMICROPY_BOARD_DIR={port / 'boards' / name}",
        f"-DMICROPY_FROZEN_MANIFEST={manifest}",
    )  # fmt: skip
    _run("cmake", "--build", str(out), "-j", str(os.cpu_count() or 1))
    binary = out / "firmware.bin"
    _run("arm-none-eabi-objcopy", "-O", "binary", str(out / "firmware.elf"), str(binary))
    return Build(board, binary.stat().st_size, limit(board))


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise TallyError(
            f"{command[0]} failed:\n{said}",
            todo="Look at its last words; a clean build folder and whole submodules help most.",
        )


def main(arguments: Sequence[str]) -> None:
    sources, folder = Path(arguments[0]).resolve(), Path(arguments[1]).resolve()
    if not (sources / "ports/stm32/Makefile").is_file():
        raise BadInputError(
            f"{sources} is no checkout of MicroPython.", todo="Name its top folder."
        )
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise BadInputError(
            f"Not installed: {', '.join(missing)}.",
            todo="apt install gcc-arm-none-eabi libnewlib-arm-none-eabi "
            "libstdc++-arm-none-eabi-newlib cmake make",
        )
    folder.mkdir(parents=True, exist_ok=True)
    _run("make", "-C", str(sources / "mpy-cross"), f"-j{os.cpu_count() or 1}")
    builds = [build_stm32(sources, folder)]
    builds += [build_rp2(sources, folder, board) for board in _RP2]
    sys.stdout.write("".join(f"{build}\n" for build in builds))
    if any(build.size > build.limit for build in builds):
        raise TallyError(
            "A MicroPython reaches into the areas behind it.", todo="Leave modules out."
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TallyError as error:
        sys.exit(str(error))
