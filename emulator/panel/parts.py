"""What is soldered to a board, as the panel shows it: a line for each part, buttons to press."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any

from nicegui import ui

from tallystick.emulator.devices.card import Card
from tallystick.emulator.parts.part import BoardPart
from tallystick.emulator.parts.soldered.push_button import PushButton


class PartsRow:
    """Of the card's parts; nothing for a card without any. act: runs on the card's thread."""

    def __init__(self, card: Card, act: Callable[[Callable[[Card], Any]], Any]) -> None:
        self._parts = card.fittings.parts
        self._act = act
        self._labels: dict[str, ui.label] = {}

    def build(self) -> None:
        if not self._parts:
            return
        with ui.element("ul").classes("parts").props('aria-label="Parts on the board"'):
            for part in self._parts:
                with ui.element("li").classes("row"):
                    ui.label(part.name).classes("name")
                    self._labels[part.name] = ui.label().classes("value")
                    if isinstance(part, PushButton):
                        self._press(part.name)

    def _press(self, name: str) -> None:
        button = ui.button(f"press {name}").props("outline no-caps dense").mark(f"part-{name}")
        button.on("pointerdown", lambda: self._do(name, "down"), [])
        for event in ("pointerup", "pointerleave", "pointercancel", "blur"):
            button.on(event, lambda: self._do(name, "up"), [])
        for key in ("space", "enter"):
            button.on(f"keydown.{key}", lambda: self._do(name, "down"), [])
            button.on(f"keyup.{key}", lambda: self._do(name, "up"), [])

    def _do(self, name: str, action: str) -> None:
        self._act(methodcaller("do", name, action))

    @staticmethod
    def look(card: Card) -> dict[str, str]:
        """Name → what can be seen of the part."""
        return {part.name: _words(part, part.state()) for part in card.fittings.parts}

    def show(self, seen: Mapping[str, str]) -> None:
        for name, words in seen.items():
            if self._labels[name].text != words:
                self._labels[name].set_text(words)


def _words(part: BoardPart, state: Mapping[str, Any]) -> str:
    if "lit" in state:
        bright = f", {state['brightness']:.0%}" if "brightness" in state else ""
        return ("● lit" if state["lit"] else "○ dark") + bright
    if isinstance(part, PushButton):
        return "pressed" if state["down"] else "not pressed"
    shown = {name: value for name, value in state.items() if name != "sha256"}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
