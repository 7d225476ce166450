"""Wiring: which part hangs on which pin. Matches `firmware/boards` one to one."""

from __future__ import annotations

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import nucleo_l476rg, pico, pico2, pico2_card
from tallystick.emulator.boards.board import Board

BOARDS: dict[str, Board] = {
    board.name: board for board in (nucleo_l476rg.BOARD, pico.BOARD, pico2_card.BOARD)
}
DEFAULT = nucleo_l476rg.BOARD.name
READERS: dict[str, Board] = {pico2.BOARD.name: pico2.BOARD}
DEFAULT_READER = pico2.BOARD.name


def find(name: str) -> Board:
    """Raises BadInputError for a board that is not there."""
    known = BOARDS | READERS
    if name not in known:
        raise BadInputError(f"There is no board {name!r}.", todo=f"Use one of: {', '.join(known)}.")
    return known[name]
