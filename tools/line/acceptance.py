"""The self-test of a board that was just written, over its serial line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.selftest import checks
from tallystick.tools.selftest.limits import measured, problems, read_limits


def over_a_line(port: str | None, limits: Path | None) -> Callable[[str], dict[str, float]] | None:
    """What tests the board that lies there; None without a port. Raises BadInputError for limits
    that are none."""
    if port is None:
        return None
    allowed = read_limits(limits) if limits is not None else {}

    def test(serial: str) -> dict[str, float]:
        with CardConnection.open(port) as connection:
            board = checks.run(connection, None)
        wrong = problems(board, allowed)
        if board.serial != serial:
            wrong.append(f"it says that it is {board.serial}")
        if wrong:
            raise RefusedError(
                f"{serial} does not pass its self-test: {'; '.join(wrong)}.",
                kept="It was not locked and got no label.",
                todo="Mend it and connect it again: it keeps its number.",
            )
        return measured(board)

    return test
