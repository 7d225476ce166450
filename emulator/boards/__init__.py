"""Wiring: which part hangs on which pin. Matches `firmware/boards` one to one."""

from __future__ import annotations

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import nucleo_l476rg, pico, pico2, pico2_card
from tallystick.emulator.boards.board import Board, CardBoard, ReaderBoard

BOARDS: dict[str, CardBoard] = {
    board.name: board for board in (nucleo_l476rg.BOARD, pico.BOARD, pico2_card.BOARD)
}
DEFAULT = nucleo_l476rg.BOARD.name
KIT = pico.BOARD.name
"""The development kit: flash beside the chip, which says nothing of a failure."""
READERS: dict[str, ReaderBoard] = {pico2.BOARD.name: pico2.BOARD}
DEFAULT_READER = pico2.BOARD.name
ALL: dict[str, Board] = {**BOARDS, **READERS}


def find(name: str) -> Board:
    """Raises BadInputError for a board that is not there."""
    if name not in ALL:
        raise BadInputError(f"There is no board {name!r}.", todo=f"Use one of: {', '.join(ALL)}.")
    return ALL[name]
