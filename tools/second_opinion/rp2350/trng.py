"""The random number generator (RP2350 data sheet, 12.12), from a source that is given."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_WORDS = 6
_VALID = 1


class Trng(RegisterBlock):
    """`word` gives 32 random bits."""

    def __init__(self, core: Cortex, word: Callable[[], int]) -> None:
        super().__init__(core, "TRNG", {0x100: 0xF, 0x10C: 0, 0x12C: 0, 0x130: 0xFFFF, 0x134: 0,
                                        0x138: 0})  # fmt: skip
        self._word = word
        self.reads.update({0x104: lambda: _VALID, 0x110: lambda: _VALID, 0x1B8: lambda: 0})
        self.writes.update({0x108: lambda _value: None, 0x140: lambda _value: None})
        for n in range(_WORDS):
            self.reads[0x114 + 4 * n] = self._word
