"""Pins, buses and current as a value change dump (IEEE 1364-2005, clause 18), which waveform
viewers open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vcd import VCDWriter
from vcd.writer import Variable, VarValue

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe


class Vcd(Probe):
    """Writes `path` as the run goes; a file cut short still opens. Timescale 1 µs."""

    def __init__(self, path: Path, board: CardBoard) -> None:
        self._file = path.open("w", encoding="ascii")
        self._writer = VCDWriter(
            self._file, timescale="1 us", comment=f"{board.name}, virtual time", date="",
        )  # fmt: skip
        self._now = 0
        wire = self._wire
        self._pins = {
            board.button_pin: wire("button"),
            board.dock_pin: wire("dock"),
        }
        if board.display_select_pin >= 0:
            self._pins[board.display_select_pin] = wire("display_select")
        if board.display_power_pin >= 0:
            self._pins[board.display_power_pin] = wire("display_power")
        self._busy = wire("flash_busy")
        self._state = self._writer.register_var("card", "chip", "string", init="off")
        self._current = self._writer.register_var("card", "current_uA", "real", init=0.0)
        self._buses = {
            name: self._writer.register_var("card", name, "reg", size=8)
            for name in ("spi", "i2c", "serial_to_card", "serial_from_card")
        }
        self._total = 0.0

    def _wire(self, name: str) -> Variable[Any]:
        variable: Variable[Any] = self._writer.register_var("card", name, "wire", size=1)
        return variable

    def _change(self, variable: Variable[Any], time_us: int, value: VarValue) -> None:
        # A bus reports a transfer at its end, when a pin may have changed meanwhile.
        self._now = max(self._now, time_us)
        self._writer.change(variable, self._now, value)

    def pin(self, now_us: int, pin: int, level: int) -> None:
        if pin in self._pins:
            self._change(self._pins[pin], now_us, level)

    def bus(self, now_us: int, name: str, data: bytes, byte_us: float) -> None:
        if name not in self._buses:
            return
        begin = now_us - byte_us * len(data)
        for number, byte in enumerate(data):
            self._change(self._buses[name], int(begin + number * byte_us), byte)
        self._change(self._buses[name], now_us, "z")

    def flash(self, now_us: int, kind: str, address: int, size: int, duration_us: int) -> None:
        self._change(self._busy, now_us, 1)
        self._change(self._busy, now_us + duration_us, 0)

    def state(self, now_us: int, state: str) -> None:
        self._change(self._state, now_us, state.replace(" ", "_"))

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        total = round(sum(currents_ua), 3)
        if total != self._total:
            self._total = total
            self._change(self._current, now_us, total)

    def close(self) -> None:
        self._writer.close(self._now)
        self._file.close()
