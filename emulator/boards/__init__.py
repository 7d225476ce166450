"""Wiring: which part hangs on which pin. Matches `firmware/boards` one to one."""

from __future__ import annotations

from importlib.metadata import entry_points

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import nucleo_l476rg, pico, pico2, pico2_card
from tallystick.emulator.boards.board import Board, CardBoard, ReaderBoard

GROUP = "tallystick.boards"
"""Entry points of other wheels: a name, and the module's `BOARD`, which has this name."""

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
