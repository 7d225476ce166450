"""A picture that stays up for a while, and leaves a dark display."""

from time import sleep_ms, ticks_diff

import board
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from card.button import Button
    from typed.board import Display

MESSAGE_MS = const(4000)
TICK_MS = const(1000)  # also the longest time a memory LCD may go without an inversion


def keep(
    display: "Display",
    ms: int,
    button: "Button | None" = None,
    each_third: "Callable[[int], None] | None" = None,
    docked: int = 0,
) -> int:
    """Holds the picture for `ms`, or until the button does something or the card is docked.

    docked: 1 when it is, and nothing listens to the line: then until it leaves its dock.
    each_third(left_ms) redraws something at every third tick: drawing costs more than an inversion.
    Returns the button's event, 0 when time was up.
    """
    begin = board.ticks_ms()
    ticks = 0
    while board.docked() == docked:
        left = ms - ticks_diff(board.ticks_ms(), begin)
        if left <= 0:
            break
        step = left % TICK_MS or TICK_MS  # whole seconds: what drawing takes does not add up
        if docked:
            sleep_ms(step)  # `wait` ends early there
        elif button is None:
            board.wait(step)
        else:
            event = button.wait(step)
            if event:
                return event
        ticks += 1
        if each_third is not None and ticks % 3 == 0:
            display.vcom(False)
            each_third(ms - ticks_diff(board.ticks_ms(), begin))
        else:
            display.vcom(True)
    return 0


def notice(title: str, line: str = "") -> None:
    """A message for a few seconds."""
    from card import screens

    display = board.display()
    try:
        screens.message(display, title, line)
        keep(display, MESSAGE_MS, docked=board.docked())
    finally:
        display.off()


def blank() -> None:
    """Nothing on the glass."""
    board.display().off()
