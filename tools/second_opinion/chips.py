"""Which chip is in which board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import CardBoard
from tallystick.tools.second_opinion.chip import Chip, Segments

BOARDS = ("nucleo_l476rg", "pico", "pico2_card")
_RANDOM = "mp_hal_get_random"  # MicroPython's, where its symbols are known


def make(
    board: CardBoard,
    segments: Segments,
    *,
    cell_mv: int = 3000,
    entropy: Iterator[int] | None = None,
    symbols: Mapping[str, int] | None = None,
) -> Chip:
    """Without power yet, with `segments` in its flash and the rest of it erased. `entropy` are its
    random bytes, where its source of them is emulated, or given by the program's `symbols`.

    Raises BadInputError without the package that the board's chip needs, or without the symbol.
    """
    if board.chip.name == "rp2040":
        from tallystick.tools.second_opinion.rp2040 import Rp2040  # noqa: PLC0415

        return Rp2040(board, segments, cell_mv=cell_mv)
    if board.chip.name == "rp2350":
        from tallystick.tools.second_opinion.rp2350.card import ChipCard  # noqa: PLC0415

        at = (symbols or {}).get(_RANDOM)
        if entropy is not None and at is None:
            raise BadInputError(
                f"Where this MicroPython draws its random numbers ({_RANDOM}) is not known.",
                todo="Give the .elf of its build, which has symbols, in place of the .uf2.",
            )
        return ChipCard(board, segments, cell_mv=cell_mv, entropy=entropy, random_at=at)
    from tallystick.tools.second_opinion.stm32l4.chip import Stm32L4  # noqa: PLC0415

    return Stm32L4(board, segments, cell_mv=cell_mv, entropy=entropy)
