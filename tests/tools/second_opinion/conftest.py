"""Where a MicroPython for a board comes from: $TALLY_SECOND_FIRMWARE, a folder with `pico.uf2`,
`nucleo_l476rg.hex` and so on. Without it these tests are skipped, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs


@pytest.fixture
def firmware():
    def find(board: str, suffixes: tuple[str, ...] = needs.FIRMWARE_SUFFIXES) -> Path:
        needs.second_opinion[board].or_skip()
        path = needs.firmware_file(board, suffixes)
        assert path is not None, f"of {board} there is none that ends in {' or '.join(suffixes)}"
        return path

    return find
