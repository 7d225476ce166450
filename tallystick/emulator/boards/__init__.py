"""Wiring: which part hangs on which pin. Matches `firmware/boards` one to one."""

from __future__ import annotations

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import nucleo_l476rg, pico
from tallystick.emulator.boards.board import Board

BOARDS: dict[str, Board] = {board.name: board for board in (nucleo_l476rg.BOARD, pico.BOARD)}
DEFAULT = nucleo_l476rg.BOARD.name


def find(name: str) -> Board:
    """Raises BadInputError for a board that is not there."""
    if name not in BOARDS:
        raise BadInputError(
            f"There is no board {name!r}.", todo=f"Use one of: {', '.join(BOARDS)}."
        )
    return BOARDS[name]
