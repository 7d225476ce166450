"""Where a MicroPython for a board comes from: $TALLY_SECOND_FIRMWARE, a folder with `pico.uf2`,
`nucleo_l476rg.hex` and so on. Without it these tests are skipped, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs


@pytest.fixture
def firmware():
    def find(board: str) -> Path:
        needs.second_opinion[board].or_skip()
        path = needs.second_firmware(board)
        assert path is not None
        return path

    return find
