"""Wiring: which part hangs on which pin. Matches `firmware/boards` one to one.

A board is a module of this folder with a `BOARD`; no list has to be told. Other wheels bring
boards by entry points.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board, CardBoard, ReaderBoard

GROUP = "tallystick.boards"
"""Entry points of other wheels: a name, and the module's `BOARD`, which has this name."""


def _here() -> dict[str, Board]:
    """Of this folder, by name."""
    modules = (import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__))
    boards = [module.BOARD for module in modules if hasattr(module, "BOARD")]
    return {board.name: board for board in boards}


ALL: dict[str, Board] = _here()
BOARDS: dict[str, CardBoard] = {
    name: board for name, board in ALL.items() if isinstance(board, CardBoard)
}
READERS: dict[str, ReaderBoard] = {
    name: board for name, board in ALL.items() if isinstance(board, ReaderBoard)
}
DEFAULT = "nucleo_l476rg"
KIT = "pico"
"""The development kit: flash beside the chip, which says nothing of a failure."""
DEFAULT_READER = "pico2"


def find(name: str) -> Board:
    """Raises BadInputError for a board that is not there."""
    if name in ALL:
        return ALL[name]
    others = entry_points(group=GROUP)
    for other in others:
        if other.name == name:
            return _of_another(name, other.load())
    names = ", ".join((*ALL, *sorted(others.names)))
    raise BadInputError(f"There is no board {name!r}.", todo=f"Use one of: {names}.")


def card_board_names() -> tuple[str, ...]:
    """Ours that cards are made of, and those that other wheels bring."""
    return (*BOARDS, *sorted(entry_points(group=GROUP).names))


def _of_another(name: str, board: object) -> Board:
    """A board that another wheel brings."""
    if not isinstance(board, Board) or board.name != name:
        raise BadInputError(
            f"The entry point {name!r} of {GROUP} is not the board of this name.",
            kept="Nothing was started.",
            todo="Ask whoever made that package; docs/guides/porting.md says what it must be.",
        )
    return board
