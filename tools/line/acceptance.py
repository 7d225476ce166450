"""The self-test of a board that was just written, over its serial line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.selftest import checks
from tallystick.tools.selftest.batch import BatchBoard, append
from tallystick.tools.selftest.limits import measured, problems, read_limits


def over_a_line(
    port: str | None, limits: Path | None, results: Path
) -> Callable[[str], None] | None:
    """What tests the board that lies there; None without a port. results: what each measured, as
    `tally selftest --batch` keeps it. Raises BadInputError for limits that are none."""
    if port is None:
        return None
    allowed = read_limits(limits) if limits is not None else {}

    def test(serial: str) -> None:
        with CardConnection.open(port) as connection:
            board = checks.run(connection, None)
        if board.serial != serial:
            raise _failed(serial, f"it says that it is {board.serial}")
        wrong = problems(board, allowed)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append(results, BatchBoard(serial, now, not wrong, measured(board), tuple(wrong)))
        if wrong:
            raise _failed(serial, "; ".join(wrong))

    return test


def _failed(serial: str, why: str) -> RefusedError:
    return RefusedError(
        f"{serial} does not pass its self-test: {why}.",
        kept="It was not locked and got no label.",
        todo="Mend it and connect it again: it keeps its number.",
    )
