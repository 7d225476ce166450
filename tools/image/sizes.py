"""What an image may take, and what it took when it was last looked at.

The committed figures are in `sizes.json`. A build that grows past one by more than the slack says
so in the tests, so that growth is a decision.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator import boards, coverage
from tallystick.tools.image.build import build
from tallystick.tools.image.built import FOREIGN, Built

COMMITTED = Path(__file__).with_name("sizes.json")
_BYTECODE_LIMIT = {"card": 48 * 1024, "reader": 128 * 1024}


@dataclass(frozen=True)
class Row:
    """`value`, `limit` and `committed` in bytes; committed is 0 where no figure was kept."""

    name: str
    value: int
    limit: int
    committed: int

    @property
    def good(self) -> bool:
        return self.value <= self.limit

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "good": self.good}


def compare(built: Built) -> list[Row]:
    board = built.board
    if built.device == FOREIGN:
        return [Row("file system", len(built.file_system), board.storage.size, 0)]
    kept = json.loads(COMMITTED.read_text(encoding="utf-8")).get(f"{built.device}-{board.name}", {})
    room = (
        board.slots[0].size - board.flash_timing.sector if board.slots else board.file_system.size
    )
    rows = [
        ("bytecode", built.bytecode_size, _BYTECODE_LIMIT[built.device]),
        ("file system", len(built.file_system), room),
    ]
    if board.boot is not None:
        rows.append(("boot stage", built.boot_size, board.boot.size))
    return [Row(name, value, limit, kept.get(name, 0)) for name, value, limit in rows]


def require(rows: list[Row]) -> None:
    """Raises BadInputError when something does not fit. Where coverage is measured, the counters
    are not what the limits are for."""
    if coverage.room():
        return
    for row in rows:
        if not row.good:
            raise BadInputError(
                f"The {row.name} takes {row.value:,} bytes; {row.limit:,} is the limit.",
                todo="Take modules out, or make them smaller.",
            )


def record() -> None:
    """Writes the figures of every device on every board to `sizes.json`."""
    kept = {}
    for board in boards.ALL.values():
        built = build(board.device, board.name, "0.1.0")
        kept[f"{board.device}-{board.name}"] = {row.name: row.value for row in compare(built)}
    COMMITTED.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
