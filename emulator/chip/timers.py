"""The chip's timers, and its watchdog."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.emulator.clock import Clock
from tallystick.emulator.interpreter.link import Message


class Timers:
    """on_due: given the number of the timer whose time is over."""

    def __init__(self, clock: Clock, on_due: Callable[[int], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._armed: dict[int, tuple[int, int]] = {}  # number → due µs, period µs (0: once)

    def clear(self) -> None:
        self._armed.clear()

    def set(self, message: Message) -> None:
        """Firmware arms the timer `message.arg`, or stops it."""
        number = message.arg
        self._armed.pop(number, None)
        if message.value:
            us = int.from_bytes(message.data[:8], "little")
            self._arm(number, self._clock.now + us, us if message.data[8] else 0)

    def _arm(self, number: int, due: int, period: int) -> None:
        self._armed[number] = armed = (due, period)
        self._clock.at(due, lambda: self._ring(number, armed))

    def _ring(self, number: int, armed: tuple[int, int]) -> None:
        if self._armed.get(number) is not armed:
            return
        due, period = armed
        if period:
            self._arm(number, due + period, period)
        else:
            del self._armed[number]
        self._on_due(number)


class Watchdog:
    """`bitten`: its time is over, and the chip has yet to be reset, between two of its steps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._period = 0  # µs; 0: it was not started
        self._due = 0
        self.bitten = False

    @property
    def running(self) -> bool:
        return self._period > 0

    def stop(self) -> None:
        self._period = 0

    def feed(self, message: Message) -> None:
        """Firmware starts it (arg 1: for `message.value` ms), or feeds it."""
        if message.arg:
            self._period = message.value * 1000
        if self._period:
            self._due = self._clock.now + self._period
            if message.arg:
                self._clock.at(self._due, self._look)

    def left_us(self) -> int:
        """Until it bites."""
        return max(0, self._due - self._clock.now)

    def _look(self) -> None:
        if not self._period:
            return
        if self._clock.now >= self._due:
            self.bitten = True
        else:
            self._clock.at(self._due, self._look)
