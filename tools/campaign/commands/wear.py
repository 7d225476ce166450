"""`tally campaign wear`: how many presses until the first sector of the journal wears out.

The firmware is run for two laps of its journal. Between two erases of the same sector lie as many
presses as it has records in a lap; the data sheet says how many erases a sector takes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import click

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import ExitCode
from tallystick.emulator import boards
from tallystick.emulator.parts.nor_flash import FlashOperation
from tallystick.tools import options
from tallystick.tools.campaign.card.oracle import CardOracle
from tallystick.tools.campaign.card.rig import SEEDS
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.engine.flash_state import FlashState

AIM = 1_000_000  # presses
COMMITTED = Path(__file__).with_name("wear.json")
BOARDS = (boards.KIT, boards.DEFAULT)


@dataclass(frozen=True)
class MeasuredWear:
    """endurance: erase cycles of a sector (data sheet). presses_per_erase: measured."""

    board: str
    endurance: int
    presses_per_erase: int
    presses: int


def measure(board: str) -> MeasuredWear:
    """Presses a card until every sector that it uses was erased twice."""
    workshop = CardWorkshop.of(board)
    base = workshop.base("before lap")  # what comes next is the second lap
    rig = workshop.rig("before lap")
    erased: dict[int, list[int]] = {}
    presses = 0

    def note(operation: FlashOperation) -> None:
        if operation.kind == "erase":
            erased.setdefault(operation.address, []).append(presses)

    try:
        rig.restore(FlashState(), CardOracle(SEEDS, base.known), b"wear")
        rig.on_operation = note
        rig.start()
        # Codes are not judged here: the oracle's tables end before two laps do.
        rig.look = lambda: None  # type: ignore[method-assign]
        while not any(len(times) > 1 for times in erased.values()):
            rig.press_quickly(slept=True)
            presses += 1
    finally:
        rig.close()
    gaps = [b - a for times in erased.values() for a, b in pairwise(times)]
    endurance = rig.card.board.flash_timing.endurance
    return MeasuredWear(board, endurance, min(gaps), endurance * min(gaps))


def committed() -> dict[str, int]:
    """Board → presses, as last committed."""
    figures: dict[str, int] = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return figures


@click.command()
@options.some_boards(list(boards.BOARDS), BOARDS)
@json_option
def wear(*, boards: tuple[str, ...], as_json: bool) -> None:
    """Presses until the first sector wears out: measured, and as last committed."""
    rows = [measure(board) for board in boards]
    if as_json:
        print_json([asdict(row) | {"committed": committed().get(row.board)} for row in rows])
    else:
        for row in rows:
            out().print(
                f"{row.board:>16}  {row.presses:>12,} presses  ({row.endurance:,} erases × "
                f"{row.presses_per_erase} presses; committed {committed().get(row.board, 0):,})"
            )
    if any(row.presses < max(AIM, committed().get(row.board, 0)) for row in rows):
        raise SystemExit(ExitCode.FAILED)
