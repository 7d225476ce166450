"""The panel's time line: the card's life so far, to be dragged along, and gone on from anywhere."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from tallystick.emulator.panel.panel import Holder

_S = 1_000_000
_STEP_S = 0.1
_NONE = "Without a serial port, and without files that are written, time can be gone back in here."


class TimeLineRow:
    """Of whoever holds the card."""

    def __init__(self, service: Holder) -> None:
        self._line = service.line
        self._shown_s = 0.0  # where the slider was put from here

    def build(self) -> None:
        if self._line is None:
            ui.label(_NONE).classes("value")
            return
        with ui.element("div").classes("row"):
            self._slider = (
                ui.slider(min=0, max=0, value=0, step=_STEP_S)
                .props('aria-label="Instant of the card\'s life that is shown, seconds"')
                .classes("grow")
                .mark("time-line")
            )
            self._slider.on("update:model-value", self._dragged, throttle=0.1)
        with ui.element("div").classes("row"):
            for words, by_s in (("back 1 s", -1.0), ("forward 1 s", 1.0)):
                ui.button(words, on_click=lambda by_s=by_s: self._go(self._now_s() + by_s)).props(
                    "outline no-caps"
                )
            self._to_end = ui.button("to the end", on_click=lambda: self._go(None)).props(
                "outline no-caps"
            )
        self._words = ui.label().classes("value").props('role="status"').mark("time-line-words")

    def _now_s(self) -> float:
        assert self._line is not None
        return self._line.now_us / _S

    def _dragged(self, event: Any) -> None:
        if abs(event.args - self._shown_s) >= _STEP_S / 2:
            end = event.args >= self._slider.props["max"]
            self._go(None if end else float(event.args))

    def _go(self, seconds: float | None) -> None:
        """None: to the last instant that there was."""
        assert self._line is not None
        end = self._line.end_us
        wanted = end if seconds is None else min(max(0, round(seconds * _S)), end)
        self._line.go_to(wanted)
        self.show()

    def show(self) -> None:
        line = self._line
        if line is None:
            return
        now, end = line.now_us / _S, line.end_us / _S
        self._shown_s = round(now, 1)
        self._reach(round(line.start_us / _S, 1), round(end, 1))
        if self._slider.value != self._shown_s:
            self._slider.set_value(self._shown_s)
        past = line.past
        self._to_end.set_enabled(past)
        words = (
            f"It stands at {now:,.1f} s of {end:,.1f} s. What you do now goes on from here."
            if past
            else "Drag it back: the card, its flash and its parts are as they were then."
        )
        if self._words.text != words:
            self._words.set_text(words)

    def _reach(self, first: float, last: float) -> None:
        """As numbers: of words Quasar makes no value."""
        if (self._slider.props["min"], self._slider.props["max"]) != (first, last):
            self._slider.props["min"], self._slider.props["max"] = first, last
            self._slider.update()
