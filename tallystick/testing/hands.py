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

A board with a firmware of one's own (`--tally-firmware`) has the parts of its board.toml, and hands
for it any of these; what it prints is read from `serial:DEV`.

    class Rig:
        def press(self, ms: int) -> None:
            "Presses the first button."

        def press_part(self, name: str, ms: int) -> None:
            "Presses this button, lets go, and waits for the answer."

        def do(self, name: str, action: str, value) -> None:
            "Something happens to a part: a heater, a relay, a line of a serial port."

        def look(self, name: str) -> dict:
            "What is seen of a part: {"lit": True} of a lamp in front of a camera."

        def power(self, on: bool) -> None:
            "A relay in its supply."

        def wait(self, seconds: float) -> None:
            "Instead of real time that passes."

        def console(self) -> str:
            "What it has printed, instead of what came over serial:DEV."
"""

from __future__ import annotations

import sys
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from tallystick.common.modules import load_module

_METHODS = ("press", "code", "undocked")  # of a card's


class Hands(Protocol):
    """What a real board needs of somebody. Real time passes in each."""

    def press(self, ms: int) -> None:
        """Presses the button for `ms`, lets go, and lets the display settle."""

    def code(self) -> str | None:
        """The digits on the display; None when there are none."""

    def undocked(self) -> None:
        """The card was taken off the dock: let it go to sleep."""


class OwnHands(Protocol):
    """Of a board with a firmware of one's own: any of the methods above, and none that it must
    have."""


def hands_of(name: str, config: pytest.Config) -> Hands:
    """What `--tally-hands` names, for a card. Raises BadInputError, and pytest.UsageError for what
    has not all methods."""
    hands: Hands = _made(name, config, _METHODS)  # type: ignore[assignment]
    return hands


def own_hands_of(name: str, config: pytest.Config) -> OwnHands:
    """Likewise, for a firmware of one's own."""
    return _made(name, config, ())


def _made(name: str, config: pytest.Config, needed: tuple[str, ...]) -> object:
    if name == "ask":
        return PersonAtTerminal(config)
    if name.startswith(("http://", "https://")):
        return Control(name)
    file, _, cls = name.rpartition(":")
    if not file.endswith(".py"):
        raise pytest.UsageError(f"--tally-hands={name}: use ask, a URL, or FILE.py:CLASS.")
    made = getattr(load_module(config.rootpath / file, "tally_hands"), cls, None)
    missing = [one for one in needed if not callable(getattr(made, one, None))]
    if made is None or missing:
        lacks = f"has no {missing[0]}()" if made is not None else "is not there"
        raise pytest.UsageError(f"--tally-hands={name}: {cls} {lacks} (tallystick.testing.hands).")
    return made()


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

    def press_part(self, name: str, ms: int) -> None:
        self._ask(f"Press {name} for {ms / 1000:g} s, then Enter: ")

    def do(self, name: str, action: str, value: object = None) -> None:
        words = "" if value is None else f" {value!r}"
        self._ask(f"Now for {name}: {action}{words}; then Enter: ")

    def power(self, on: bool) -> None:
        self._ask(f"{'Give the board its power' if on else 'Take the power away'}, then Enter: ")

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

    def press_part(self, name: str, ms: int) -> None:
        self.do(name, "down")
        self.wait(ms / 1000)
        self.do(name, "up")
        self.wait(ms / 1000)

    def do(self, name: str, action: str, value: object = None) -> None:
        wanted = {"action": action, "value": value}
        self._client.post(f"/parts/{quote(name, safe='')}", json=wanted).raise_for_status()

    def look(self, name: str) -> dict[str, object]:
        parts = self._state()["parts"]
        if name not in parts:
            pytest.fail(f"there is no part {name!r}; there are {', '.join(parts) or 'none'}")
        return dict(parts[name])

    def power(self, on: bool) -> None:
        self._client.post("/power", json={"on": on}).raise_for_status()

    def wait(self, seconds: float) -> None:
        wanted = {"advance_ms": round(seconds * 1000)}
        self._client.post("/clock", json=wanted).raise_for_status()

    def console(self) -> str:
        return str(self._state()["console"])

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/state").raise_for_status().json()
        return found

    def code(self) -> str | None:
        answer = self._client.get("/display", params={"format": "json"}).raise_for_status()
        code: str | None = answer.json()["code"]
        return code

    def undocked(self) -> None:
        for _ in range(100):
            if not self._state()["docked"]:
                break
        self.wait(1)

    def close(self) -> None:
        self._client.close()
