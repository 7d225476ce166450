"""A board's flash as a map: what is where, how full it is. As lines of text and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board, Region

if TYPE_CHECKING:
    from PIL import Image

_WIDTH, _HEIGHT, _MARGIN = 900, 640, 24
_BAR = 220
_INK, _PAPER, _FREE, _EDGE = "#1c1c1e", "#ffffff", "#eceff3", "#9aa3ad"
_COLOURS = {
    "MicroPython": "#7a869a",
    "boot stage": "#c4623a",
    "slot A": "#2f6fb2",
    "slot B": "#7fb0dc",
    "file system": "#2f6fb2",
    "boot record": "#8a5fb0",
    "identity": "#c9a227",
    "journal": "#3f9b6c",
}


@dataclass(frozen=True)
class Area:
    """`address` as the chip sees it, sizes in bytes. `used` is -1 where it is not known."""

    name: str
    address: int
    size: int
    used: int
    what: str


def areas(board: Board, flash: dict[int, bytes], *, own: bool = False) -> list[Area]:
    """The areas of a board, by address. `flash`: chip address → content of an image. own: of
    somebody's own firmware, which has the whole storage as its file system."""
    base = board.chip.flash_base
    whole = [("file system", board.storage, "firmware, and what it writes")]
    rows = whole if own else _of_a_device(board)
    first = min(region.address for _, region, _ in rows)
    micropython = _used(flash, base, first) or -1  # an image that is not merged has none
    found = [Area("MicroPython", base, first, micropython, "the board's own, or merged in")]
    for name, region, what in rows:
        address = base + region.address
        found.append(Area(name, address, region.size, _used(flash, address, region.size), what))
    found.sort(key=lambda area: area.address)
    return list(_with_gaps(found, base + board.flash_size))


def _of_a_device(board: Board) -> list[tuple[str, Region, str]]:
    """The areas of our own firmware: name, where, what for."""
    rows = [("identity", board.identity, "serial number, transport keys")]
    if board.journal.size:
        rows.append(("journal", board.journal, "seed, keys, moving factor"))
    if not board.slots:
        return [*rows, ("file system", board.file_system, "firmware")]
    assert board.boot is not None and board.record is not None
    return [
        *rows,
        ("boot stage", board.boot, "chooses the slot; never updated"),
        ("slot A", board.slots[0], "header, firmware"),
        ("slot B", board.slots[1], "header, firmware"),
        ("boot record", board.record, "which slot, on trial or not"),
    ]


def _used(flash: dict[int, bytes], address: int, size: int) -> int:
    """Bytes up to the last one that the image writes in this area."""
    end = 0
    for start, data in flash.items():
        low, high = max(start, address), min(start + len(data), address + size)
        if low < high:
            part = data[low - start : high - start].rstrip(b"\xff")
            if part:
                end = max(end, low - address + len(part))
    return end


def _with_gaps(found: list[Area], end: int) -> list[Area]:
    rows: list[Area] = []
    at = found[0].address
    for area in found:
        if area.address > at:
            rows.append(Area("free", at, area.address - at, 0, ""))
        rows.append(area)
        at = area.address + area.size
    if at < end:
        rows.append(Area("free", at, end - at, 0, ""))
    return rows


def text(rows: list[Area]) -> list[str]:
    """One line an area: address range, name, size, how much of it the image fills."""
    lines = []
    for area in rows:
        used = f"{area.used:>9,}" if area.used > 0 else f"{'–':>9}"
        lines.append(
            f"{area.address:08X}–{area.address + area.size - 1:08X}  {area.name:<12}"
            f"{area.size:>10,} {used}  {area.what}".rstrip()
        )
    return lines


def picture(rows: list[Area], title: str) -> Image.Image:
    """The map from low addresses (top) to high ones. Small areas are drawn larger than they are, so
    that all can be read. Raises BadInputError without Pillow."""
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 (an optional extra)
    except ImportError as error:
        raise BadInputError(
            "A picture needs Pillow, which is not installed.",
            todo="pip install 'tallystick[pictures]'",
        ) from error
    canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(canvas)
    heading, body, small = (ImageFont.load_default(size) for size in (22, 15, 13))
    draw.text((_MARGIN, 16), title, _INK, heading)
    top, bottom = 62, _HEIGHT - 44
    heights = _heights([area.size for area in rows], bottom - top, least=42)
    left, right = _MARGIN + 106, _MARGIN + 106 + _BAR
    at = top
    for area, height in zip(rows, heights, strict=True):
        box = (left, at, right, at + height)
        colour = _COLOURS.get(area.name)
        draw.rectangle(box, fill=_FREE, outline=_EDGE)
        if colour:
            share = 1.0 if area.used < 0 else area.used / area.size
            filled = max(4, round((height - 2) * share)) if area.used else 0
            if filled:
                draw.rectangle((left + 1, at + 1, right - 1, at + filled), fill=colour)
            draw.rectangle((left, at, left + 6, at + height), fill=colour)
        draw.text((_MARGIN, at - 2), f"{area.address:08X}", _INK, small)
        label = area.name if not area.what else f"{area.name}: {area.what}"
        draw.text((right + 18, at + 4), label, _INK, body)
        draw.text((right + 18, at + 22), _amount(area), "#5a6570", small)
        at += height
    draw.text((_MARGIN, at - 12), f"{rows[-1].address + rows[-1].size:08X}", _INK, small)
    note = "Filled: what the image writes. Heights are not to scale where an area is small."
    draw.text((_MARGIN, _HEIGHT - 26), note, "#5a6570", small)
    return canvas


def _amount(area: Area) -> str:
    size = f"{area.size / 1024:,.0f} KiB" if area.size >= 1024 else f"{area.size} bytes"
    if area.used <= 0:
        return size
    return f"{size}, {area.used:,} bytes written ({100 * area.used / area.size:.0f} %)"


def _heights(sizes: list[int], room: int, *, least: int) -> list[int]:
    """Pixels for each area: `least`, and a share of the rest that grows with its size."""
    spare = room - least * len(sizes)
    total = sum(sizes)
    return [least + int(spare * size / total) for size in sizes]
