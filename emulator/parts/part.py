"""A part that is soldered to a board, and the board as such a part sees it.

What hangs on pins is a `BoardPart`: it is given the board before power-on (`wire`), says what it is
at (`state`) and takes what a person or the weather does to it (`do`). docs/guides/bench.md shows
how to write one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from tallystick.common.errors import BadInputError
from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.uart import Uart


class I2cEnd(Protocol):
    """A part's end of an I²C bus. `i2c_read` may be left out by what is only written to."""

    def i2c_write(self, address: int, data: bytes) -> bool:
        """True when it answers to this address, and took the bytes; none is a probe."""


class Bench(Protocol):
    """The board, as a part reaches it. Times are virtual, µs; pins are numbers, see `pin`."""

    clock: Clock
    random: random.Random

    def pin(self, name: str | int) -> int:
        """The number of a pin: 16, "GP16", "GPIO16", "A5", or a name of the board such as "LED".
        Raises BadInputError for one that the chip does not have."""

    def drive(self, pin: int, level: int | None) -> None:
        """The part drives a wire, or (None) lets it go."""

    def listen(self, pin: int, on_level: Callable[[int | None], None]) -> None:
        """From now on the part hears what firmware makes of an output; None when it drives it no
        more."""

    def duty(self, pin: int) -> float | None:
        """Of the pulses (PWM) that the chip gives out on a pin, 0 to 1; None without any."""

    def i2c(self, scl: int, sda: int, end: I2cEnd) -> None: ...

    def spi(
        self, sck: int, mosi: int, transfer: Callable[[bytes, int], bytes], miso: int | None = None
    ) -> None:
        """`transfer` is given bytes and the clock in Hz, and answers with as many."""

    def uart(self, tx: int, rx: int, on_send: Callable[[bytes], None]) -> Uart:
        """The part is on the far end of a line: `tx` and `rx` are the chip's pins. What the chip
        sends goes to `on_send`; `feed` answers."""

    def feed(self, line: Uart, data: bytes) -> None:
        """Bytes arrive at the chip, one after another in the time that they take."""

    def analog(self, pin: int, mv: Callable[[], int]) -> None:
        """What the chip's ADC finds on a pin, in mV."""

    def load(self, ua: float) -> None:
        """ua: what this part takes from the supply from now on, µA."""


class BoardPart:
    """`name` is what board.toml calls it. Parts keep plain values, so that a debugger can go
    back."""

    kind: ClassVar[str] = ""  # by which board.toml asks for it
    name = "part"

    def wire(self, bench: Bench) -> None:
        """Solders it on. Called once, before the first power-on."""
        raise NotImplementedError

    def power(self, on: bool) -> None:
        """The board's supply comes or goes."""

    def state(self) -> Mapping[str, Any]:
        """What can be seen of it, as JSON has it: shown on the panel, asked for by tests."""
        return {}

    def do(self, action: str, value: Any = None) -> None:
        """What happens to it: `press`, `set` and the like. Raises BadInputError for what it does
        not know."""
        raise self.unknown(action)

    def unknown(self, action: str) -> BadInputError:
        """To be raised by `do`."""
        return BadInputError(
            f"{self.name} ({type(self).__name__}) does not know {action!r}.",
            kept="Nothing was done to it.",
            todo="docs/guides/bench.md lists what each part takes.",
        )
