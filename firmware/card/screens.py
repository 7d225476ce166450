"""What a person sees. Every function draws one screen into a display and sends it to the glass.

tall glass, 128 × 128         flat glass, 128 × 64
+----------------------+      +----------------------+
| BATTERY LOW      [= ]|      | BATTERY LOW      [= ]|
|    7   5   5         |      |   7 5 5   2 2 4      |
|    2   2   4         |      | ==============       |
| ==============       |      +----------------------+
+----------------------+
"""

from micropython import const

from card import cell, digits

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Display

_TALL = const(128)
_FONT = const(8)
_BIG_FONT = const(16)

# (left, top, digit width, digit height, thickness, step, gap between groups) by number of digits.
_TALL_CODE = {
    6: (6, 14, 32, 49, 7, 42, 0),
    7: (4, 14, 24, 49, 5, 32, 0),
    8: (4, 14, 24, 49, 5, 32, 0),
}
_TALL_ROW_STEP = const(55)
_FLAT_CODE = {
    6: (4, 14, 15, 40, 4, 20, 5),
    7: (3, 14, 13, 39, 3, 17, 6),
    8: (3, 14, 11, 39, 3, 15, 5),
}

_BAR_LEFT = const(4)
_BAR_HEIGHT = const(4)

_BATTERY_WIDTH = const(16)
_QR_MODULES = const(21)  # QR code model 2, version 1
_QR_QUIET = const(4)  # modules of quiet zone, ISO/IEC 18004


def code(
    display: "Display", code: "bytes | bytearray | str", cell_state: int, fraction: int
) -> None:
    """Show a code of 6 to 8 digits, ASCII. Pass a bytearray to be able to wipe it afterwards.

    fraction: how much of the display time is left, 0 to 100.
    """
    display.empty()
    _status(display, cell_state)
    tall = display.height >= _TALL
    left, top, width, height, thick, step, group_gap = (_TALL_CODE if tall else _FLAT_CODE)[
        len(code)
    ]
    group = (len(code) + 1) // 2
    x = left
    y = top
    for i in range(len(code)):
        if i == group:
            if tall:
                x = left
                y += _TALL_ROW_STEP
            else:
                x += group_gap
        digits.digit(display, x, y, width, height, thick, int(code[i]) & 0x0F)
        x += step
    y = display.height - _BAR_HEIGHT - 1
    display.fb.hline(_BAR_LEFT, y + _BAR_HEIGHT - 1, display.width - 2 * _BAR_LEFT, display.ink)
    display.fb.fill_rect(_BAR_LEFT, y, _filled(display, fraction), _BAR_HEIGHT, display.ink)
    display.show()


def bar(display: "Display", fraction: int) -> None:
    """Shorten the time-out bar of `code` to 0 to 100, less than it was, and send only its rows."""
    y = display.height - _BAR_HEIGHT - 1
    filled = _filled(display, fraction)
    rest = display.width - 2 * _BAR_LEFT - filled
    display.fb.fill_rect(_BAR_LEFT + filled, y, rest, _BAR_HEIGHT - 1, display.paper)
    display.show(y, y + _BAR_HEIGHT)


def info(
    display: "Display",
    serial: str,
    version: str,
    board: str,
    cell_mv: int,
    cell_state: int,
    qr: bytes,
) -> None:
    """Show who the card is. qr: the serial number as a QR code, 21 rows of 3 bytes, first bit left.

    An empty qr (a card that has not been to the factory) leaves the code out.
    """
    display.empty()
    _battery(display, display.width - _BATTERY_WIDTH - _BAR_LEFT, 2, cell_state)
    half = (len(serial) + 1) // 2
    version = "v" + version
    reading = "%d mV" % cell_mv
    if display.height >= _TALL:
        y = 88 if qr else 48
        if qr:
            _qr(display, qr, 20, 0, 3)
        _centred(display, serial[:half] + " " + serial[half:], y)
        _centred(display, board, y + 15)
        _centred(display, version + " " + reading, y + 27)
    else:
        x = 64 if qr else 8
        y = 3
        if qr:
            _qr(display, qr, 1, 3, 2)
        for line in (serial[:half], serial[half:], version, board[:8], reading):
            digits.text(display, line, x, y, display.ink)
            y += 12
    display.show()


def message(display: "Display", title: str, line: str = "") -> None:
    """Show a title in large letters, and a line in small ones. Both are wrapped at spaces."""
    display.empty()
    titles = _wrap(title, display.width // _BIG_FONT)
    lines = _wrap(line, display.width // _FONT - 1)
    rule = 11 if line else 0
    height = 18 * len(titles) + rule + 11 * len(lines) - 3
    if line and height > display.height - 4:
        # No room for the rule.
        height -= 8
        rule = 3
    y = max(0, (display.height - height) // 2)
    for string in titles:
        x = (display.width - _BIG_FONT * len(string)) // 2
        digits.big_text(display, string, x, y, display.ink)
        y += 18
    if rule > 3:
        display.fb.hline(display.width // 2 - 16, y + 3, 32, display.ink)
    y += rule
    for string in lines:
        _centred(display, string, y)
        y += 11
    display.show()


def _status(display: "Display", cell_state: int) -> None:
    if cell_state != cell.NORMAL:
        digits.text(display, "BATTERY LOW", _BAR_LEFT, 2, display.ink)
    _battery(display, display.width - _BATTERY_WIDTH - _BAR_LEFT, 2, cell_state)


def _battery(display: "Display", x: int, y: int, cell_state: int) -> None:
    fb = display.fb
    ink = display.ink
    fb.rect(x, y, _BATTERY_WIDTH - 2, 8, ink)
    fb.fill_rect(x + _BATTERY_WIDTH - 2, y + 2, 2, 4, ink)
    for bars in range(3 if cell_state == cell.NORMAL else 1 if cell_state == cell.LOW else 0):
        fb.fill_rect(x + 2 + bars * 4, y + 2, 2, 4, ink)


def _filled(display: "Display", fraction: int) -> int:
    """How long the bar is, in pixels."""
    return (display.width - 2 * _BAR_LEFT) * max(0, min(fraction, 100)) // 100


def _qr(display: "Display", qr: bytes, x: int, y: int, scale: int) -> None:
    # On either glass 1 is light and 0 dark: many phones do not read the inverse.
    side = (_QR_MODULES + 2 * _QR_QUIET) * scale
    display.fb.fill_rect(x, y, side, side, 1)
    x += _QR_QUIET * scale
    y += _QR_QUIET * scale
    for row in range(_QR_MODULES):
        for column in range(_QR_MODULES):
            if qr[row * 3 + (column >> 3)] >> (7 - (column & 7)) & 1:
                display.fb.fill_rect(x + column * scale, y + row * scale, scale, scale, 0)


def _centred(display: "Display", string: str, y: int) -> None:
    digits.text(display, string, (display.width - _FONT * len(string)) // 2, y, display.ink)


def _wrap(string: str, columns: int) -> "list[str]":
    lines = []  # type: list[str]
    for word in string.split():
        if lines and len(lines[-1]) + 1 + len(word) <= columns:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
