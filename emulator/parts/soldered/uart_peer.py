"""Whoever is on the far end of a serial line: says what it is told to, and keeps what it hears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.emulator.parts.part import Bench, BoardPart
from tallystick.emulator.parts.uart import Uart

_KEPT = 65_536  # bytes that are kept of what was heard


class UartPeer(BoardPart):
    """line: the chip's TX and RX. answers: a line that was heard → what is said to it. Subclass it,
    and override `heard`, for a modem or a GPS receiver."""

    kind = "uart-peer"

    def __init__(self, line: list[str | int], answers: Mapping[str, str] | None = None) -> None:
        self._pins = line
        self._answers = dict(answers or {})
        self.received = bytearray()
        self._line_so_far = bytearray()

    def wire(self, bench: Bench) -> None:
        tx, rx = (bench.pin(pin) for pin in self._pins)
        self._bench = bench
        self._line: Uart = bench.uart(tx, rx, self.heard)

    def heard(self, data: bytes) -> None:
        """The chip has sent these bytes."""
        self.received += data
        del self.received[:-_KEPT]
        for value in data:
            if value not in b"\r\n":
                self._line_so_far.append(value)
                continue
            words = self._line_so_far.decode("utf-8", "replace")
            self._line_so_far.clear()
            if words in self._answers:
                self.say(self._answers[words].encode() + b"\r\n")

    def say(self, data: bytes) -> None:
        """Sends bytes to the chip."""
        self._bench.feed(self._line, data)

    def state(self) -> Mapping[str, Any]:
        return {"heard": self.received[-200:].decode("utf-8", "replace")}

    def do(self, action: str, value: Any = None) -> None:
        """say: a text."""
        if action != "say" or not isinstance(value, str):
            raise self.unknown(action)
        self.say(value.encode())
