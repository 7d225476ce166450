"""The state of the coin cell, judged by its voltage under load, with hysteresis.

A lithium manganese dioxide cell (CR2016, CR2032) stays near 3 V unloaded almost until it is empty,
so an unloaded reading says nothing. Its internal resistance does: 10 to 20 ohms fresh, several
times that when most of the capacity is used (TI SWRA349, figure 6). Under the few milliamperes that
a running card draws, the voltage therefore sits on a plateau above 2.7 V, and then falls quickly.

    below 2550 mV  low: off the plateau, little is left. Warn, and show codes for less time.
    below 2300 mV  critical: flash may not be written safely when the next load pulls the cell
                   down further, and cell data sheets end the discharge at 2000 mV. Move nothing.

A cell recovers by 100 mV and more while it rests, and in warmth. The way back up is therefore
higher than the way down, or the icon would come and go with every press.
"""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Cell as Board

NORMAL = const(0)
LOW = const(1)
CRITICAL = const(2)

_LOW_BELOW = const(2550)
_NORMAL_FROM = const(2650)
_CRITICAL_BELOW = const(2300)
_LOW_FROM = const(2450)

_READINGS = const(5)


def measure(board: "Board", previous: int) -> "tuple[int, int]":
    """The cell now: (millivolts under load, state).

    previous: the state that was measured last, kept in flash, so that hysteresis survives resets.
    """
    readings = []
    for _ in range(_READINGS):
        readings.append(board.cell_mv())
    # The median: one reading that caught a pulse of the display or of the flash changes nothing.
    readings.sort()
    mv = readings[_READINGS // 2]
    return mv, judge(mv, previous)


def judge(mv: int, previous: int) -> int:
    """The state of a cell at mv millivolts. An unknown previous state counts as NORMAL."""
    if mv < (_LOW_FROM if previous == CRITICAL else _CRITICAL_BELOW):
        return CRITICAL
    if mv < (_NORMAL_FROM if previous == LOW or previous == CRITICAL else _LOW_BELOW):
        return LOW
    return NORMAL
