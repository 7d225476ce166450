"""`pytest --tally-debug`: a test that fails stands still, and a debugger's client can look, and go
back.

The firmware is recorded while the test runs: pytest's process forks every now and then
(`emulator/devices/keepers.py`), with firmware, parts and the test itself in it. To go back, such a
process does again what the test did from there on. Its words go nowhere, and it reports nothing.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from types import CodeType, FrameType

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.emulator.serving.serial_port import listen
from tallystick.tools.debugger.instrument import Debugged
from tallystick.tools.debugger.orders import Flags, shared_flags
from tallystick.tools.debugger.recorder import FirmwareRecorder
from tallystick.tools.debugger.server import EngineChannel, Offered
from tallystick.tools.debugger.serving import serve_next
from tallystick.tools.image.folder import of_project

PLAIN = pytest.StashKey[Image]()
"""Likewise: the image without them, for boards beside the one that is debugged."""
TABLE = pytest.StashKey[Debugged]()
"""In the configuration: the statements of the image that tests boot."""


def debugged_image(config: pytest.Config, project: Project) -> Image:
    """The project's, built to be debugged. Raises BadInputError."""
    config.stash[PLAIN] = of_project(project)
    table = config.stash[TABLE] = Debugged()
    return of_project(project, table)


def check(config: pytest.Config) -> None:
    """Raises pytest.UsageError for options that do not go together."""
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None):
        raise pytest.UsageError("--tally-debug needs pytest's own process: leave -n out.")
    if config.getoption("--tally-firmware") is None:
        raise pytest.UsageError("--tally-debug needs sources: name them, --tally-firmware=DIR.")
    if config.getoption("--tally-backend") not in ("emulator", "resident"):
        raise pytest.UsageError("--tally-debug is for emulated boards.")


class DebuggedTest:
    """Records one board, from before its first power-on to the end of the test."""

    def __init__(self, card: Card, table: Debugged, test: CodeType | None) -> None:
        self._ours, theirs = socket.socketpair()
        self._theirs = theirs
        flags = shared_flags()
        self._flags = Flags(flags)
        os.close(flags)
        self._test = test
        self._again = False  # this process is a keeper's child
        self._recorder = FirmwareRecorder(card, table, theirs, self._flags, self._in_child)
        self._recorder.frames = self._frames
        self._recorder.record()

    def _in_child(self) -> None:
        """First of all: what it says is nobody's, and it ends with pytest's process."""
        self._again = True
        self._ours.close()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.stdout = sys.stderr = open(nowhere, "w", encoding="utf-8", closefd=False)  # noqa: SIM115

    def _frames(self) -> list[FrameType]:
        """Of the test, and of what it calls that is not ours; the test's first."""
        found: list[FrameType] = []
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if not str(frame.f_globals.get("__name__", "")).startswith("tallystick."):
                found.append(frame)
            if frame.f_code is self._test:
                return found[::-1]
            frame = frame.f_back
        return []

    def also(self, card: Card) -> None:
        """Another board of the same test: it is gone back with."""
        self._recorder.keepers.also(card)

    def over(self, why: str) -> None:
        """The test has ended. Does not return where it was only done again."""
        if self._again:
            self._recorder.ended(why)

    def offer(self, why: str, port: int, say: Callable[[str], None]) -> None:
        """Waits for a client, and serves it until it goes."""
        if not self._recorder.offer(why):
            say("The firmware executed no statement: there is nothing to debug.")
            return
        engine = EngineChannel(self._ours, self._flags)
        with listen(port) as listener:
            number = listener.getsockname()[1]
            say(f"It stands still there. debug adapter: 127.0.0.1:{number} (Ctrl-C goes on)")
            try:
                while not serve_next(listener, {}, Offered(engine, self._recorder.ready())):
                    pass  # who looked in, and was no debugger
            except KeyboardInterrupt:
                say("Nobody came to debug it.")

    def close(self) -> None:
        """Everything that was kept ends."""
        self._recorder.close()
        self._ours.close()
        self._theirs.close()


def debugger_of(config: pytest.Config, card: Card, node: pytest.Item) -> DebuggedTest | None:
    """For a card before its first power-on; None when the image was not built for it."""
    table = config.stash.get(TABLE, None)
    if table is None or not table.lines:
        return None
    function = getattr(node, "function", None)
    return DebuggedTest(card, table, getattr(function, "__code__", None))
