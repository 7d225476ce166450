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
from tallystick.emulator.boards import ALL, find
from tallystick.emulator.boards.board import Board, CardBoard
from tallystick.tools import firmware

DEFINITIONS = "boards/micropython"
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
    """Where the first area that is not MicroPython's begins, as an offset in flash. Raises
    BadInputError for a board that is not there."""
    board = find(board_name)
    areas = [board.storage, board.identity, board.journal]
    areas += [board.record] if isinstance(board, CardBoard) and board.record else []
    return min(area.address for area in areas)


def build(sources: Path, folder: Path, board: Board) -> Build:
    """Builds the board's MicroPython. Raises TallyError when a program fails."""
    out = folder / board.name
    port = sources / "ports" / board.chip.stubs
    definition = firmware.root() / DEFINITIONS / (board.start_folder or board.chip.stubs)
    binary = out / "firmware.bin"
    if (port / "CMakeLists.txt").is_file():
        name = board.micropython
        _run(
            "cmake", "-S", str(port), "-B", str(out), *board.chip.build_options,
            f"-DMICROPY_BOARD={name}", f"-DMICROPY_BOARD_DIR={port / 'boards' / name}",
            f"-DMICROPY_FROZEN_MANIFEST={definition / 'manifest.py'}",
        )  # fmt: skip
        _run("cmake", "--build", str(out), "-j", str(os.cpu_count() or 1))
        _run("arm-none-eabi-objcopy", "-O", "binary", str(out / "firmware.elf"), str(binary))
    else:
        _run(
            "make", "-C", str(port), f"BOARD_DIR={definition}", f"BUILD={out}",
            f"-j{os.cpu_count() or 1}",
        )  # fmt: skip
    return Build(board.name, binary.stat().st_size, limit(board.name))


def _run(*command: str) -> None:
    """Raises TallyError with what the program said last."""
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise TallyError(
            f"{command[0]} failed:\n{said}",
            todo="Look at its last words; a clean build folder and whole submodules help most.",
        )


def main(arguments: Sequence[str]) -> None:
    """Raises BadInputError for sources or programs that are not there, and TallyError for a build
    that fails or does not fit."""
    sources, folder = Path(arguments[0]).resolve(), Path(arguments[1]).resolve()
    if not (sources / "mpy-cross/Makefile").is_file():
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
    by_name = {board.micropython: board for board in ALL.values()}  # of equal ones, one
    builds = [build(sources, folder, board) for board in by_name.values()]
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
