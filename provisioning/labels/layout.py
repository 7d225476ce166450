"""One label as rectangles and text, in millimetres from its top left corner."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import segno
from barcode.codex import Code128

from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial
from tallystick.provisioning.labels.scanned import read_serial

QUIET_CODE128 = 10  # modules of white on each side
QUIET_QR = 4
MIN_MODULE_MM = 0.19  # 7.5 mil, what hand scanners read from a thermal label
_BAR_SHARE = 0.38  # of the label's height is for the Code 128
_EDGE = 1.0


@dataclass(frozen=True)
class Stock:
    """A kind of label: size in mm, and for sheets how they lie on the page."""

    name: str
    width: float
    height: float
    page: tuple[float, float] | None = None
    columns: int = 1
    rows: int = 1
    left: float = 0.0
    top: float = 0.0

    def position(self, index: int) -> tuple[float, float]:
        """Top left corner (mm) of label `index` on its page, row by row."""
        row, column = divmod(index % (self.columns * self.rows), self.columns)
        return self.left + column * self.width, self.top + row * self.height

    @property
    def per_page(self) -> int:
        return self.columns * self.rows


A4 = (210.0, 297.0)
STOCKS = {
    stock.name: stock
    for stock in (
        Stock("50x25", 50, 25),
        Stock("57x32", 57, 32),
        Stock("a4-3x8", 70, 36, A4, 3, 8, 0, 4.5),
        Stock("a4-4x10", 48.5, 25.4, A4, 4, 10, 8, 21.5),
    )
}


@dataclass(frozen=True)
class Text:
    """Text with its baseline's left end at (x, y), in a size (mm) and monospaced or not."""

    x: float
    y: float
    size: float
    content: str
    bold: bool = False


@dataclass(frozen=True)
class Drawing:
    """Black rectangles (x, y, width, height) and text on white."""

    width: float
    height: float
    bars: tuple[tuple[float, float, float, float], ...]
    texts: tuple[Text, ...]


def blanks(stock: Stock, start: int) -> list[Drawing]:
    """What stands before the first label where that comes on the place `start` (from 1, row by row)
    of a used sheet. Raises BadInputError for a place that the stock does not have."""
    if not 1 <= start <= stock.per_page:
        places = f"places 1 to {stock.per_page}" if stock.per_page > 1 else "one label a page"
        raise BadInputError(
            f"There is no place {start}: the stock {stock.name} has {places}.",
            todo="Count row by row, from the top left.",
        )
    return [Drawing(stock.width, stock.height, (), ())] * (start - 1)


def by_serial(serials: Iterable[str]) -> list[str]:
    """In the order in which a person counts: 9 before 10."""
    return sorted(
        serials,
        key=lambda serial: [
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"(\d+)", serial)
        ],
    )


def from_on(serials: list[str], first: str | None) -> list[str]:
    """Those from one on; all where none is named. Raises BadInputError."""
    if first is None:
        return serials
    serial = read_serial(first)
    if serial not in serials:
        raise BadInputError(
            f"Card {serial} is not among the finished cards of this batch.",
            todo="Name one that is: `tally station report --batch NAME` lists them.",
        )
    return serials[serials.index(serial) :]


def code128_modules(serial: str) -> str:
    """1 for a bar, 0 for a space, without quiet zones."""
    (modules,) = Code128(check_serial(serial)).build()
    return str(modules)


def qr_modules(serial: str, certificate: str = "") -> list[str]:
    """Rows of 1 and 0, without the quiet zone: of the serial number with error correction M, or of
    the card's certificate, which has more to say, with L."""
    code = (
        segno.make(certificate, error="l", micro=False, boost_error=False)
        if certificate
        else segno.make(check_serial(serial), error="m", micro=False)
    )
    return ["".join("1" if module else "0" for module in row) for row in code.matrix]


def draw(
    serial: str,
    stock: Stock,
    caption: str = "",
    *,
    dot: float | None = None,
    certificate: str = "",
) -> Drawing:
    """Lay out one label. dot: size (mm) of a printer's dot, to which every module is fitted.
    certificate: what the QR code says in place of the serial number.

    Raises BadInputError when the stock is too small for codes that can be read.
    """
    bars = code128_modules(serial)
    module = _fit(stock.width / (len(bars) + 2 * QUIET_CODE128), dot)
    if module < MIN_MODULE_MM:
        raise BadInputError(
            f"Labels of {stock.name} are too narrow for a readable bar code.",
            todo="Choose a wider stock, or a printer with more dots per inch.",
        )
    bar_top = _fit(stock.height * (1 - _BAR_SHARE), dot)
    bar_left = _fit((stock.width - module * len(bars)) / 2, dot)
    rectangles = _row(bars, bar_left, bar_top, module, stock.height - bar_top - _EDGE)

    matrix = qr_modules(serial, certificate)
    cell = _fit((bar_top - _EDGE / 2) / (len(matrix) + QUIET_QR + 1), dot)
    if cell < MIN_MODULE_MM:
        raise BadInputError(
            f"Labels of {stock.name} are too small for a certificate.",
            todo="Choose a larger stock, or a printer with more dots per inch.",
        )
    qr_left, qr_top = cell * QUIET_QR, _fit(_EDGE, dot)
    for number, row in enumerate(matrix):
        rectangles += _row(row, qr_left, qr_top + number * cell, cell, cell)

    text_left = qr_left + cell * (len(matrix) + QUIET_QR)
    size = min((stock.width - text_left - _EDGE) / (0.62 * len(serial)), bar_top / 3)
    baseline = qr_top + bar_top / 2
    texts = []
    if caption:
        fitted = min(size * 0.7, (stock.width - text_left - _EDGE) / (0.55 * len(caption)))
        texts.append(Text(text_left, qr_top + fitted, fitted, caption))
        baseline = qr_top + 1.5 * fitted + size
    texts.append(Text(text_left, baseline, size, serial, bold=True))
    return Drawing(stock.width, stock.height, tuple(rectangles), tuple(texts))


def _fit(length: float, dot: float | None) -> float:
    """The length, or the largest multiple of a dot that is no longer."""
    return length if dot is None else int(length / dot + 1e-9) * dot


def _row(
    modules: str, left: float, top: float, module: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Runs of 1 as one rectangle each, so that no hairline parts them."""
    rectangles, at = [], 0
    while at < len(modules):
        end = at
        while end < len(modules) and modules[end] == modules[at]:
            end += 1
        if modules[at] == "1":
            rectangles.append((left + at * module, top, (end - at) * module, height))
        at = end
    return rectangles
