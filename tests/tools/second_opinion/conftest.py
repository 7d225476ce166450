"""Where a MicroPython for a board comes from: $TALLY_SECOND_FIRMWARE, a folder with `pico.uf2`,
`nucleo_l476rg.hex` and so on. Without it these tests are skipped, and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SUFFIXES = (".uf2", ".hex", ".elf", ".bin")


@pytest.fixture
def firmware():
    folder = os.environ.get("TALLY_SECOND_FIRMWARE", "")

    def find(board: str, suffixes: tuple[str, ...] = _SUFFIXES) -> Path:
        for suffix in suffixes if folder else ():
            path = Path(folder) / f"{board}{suffix}"
            if path.is_file():
                return path
        return pytest.skip(
            f"!! no second opinion on {board}: $TALLY_SECOND_FIRMWARE names no folder with a "
            f"MicroPython for it (docs/testing.md says how to get one)"
        )

    return find
