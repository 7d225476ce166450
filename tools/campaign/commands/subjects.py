"""The devices that campaigns are about, by their boards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator import boards
from tallystick.tools.campaign.card import scenarios
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.engine import hosts
from tallystick.tools.campaign.engine.subject import Scenario, Subject

BOARDS = (boards.KIT, boards.DEFAULT, boards.DEFAULT_READER)
SLOWER = {"card": 1, "reader": 20}  # what it takes to judge a state, beside a card's


def registry(device: str) -> dict[str, Any]:
    """Name → scenario of a device."""
    if device != "reader":
        return scenarios.REGISTRY
    # A card's campaign does without python-fido2.
    from tallystick.tools.campaign.reader import scenarios as reader_scenarios  # noqa: PLC0415

    return reader_scenarios.REGISTRY


def usual() -> tuple[str, ...]:
    """Boards of a campaign that names none: without python-fido2, which is the reader's host, only
    those of cards."""
    if hosts.of_readers():
        return BOARDS
    return tuple(board for board in BOARDS if board in boards.BOARDS)


def subject(board: str, root: Path | None = None, *, readable: bool = False) -> Subject:
    """For the firmware in `root` (default: the one in this repository). `readable`: tracebacks name
    lines."""
    if boards.find(board).device == "reader":
        from tallystick.tools.campaign.reader.workshop import ReaderWorkshop  # noqa: PLC0415

        return ReaderWorkshop.of(board, root, readable=readable)
    return CardWorkshop.of(board, root, readable=readable)


def share(board: str, states: int) -> int:
    """Of so many states of a card, how many to judge of the device on this board."""
    return -(-states // SLOWER[boards.find(board).device])


def find(names: str, chosen: Iterable[str] = BOARDS) -> dict[str, list[Scenario]]:
    """`names`: one scenario, several separated by commas, or `all`. Those of each of the boards;
    boards that have none of them are left out. Raises BadInputError."""
    wanted = None if names == "all" else names.split(",")
    found: dict[str, list[Scenario]] = {}
    known: dict[str, None] = {}
    for board in dict.fromkeys(chosen):
        there = registry(boards.find(board).device)
        known |= dict.fromkeys(there)
        scenarios_ = [there[name] for name in wanted or there if name in there]
        if scenarios_:
            found[board] = scenarios_
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise BadInputError(
            f"There is no scenario {unknown[0]!r} for {', '.join(dict.fromkeys(chosen))}.",
            todo=f"Use all, or of {', '.join(known)}.",
        )
    return found
