"""The panel's page: the card itself, and what it says of its state."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from nicegui import ui

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.panel import deeds
from tallystick.emulator.panel.drawer import Drawer
from tallystick.emulator.panel.panel import TICK_S, Panel
from tallystick.emulator.panel.parts import PartsRow
from tallystick.emulator.panel.style import CSS
from tallystick.emulator.parts.soldered.oled import Oled

_WORDS = {
    ChipState.OFF: "no cell",
    ChipState.RUNNING: "awake",
    ChipState.ASLEEP: "asleep",
    ChipState.CRASHED: "stopped by an exception",
}


_NO_ENTRY = """<!doctype html><html lang=en><meta charset=utf-8><title>No entry</title>
<meta name=viewport content="width=device-width,initial-scale=1">
<style>:root { color-scheme:light dark; } body { font:16px/1.5 system-ui,sans-serif;
max-width:34rem; margin:3rem auto; padding:0 1rem; } code { font-family:ui-monospace,monospace; }
</style><main><h1>No entry</h1><p>Open the address that <code>tally emulate card --panel</code>
printed; it has the token.</p></main>"""


def mount(panel: Panel, app: FastAPI) -> None:
    """Puts the panel's page into the control interface."""

    @ui.page("/panel", title=f"Card {panel.serial}", favicon="🪪", response_timeout=20)
    def show(token: str = "") -> HTMLResponse | None:
        if not secrets.compare_digest(token.encode(), panel.token.encode()):
            return HTMLResponse(_NO_ENTRY, 403)
        View(panel).build()
        return None

    ui.run_with(app, dark=None, language="en-US", reconnect_timeout=10)


class View:
    """One browser's page."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._service = panel.service
        self._frame = ""
        self._spoken = ""
        self._drawer = Drawer(panel, self._act)
        self._parts = PartsRow(panel.service.card, self._act)

    def build(self) -> None:
        ui.add_css(CSS)
        ui.colors(primary="#0b6bcb", negative="#b3261e")
        with ui.column().classes("page"):
            self._top()
            self._desk = ui.element("div").classes("desk open")
            with self._desk:
                self._stage()
                with (
                    ui.element("section")
                    .classes("drawer")
                    .props('aria-label="For engineers"') as box
                ):
                    self._drawer.build()
        self._box = box
        ui.timer(TICK_S, self._tick)

    def _top(self) -> None:
        board = self._service.card.board
        with ui.element("header").classes("top"):
            card = self._service.card
            what = "Card" if card.fittings.kit else "Board"
            fed = "fed over its cable" if card.fittings.cabled else f"cell {card.cell.kind.name}"
            ui.html(f"<h1>{what} {escape(self._panel.serial)}</h1>", sanitize=False)
            ui.label(f"emulated {board.name}, {fed}").classes("facts")
            ui.space()
            self._opener = (
                ui.button("Engineer's drawer", on_click=self._toggle)
                .props("outline no-caps aria-expanded=true")
                .mark("drawer")
            )

    def _toggle(self) -> None:
        self._box.set_visibility(not self._box.visible)
        self._desk.classes(toggle="open")
        self._opener.props(f"aria-expanded={str(self._box.visible).lower()}")

    def _stage(self) -> None:
        card = self._service.card
        kit = card.fittings.kit
        name = "card" if kit else "board"
        with ui.element("section").classes("stage").props(f'aria-label="The {name}"'):
            # A board without a display of its own has nothing to draw.
            drawn = ui.element("div").classes("card" if kit else "card board")
            drawn.set_visibility(kit or any(isinstance(p, Oled) for p in card.fittings.parts))
            with drawn:
                ui.label("TALLYSTICK" if kit else card.board.name).classes("brand")
                ui.label(self._panel.serial).classes("serial")
                flat = " flat" if card.display.height < card.display.width else ""
                with ui.element("div").classes(f"glass{flat}"):
                    self._glass = ui.element("img").props('alt="The display"').mark("glass")
                self._button = (
                    ui.button("press", color=None)
                    .classes("press")
                    .props('unelevated no-caps aria-label="Card button"')
                ).mark("press")
                self._button.set_visibility(kit)
                self._button.on("pointerdown", self._down, [])
                for event in ("pointerup", "pointerleave", "pointercancel", "blur"):
                    self._button.on(event, self._up, [])
                self._button.on("keydown.space", self._down, ["repeat"])
                self._button.on("keydown.enter", self._down, ["repeat"])
                self._button.on("keyup.space", self._up, [])
                self._button.on("keyup.enter", self._up, [])
            with ui.element("div").classes("state"):
                self._chips = [ui.label().classes("chip") for _ in range(4)]
            self._parts.build()
            if card.fittings.kit:
                ui.label(
                    "Hold the button for two seconds to see serial number and version."
                ).classes("hint")
            self._live = ui.label().classes("spoken").props('role="status" aria-live="polite"')

    # -- what a person does --------------------------------------------------------------------

    def _act(self, action: Callable[[Card], Any]) -> Any:
        """Does it to the card. A crash is told, and shows in the state."""
        return self._told(lambda: self._service.call(action))

    @staticmethod
    def _told(do: Callable[[], Any]) -> Any:
        try:
            return do()
        except Exception as error:
            ui.notify(str(error).strip().splitlines()[-1], type="negative", multi_line=True)
            return None

    def _down(self, event: Any) -> None:
        if isinstance(event.args, dict) and event.args.get("repeat"):
            return
        self._button.classes(add="down")
        self._act(deeds.hold_down)

    def _up(self, _event: Any) -> None:
        self._button.classes(remove="down")
        self._act(deeds.let_go)

    # -- time ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        due_ms = self._panel.due_ms()
        line = self._service.line
        if due_ms and not self._service.flowing and not (line is not None and line.past):
            self._told(lambda: self._service.pass_time(due_ms))
        look = partial(deeds.look, self._frame, self._drawer.slowly())
        seen = self._told(lambda: self._service.look(look))
        if seen is not None:
            self._show(seen)

    def _power_words(self, mv: int) -> str:
        if self._service.card.fittings.cabled:
            return "powered" if mv else "without power"
        return f"cell {mv / 1000:.2f} V" if mv else "cell out"

    def _show(self, seen: dict[str, Any]) -> None:
        if "png" in seen:
            data = base64.b64encode(seen["png"]).decode()
            words = f"code {' '.join(seen['code'])}" if seen["code"] else "a message"
            said = "The display is dark." if seen["blank"] else f"The display shows {words}."
            self._glass.props(f'src="data:image/png;base64,{data}" alt="{said}"')
            if said != self._spoken:
                self._spoken = said
                self._live.set_text(said)
            self._frame = seen["frame"]
        ua = seen["ua"]
        for chip, words in zip(
            self._chips,
            (
                _WORDS[seen["state"]],
                "serial connected" if seen["docked"] else "serial not connected",
                self._power_words(seen["mv"]),
                f"{ua / 1000:.2f} mA" if ua >= 1000 else f"{ua:.2f} µA",
            ),
            strict=True,
        ):
            chip.set_text(words)
        self._parts.show(seen["parts"])
        self._drawer.show(seen)
