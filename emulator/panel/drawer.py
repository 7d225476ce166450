"""The panel's drawer for engineers: cell, faults, clock, current, flash and events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

from nicegui import ui

from tallystick.emulator.devices.card import Card
from tallystick.emulator.instruments.flash_map import COLOURS
from tallystick.emulator.panel import deeds
from tallystick.emulator.panel.panel import Panel
from tallystick.emulator.panel.time_line import TimeLineRow
from tallystick.emulator.parts.nor_flash import Phase

_SLOW_EVERY = 10  # ticks between two looks at the flash map
_SPEEDS = {0: "pause", 1: "× 1", 10: "× 10", 1000: "× 1000"}
_NOT_SHOWN = ("firmware of the port", "free")


class Drawer:
    """`act` runs something on the card's thread."""

    def __init__(self, panel: Panel, act: Callable[[Callable[[Card], Any]], Any]) -> None:
        self._panel = panel
        self._act = act
        self._ticks = 0
        self._seen_events = 0
        self._seen_console = ""

    def build(self) -> None:
        self._clock()
        self._line = TimeLineRow(self._panel.service)
        with self._sheet("Time line"):
            self._line.build()
        self._cell()
        self._faults()
        self._current()
        self._flash()
        self._console()
        self._events()

    def _sheet(self, title: str) -> ui.column:
        sheet = ui.column().classes("sheet")
        with sheet:
            ui.html(f"<h2>{title}</h2>", sanitize=False)
        return sheet

    def _clock(self) -> None:
        with self._sheet("Clock"), ui.element("div").classes("row"):
            ui.toggle(_SPEEDS, value=self._panel.speed).bind_value(self._panel, "speed").props(
                "no-caps unelevated toggle-color=chosen toggle-text-color=chosen "
                'aria-label="Clock speed"'
            ).mark("speed")
            ui.button("step 1 s", on_click=self._step).props("outline no-caps")
            self._time = ui.label().classes("value")

    def _cell(self) -> None:
        with self._sheet("Cell"):
            with ui.element("div").classes("row"):
                self._slider = (
                    ui.slider(min=0, max=100, value=0, step=1, on_change=self._drain)
                    .props('label aria-label="Part of the cell that is used, percent"')
                    .classes("grow")
                )
                self._depth = ui.label().classes("value")
            with ui.element("div").classes("row"):
                self._pull = ui.button("Pull the cell", on_click=self._swap).props(
                    "outline no-caps"
                )
                self._used = ui.label().classes("value")

    def _faults(self) -> None:
        with self._sheet("Faults"), ui.element("div").classes("row"):
            ui.label("Power at the next flash write:").classes("value w-full")
            for phase in Phase:
                ui.button(f"cut {phase} it", on_click=lambda p=phase: self._cut(p)).props(
                    "outline no-caps color=negative"
                )
            ui.switch("line noise", on_change=self._noise).mark("noise")

    def _current(self) -> None:
        with self._sheet(f"Current in µA, last {deeds.WINDOW_S:g} s"):
            axis = {
                "axisLabel": {"fontSize": 11, ":color": _style("soft")},
                "axisLine": {"show": False, "onZero": False},
                "axisTick": {"show": False},
                "splitLine": {"lineStyle": {":color": _style("line")}},
            }
            self._chart = (
                ui.echart(
                    {
                        "animation": False,
                        "grid": {"left": 58, "right": 12, "top": 10, "bottom": 26},
                        "xAxis": {"type": "value", "min": -deeds.WINDOW_S, "max": 0, **axis},
                        "yAxis": {"type": "log", "min": 0.1, "max": 100_000, **axis},
                        "series": [
                            {
                                "type": "line", "showSymbol": False, "data": [],
                                "lineStyle": {"width": 1.5, ":color": _style("accent")},
                                "areaStyle": {"opacity": 0.12, ":color": _style("accent")},
                            }
                        ],
                    }
                )
                .style("height:190px;width:100%")
                .props('role="img" aria-label="Current over time, µA, logarithmic"')
            )  # fmt: skip

    def _flash(self) -> None:
        with self._sheet("Flash and its wear"):
            self._map = ui.html("", sanitize=False).classes("w-full")
            uses = self._panel.service.look(deeds.uses)
            legend = "".join(
                f'<span><i style="background:{COLOURS[use]}"></i>{use}</span>'
                for use in uses
                if use not in _NOT_SHOWN
            )
            ui.html(f'<div class="legend">{legend}</div>', sanitize=False)
            self._wear = ui.label().classes("value")

    def _console(self) -> None:
        with self._sheet("What the firmware prints"):
            self._printed = (
                ui.element("pre")
                .classes("events")
                .props('tabindex=0 role="log" aria-label="What the firmware prints"')
            )

    def _events(self) -> None:
        with self._sheet("Events, newest first; time in s"):
            self._log = (
                ui.element("pre")
                .classes("events")
                .props('tabindex=0 role="log" aria-label="Events, newest first"')
            )

    # -- what an engineer does -----------------------------------------------------------------

    def _step(self) -> None:
        self._act(methodcaller("run_for", 1000))

    def _drain(self, event: Any) -> None:
        self._act(partial(deeds.drain, event.value / 100))

    def _swap(self) -> None:
        self._act(deeds.swap_cell)

    def _cut(self, phase: Phase) -> None:
        self._act(partial(deeds.cut_power, phase))
        ui.notify(f"The power will go {phase} the next flash write.")

    def _noise(self, event: Any) -> None:
        self._panel.service.noise = 0.01 if event.value else 0.0

    # -- what is seen --------------------------------------------------------------------------

    def slowly(self) -> bool:
        """Every so often the flash is looked at, too."""
        self._ticks += 1
        return self._ticks % _SLOW_EVERY == 1

    def show(self, seen: dict[str, Any]) -> None:
        self._line.show()
        self._time.set_text(f"{seen['now_us'] / 1_000_000:,.1f} s")
        self._depth.set_text(f"{seen['depth']:.0%} used")
        self._used.set_text(f"{seen['used_uah']:,.2f} µAh taken")
        self._pull.set_text("Pull the cell" if seen["powered"] else "Insert a cell")
        if not self._chart.visible:
            return
        self._chart.options["series"][0]["data"] = [list(point) for point in seen["points"]]
        self._chart.update()
        if seen["console"] != self._seen_console:
            self._seen_console = seen["console"]
            self._printed.clear()
            with self._printed:
                ui.html("", sanitize=False).set_content(_escaped(self._seen_console))
        events = seen["events"]
        if len(events) != self._seen_events or self._seen_events == deeds.EVENTS:
            self._seen_events = len(events)
            lines = [
                f"{event.time_us / 1_000_000:9.4f}  {event.source:8}  {event.kind} {event.detail}"
                for event in reversed(events)
            ]
            self._log.clear()
            with self._log:
                ui.html("", sanitize=False).set_content(_escaped("\n".join(lines)))
        if "sectors" in seen:
            self._draw_map(seen["sectors"])

    def _draw_map(self, every: list[Any]) -> None:
        cells = []
        for one in every:
            if one.use not in _NOT_SHOWN:
                mix = round(15 + 85 * one.used)
                colour = f"color-mix(in srgb,{COLOURS[one.use]} {mix}%,var(--line))"
                title = (
                    f"{one.address:#x} {one.use}: {one.used:.0%} full, erased {one.erases} times"
                )
                cells.append(f'<i style="background:{colour}" title="{title}"></i>')
        self._map.set_content(
            f'<div class="map" role="img" aria-label="Flash map">{"".join(cells)}</div>'
        )
        worst = max(every, key=lambda one: one.erases)
        self._wear.set_text(
            f"most worn: {worst.use} at {worst.address:#x}, {worst.wear:.3%} of its life"
        )


def _style(name: str) -> str:
    """JavaScript that gives a colour of the sheet's. The browser evaluates it at every update, for
    a canvas does not follow the page from light to dark."""
    return f"getComputedStyle(document.body).getPropertyValue('--{name}')"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
