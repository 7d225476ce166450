"""Who presses the button of a real board and reads its display."""

from __future__ import annotations

import sys
from typing import Protocol

import pytest


class Hands(Protocol):
    def press(self, ms: int) -> None: ...
    def code(self) -> str | None: ...
    def undocked(self) -> None:
        """The card was taken off the dock: let it go to sleep."""


class PersonAtTerminal:
    """Asks whoever sits at the terminal. Skips the test when nobody does."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def press(self, ms: int) -> None:
        self._ask(f"Press the button for {ms / 1000:g} s, then Enter: ")

    def code(self) -> str | None:
        return self._ask("Type the code on the display (Enter for none): ").strip() or None

    def undocked(self) -> None:
        self._ask("Take the card off the dock, wait a second, then Enter: ")

    def _ask(self, question: str) -> str:
        if not sys.__stdin__ or not sys.__stdin__.isatty():
            pytest.skip("nobody is there to press the button: give --tally-hands or a terminal")
        capture = self._config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            sys.stdout.write("\n" + question)
            sys.stdout.flush()
            return sys.__stdin__.readline()


class Control:
    """A machine that presses and looks, over the control interface of `tally emulate card`: the
    emulator itself, or a test rig with a solenoid and a camera that speaks the same."""

    def __init__(self, url: str) -> None:
        import httpx  # noqa: PLC0415 (of an optional extra, and only this needs it)

        self._client = httpx.Client(base_url=url, timeout=30)

    def press(self, ms: int) -> None:
        self._client.post("/button", json={"action": "press", "ms": ms}).raise_for_status()

    def code(self) -> str | None:
        answer = self._client.get("/display", params={"format": "json"}).raise_for_status()
        code: str | None = answer.json()["code"]
        return code

    def undocked(self) -> None:
        for _ in range(100):
            if not self._client.get("/state").raise_for_status().json()["docked"]:
                break
        self._client.post("/clock", json={"advance_ms": 1000}).raise_for_status()

    def close(self) -> None:
        self._client.close()
