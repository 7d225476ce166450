"""Which chip is in which board."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.emulator.boards.board import Board
from tallystick.tools.second_opinion.chip import Chip, Segments

BOARDS = ("nucleo_l476rg", "pico")


def make(
    board: Board,
    segments: Segments,
    *,
    cell_mv: int = 3000,
    entropy: Iterator[int] | None = None,
) -> Chip:
    """Without power yet, with `segments` in its flash and the rest of it erased. `entropy` are its
    random bytes, where its source of them is emulated.

    Raises BadInputError without the package that the board's chip needs.
    """
    if board.chip == "rp2040":
        from tallystick.tools.second_opinion.rp2040 import Rp2040  # noqa: PLC0415

        return Rp2040(board, segments, cell_mv=cell_mv)
    from tallystick.tools.second_opinion.stm32l4.chip import Stm32L4  # noqa: PLC0415

    return Stm32L4(board, segments, cell_mv=cell_mv, entropy=entropy)
