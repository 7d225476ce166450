"""The chip's pins: who drives each wire, what it is at then, edges that firmware asked to hear of,
and what hangs on the outputs.

A wire is at the level of whoever drives it. Nobody does: it follows the chip's pull, else a
resistor on the board, else it floats, which reads as noise. Two that drive it against one another
are a fault of the wiring (`conflict`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

from tallystick.emulator.interpreter import link

_FALLING, _RISING = 4, 8  # machine.Pin.IRQ_FALLING, IRQ_RISING
_CHIP = "the chip"

# Modes as `port/machine.py` tells them.
INPUT, OUTPUT, OPEN_DRAIN = 0, 1, 2
PULL_UP, PULL_DOWN = 1, 2


class Edge(Enum):
    """What a new level means to the chip."""

    NONE = 0  # the same level, or the first one
    SEEN = 1  # an edge
    FIRED = 2  # an edge that firmware asked for


class Pins:
    """`on_output` are the parts on output pins, by pin; each is given the levels. `name`: what a
    pin is called. A level of None: not driven."""

    def __init__(self, name: Callable[[int], str] = str, seed: int = 0) -> None:
        self.on_output: dict[int, Callable[[int], None]] = {}
        self.on_name = name
        self.conflict = ""  # the first one, in words
        self.resistors: dict[int, int] = {}  # on the board: pin → level that it is pulled to
        self.function: dict[int, str] = {}  # pin → the bus that it has been given to
        self.buses: dict[str, tuple[int, ...]] = {}  # bus → its pins
        self._outside: dict[tuple[int, str], int] = {}  # (pin, who) → level
        self._wired: set[int] = set()  # pins that somebody outside drives, or has driven
        self._chip: dict[int, int] = {}  # driven by the chip: pin → level
        self._open_drain: set[int] = set()
        self._pulls: dict[int, int] = {}
        self._inputs: set[int] = set()  # that firmware has made inputs
        self._level: dict[int, int] = {}  # of the wires that somebody has driven, or looked at
        self.floating: set[int] = set()
        self._noise = random.Random(seed)
        self._set_levels(0)
        self._asked: dict[int, int] = {}
        self._fired: list[int] = []
        self._heard: list[int] = []  # those of them that firmware has heard of
        self.heard_of_all = True

    def _set_levels(self, levels: int) -> None:
        """Of the inputs, a bit a pin, as answers carry them: while flash may fail, and not."""
        self._bits = levels
        self.levels = levels.to_bytes(link.LEVELS, "little")
        self.levels_when_sure = (levels | 1 << link.FLASH_IS_SURE).to_bytes(link.LEVELS, "little")

    def reset(self) -> None:
        """Firmware starts: it has asked for nothing."""
        self._asked.clear()
        self._fired.clear()
        self._heard.clear()
        self.heard_of_all = True

    def release(self) -> None:
        """The chip drives nothing any more: what hangs on its outputs is pulled down."""
        self.function.clear()
        self.buses.clear()
        self._pulls.clear()
        self._open_drain.clear()
        self._inputs.clear()
        self._chip.clear()
        self.floating.clear()
        for on_level in self.on_output.values():
            on_level(0)

    def release_pulls(self) -> None:
        """A reset: no pin is pulled by the chip."""
        self._pulls.clear()

    def pull_down(self, pins: list[int]) -> None:
        """The chip sleeps, and keeps these pulled down."""
        for pin in pins:
            self._pulls[pin] = PULL_DOWN
            self._settle(pin)

    # -- the chip's side -----------------------------------------------------------------------

    def ask(self, pin: int, edges: int) -> None:
        self._asked[pin] = edges

    def configure(self, pin: int, mode: int | None, pull: int, level: int) -> Edge:
        """Firmware sets a pin up. mode: None leaves it. `level` is the output's."""
        self._pulls[pin] = pull
        if mode is not None:
            self.function.pop(pin, None)
            self._inputs.discard(pin)
            self._open_drain.discard(pin)
            drove = self._chip.pop(pin, None) is not None
            if mode == INPUT:
                self._inputs.add(pin)
                if drove and pin in self.on_output:
                    self.on_output[pin](0)  # let go, as by `release`
            elif mode == OPEN_DRAIN:
                self._open_drain.add(pin)
                self.put(pin, level)
            elif mode == OUTPUT:
                self.put(pin, level)
        return self._settle(pin)

    def give(self, pins: tuple[int, ...], bus: str, driven: dict[int, int]) -> None:
        """The chip's peripheral `bus` takes over these pins, and drives some of them."""
        self.buses[bus] = pins
        for pin in pins:
            self.function[pin] = bus
            self._inputs.discard(pin)
            self._open_drain.discard(pin)
            self._chip.pop(pin, None)
            if pin in driven:
                self._chip[pin] = driven[pin]
                self._settle(pin)

    def has(self, bus: str) -> tuple[int, ...]:
        """The pins of a bus, as far as they still are its; -1 in place of the others."""
        function = self.function
        return tuple(pin if function.get(pin) == bus else -1 for pin in self.buses.get(bus, ()))

    def drives(self, pin: int) -> bool:
        """Whether the chip drives this wire now."""
        return pin in self._chip

    def put(self, pin: int, level: int) -> None:
        """Firmware drives an output."""
        if level and pin in self._open_drain:
            self._chip.pop(pin, None)
        else:
            self._chip[pin] = level
        if pin in self._wired or pin in self._open_drain:
            level = self._resolve(pin)
            self._settle(pin)
        if pin in self.on_output:
            self.on_output[pin](level)

    # -- the outside ---------------------------------------------------------------------------

    def drive(self, pin: int, level: int | None, by: str) -> Edge | None:
        """The outside drives an input, or lets it go. None when it did so before."""
        who = (pin, by)
        if level is None:
            if self._outside.pop(who, None) is None:
                return None
        elif self._outside.get(who) == level:
            return None
        else:
            self._outside[who] = level
        self._wired.add(pin)
        return self._settle(pin)

    def level(self, pin: int) -> int:
        """Of a wire, now."""
        return self._bits >> pin & 1

    def rest(self, pin: int, level: int) -> None:
        """Where a wire has been until now that nobody has looked at."""
        self._level[pin] = level
        self._wired.add(pin)
        self._set_levels(self._bits & ~(1 << pin) | level << pin)

    # -- what comes of it ----------------------------------------------------------------------

    def _settle(self, pin: int) -> Edge:
        level = self._resolve(pin)
        before = self._level.get(pin)
        self._level[pin] = level
        if before == level and self._bits >> pin & 1 == level:
            return Edge.NONE
        self._set_levels(self._bits & ~(1 << pin) | level << pin)
        if before is None or before == level:
            return Edge.NONE
        asked = self._asked.get(pin, 0) & (_RISING if level else _FALLING)
        return Edge.FIRED if asked else Edge.SEEN

    def _resolve(self, pin: int) -> int:
        drivers = {who: level for (at, who), level in self._outside.items() if at == pin}
        if pin in self._chip:
            drivers[_CHIP] = self._chip[pin]
        self.floating.discard(pin)
        if drivers:
            self._check(pin, drivers)
            return min(drivers.values())
        pull = self._pulls.get(pin, 0)
        if pull == PULL_UP or (not pull and self.resistors.get(pin) == 1):
            return 1
        if pull == PULL_DOWN or pin in self.resistors:
            return 0
        if pin in self._inputs and not pull:
            self.floating.add(pin)
            return self._noise.getrandbits(1)
        return self._level.get(pin, 0)  # both pulls keep a level; nobody looks at another pin

    def _check(self, pin: int, drivers: dict[str, int]) -> None:
        if len(set(drivers.values())) > 1 and not self.conflict:
            high = " and ".join(sorted(who for who, level in drivers.items() if level))
            low = " and ".join(sorted(who for who, level in drivers.items() if not level))
            if _CHIP in drivers and pin in self._open_drain and not drivers[_CHIP]:
                low = f"{low} (open drain)"
            self.conflict = (
                f"Two drive pin {self.on_name(pin)} against one another: {high} to 1, {low} to 0."
            )

    def noise(self) -> int:
        """What a converter reads of a pin that is not connected, 0 to 65,535."""
        return self._noise.getrandbits(16)

    def stir(self) -> None:
        """Pins that float are at another level every time that somebody looks."""
        bits = self._bits
        for pin in sorted(self.floating):
            bits = bits & ~(1 << pin) | self._noise.getrandbits(1) << pin
        self._set_levels(bits)

    # -- interrupts ----------------------------------------------------------------------------

    def fire(self, pin: int) -> None:
        """Firmware hears of this pin at its next wait, or at once when it is in one."""
        if pin not in self._fired:
            self._fired.append(pin)
        elif pin in self._heard:
            self._heard.remove(pin)
        self.heard_of_all = False

    @property
    def fired(self) -> bool:
        return bool(self._fired)

    def take_fired(self) -> bytes:
        """The pins that fired, a byte each, once."""
        heard = self._heard
        fired = (
            bytes(pin for pin in self._fired if pin not in heard) if heard else bytes(self._fired)
        )
        self._fired.clear()
        self._heard.clear()
        self.heard_of_all = True
        return fired

    def hear(self) -> bytes:
        """Those that fired and that firmware has not heard of. They still end the next wait."""
        fresh = [pin for pin in self._fired if pin not in self._heard]
        self._heard += fresh
        self.heard_of_all = True
        return bytes(fresh)
