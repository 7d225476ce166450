"""What each pin of a chip can be: a table from its data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What a data sheet calls a signal of SPI, and what MicroPython does.
_SPI_WORDS = {"TX": "MOSI", "RX": "MISO"}


@dataclass(frozen=True)
class PinTable:
    """`functions`: pin, as the port numbers it, → its signals, such as "I2C0_SDA", without the
    number of the function. Every pin of the table has a pull up and a pull down."""

    names: Mapping[int, str]
    functions: Mapping[int, tuple[str, ...]]
    channels: Mapping[int, int]  # pin → channel of the ADC
    signals: Mapping[int, Mapping[int, str]]  # pin → number of a function → signal

    @property
    def alternates(self) -> dict[int, dict[int, str]]:
        """Pin → number of a function → what has it."""
        return {
            pin: {number: signal.partition("_")[0] for number, signal in signals.items()}
            for pin, signals in self.signals.items()
        }

    @classmethod
    def parse(cls, text: str) -> PinTable:
        """A line a pin: its number, its name, and its signals, `ADCn` the channel of the ADC. The
        number of an alternate function may follow a colon."""
        names: dict[int, str] = {}
        functions: dict[int, tuple[str, ...]] = {}
        channels: dict[int, int] = {}
        numbers: dict[int, dict[int, str]] = {}
        for line in text.split("\n"):
            if not line:
                continue
            number, name, *signals = line.split()
            pin = int(number, 0)
            names[pin] = name
            functions[pin] = tuple(
                _micropython(signal.partition(":")[0])
                for signal in signals
                if not signal.startswith("ADC")
            )
            for signal in signals:
                if signal.startswith("ADC"):
                    channels[pin] = int(signal.removeprefix("ADC"))
            numbered = (signal.partition(":") for signal in signals if ":" in signal)
            numbers[pin] = {int(n): name for name, _, n in numbered}
        return cls(names, functions, channels, numbers)

    def pins_of(self, signal: str) -> tuple[int, ...]:
        """The pins that can be `signal`, such as "I2C0_SDA"."""
        return tuple(pin for pin, signals in self.functions.items() if signal in signals)

    def mask_of(self, signal: str) -> int:
        """The same, a bit a pin."""
        return sum(1 << pin for pin in self.pins_of(signal))


def _micropython(signal: str) -> str:
    bus, _, part = signal.partition("_")
    return f"{bus}_{_SPI_WORDS.get(part, part)}" if bus.startswith("SPI") else signal
