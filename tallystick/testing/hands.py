"""Who presses the button of a real board and reads its display.

A servo with a camera, a relay across the button's contacts, a person: whatever has the methods of
`Hands`. A class of one's own is named on the command line, `--tally-hands=rig.py:Servo`; it is made
once for each test, without arguments, and `close`, where it has one, ends it.

    class Servo:
        def press(self, ms: int) -> None:
            "Presses for so many milliseconds, lets go, returns when the display has settled."

        def code(self) -> str | None:
            "The digits on the display now; None when there are none."

        def undocked(self) -> None:
            "Takes the card off the dock, returns when it sleeps."

Nothing else of a card needs hands: everything on the serial line goes over `serial:DEV`. What hands
cannot do skips its test, by name.
"""

from __future__ import annotations

import sys
from typing import Protocol

import pytest

from tallystick.common.modules import load_module

_METHODS = ("press", "code", "undocked")


class Hands(Protocol):
    """What a real board needs of somebody. Real time passes in each."""

    def press(self, ms: int) -> None:
        """Presses the button for `ms`, lets go, and lets the display settle."""

    def code(self) -> str | None:
        """The digits on the display; None when there are none."""

    def undocked(self) -> None:
        """The card was taken off the dock: let it go to sleep."""


def hands_of(name: str, config: pytest.Config) -> Hands:
    """What `--tally-hands` names. Raises BadInputError, and pytest.UsageError for what has not all
    methods."""
    if name == "ask":
        return PersonAtTerminal(config)
    if name.startswith(("http://", "https://")):
        return Control(name)
    file, _, cls = name.rpartition(":")
    if not file.endswith(".py"):
        raise pytest.UsageError(f"--tally-hands={name}: use ask, a URL, or FILE.py:CLASS.")
    made = getattr(load_module(config.rootpath / file, "tally_hands"), cls, None)
    missing = [one for one in _METHODS if not callable(getattr(made, one, None))]
    if made is None or missing:
        lacks = f"has no {missing[0]}()" if made is not None else "is not there"
        raise pytest.UsageError(f"--tally-hands={name}: {cls} {lacks} (tallystick.testing.hands).")
    hands: Hands = made()
    return hands


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
