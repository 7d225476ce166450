"""Runs the conformance script under MicroPython itself, on chips that are emulated instruction by
instruction.

    python -m tests.emulator.conformance.record FOLDER [PROGRAM …]

writes `transcripts/`. FOLDER has a MicroPython for each board: `pico.uf2`, `pico2.elf`,
`nucleo_l476rg.hex` and so on (docs/reference/boards.md says how they are built).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tallystick.emulator.boards import find
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.rp2350.board import ChipBoard
from tests.emulator.conformance.calls import SCRIPTS, Script, run_until_end
from tests.needs import FIRMWARE_SUFFIXES

CHIPS = {
    "pico": "pico",
    "pico2": "pico2",
    "pico2_card": "pico2",
    "nucleo_l476rg": "nucleo_l476rg",
}
"""Board → the name of its MicroPython's file, without what it ends in."""


def firmware_file(folder: Path, board: str) -> Path | None:
    files = (folder / f"{CHIPS[board]}{suffix}" for suffix in FIRMWARE_SUFFIXES)
    return next((path for path in files if path.is_file()), None)


def on_the_chip(script: Script, firmware: Path) -> str:
    board = script.board
    segments = read_firmware(firmware, find(board))
    flash = [*segments, *script.image().segments]
    chip = ChipBoard(find(board), flash) if board == "pico2" else make(find(board), flash)
    chip.power_on()
    return script.transcript(run_until_end(chip.sent, chip.run))


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or SCRIPTS:
        script = SCRIPTS[name]
        firmware = firmware_file(folder, script.board)
        if firmware is not None:
            script.recorded.write_text(on_the_chip(script, firmware))


if __name__ == "__main__":
    main()
