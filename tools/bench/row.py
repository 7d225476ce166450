"""The shape of a figure."""

from __future__ import annotations

from typing import Any


def row(name: str, value: float, unit: str, aim: str, peer: str = "") -> dict[str, Any]:
    """One line of a benchmark, as `tally bench --json` prints it. unit: of `value` and `aim`."""
    return {"name": name, "value": value, "unit": unit, "aim": aim, "peer": peer}
