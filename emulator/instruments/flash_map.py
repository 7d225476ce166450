"""The flash as a map: what each sector is for, how full it is and how worn."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board, Region
from tallystick.emulator.instruments.canvas import Canvas, Png, Svg
from tallystick.emulator.parts.nor_flash import NorFlash

FORMATS = (".svg", ".png", ".json")
COLOURS = {
    "firmware of the port": "#dfe4e9", "boot stage": "#8e5bb5", "slot A": "#0b6bcb",
    "slot B": "#5aa0e0", "boot record": "#c8553d", "identity": "#2a9d8f", "journal": "#e9a23b",
    "file system": "#0b6bcb", "free": "#f0f2f4",
}  # fmt: skip


@dataclass(frozen=True)
class Sector:
    """`used` is the fraction of bytes that are not blank; `wear` of the endurance."""

    address: int
    size: int
    use: str
    used: float
    erases: int
    wear: float


def sectors(board: Board, flash: NorFlash) -> list[Sector]:
    """Every erase sector, in order of address."""
    size = flash.timing.sector
    regions = _regions(board)
    result = []
    for number in range(flash.size // size):
        address = number * size
        content = flash.memory[address : address + size]
        erases = flash.erases.get(number, 0)
        result.append(
            Sector(
                address,
                size,
                _use(regions, address, board.storage.address),
                1 - content.count(0xFF) / size,
                erases,
                erases / flash.timing.endurance,
            )
        )
    return result


def _regions(board: Board) -> list[tuple[str, Region]]:
    found = [("identity", board.identity), ("journal", board.journal)]
    if board.record is not None:
        found.append(("boot record", board.record))
    if board.boot is not None:
        found.append(("boot stage", board.boot))
    found += [(f"slot {'AB'[number]}", slot) for number, slot in enumerate(board.slots)]
    if not board.slots:
        found.append(("file system", board.file_system))
    return found


def _use(regions: list[tuple[str, Region]], address: int, storage: int) -> str:
    for name, region in regions:
        if region.address <= address < region.end:
            return name
    return "firmware of the port" if address < storage else "free"


def check(path: Path | None) -> None:
    """Raises BadInputError when `write` could not write `path`."""
    if path is not None and path.suffix not in FORMATS:
        raise BadInputError(
            f"{path} has none of the endings {', '.join(FORMATS)}.",
            todo="Name the map with one of them.",
        )


def write(board: Board, flash: NorFlash, path: Path) -> None:
    """Writes the map in the format of the path's ending, one of FORMATS. Raises BadInputError."""
    check(path)
    every = sectors(board, flash)
    if path.suffix == ".json":
        path.write_text(
            json.dumps([asdict(one) for one in every], indent=1) + "\n", encoding="utf-8"
        )
        return
    _draw(board, every, path)


def _draw(board: Board, every: list[Sector], path: Path) -> None:
    columns, cell, left, top = 64, 13, 20, 96
    rows = -(-len(every) // columns)
    width, height = left * 2 + columns * cell, top + rows * cell + 84
    canvas: Canvas = (Svg if path.suffix == ".svg" else Png)(width, height, "Flash map")
    canvas.box((0, 0), (width, height), "#ffffff")
    canvas.text((left, 28), f"Flash of {board.name}", "#1d2733", size=20, bold=True)
    worst = max(every, key=lambda one: one.erases)
    times = "once" if worst.erases == 1 else f"{worst.erases} times"
    facts = (
        f"{len(every)} sectors of {every[0].size:,} bytes; most erased: {times} at "
        f"{worst.address:#x} ({worst.use}), {worst.wear:.2%} of its endurance"
    )
    canvas.text((left, 56), facts, "#5b6875")
    canvas.text((left, 76), "filled from below: bytes in use; line: wear", "#5b6875", size=11)
    for number, one in enumerate(every):
        x, y = left + number % columns * cell, top + number // columns * cell
        canvas.box((x, y), (cell - 2, cell - 2), "#f0f2f4")
        tall = (cell - 2) * one.used
        canvas.box((x, y + cell - 2 - tall), (cell - 2, tall), COLOURS[one.use])
        if one.wear:
            canvas.line([(x, y), (x + max(1.5, (cell - 2) * min(1, one.wear)), y)], "#b3261e", 2)
    uses = list(dict.fromkeys(one.use for one in every))
    for number, use in enumerate(uses):
        x, y = left + number % 5 * 165, top + rows * cell + 26 + number // 5 * 26
        canvas.box((x, y - 6), (12, 12), COLOURS[use])
        canvas.text((x + 18, y), use, "#1d2733", size=12)
    canvas.save(path)
