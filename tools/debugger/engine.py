"""The process that a debugged firmware lives in: lets its time pass, in which `FirmwareRecorder`
holds it.

Run as `python -m tallystick.tools.debugger.engine CHANNEL FLAGS`: two descriptors, a socket to the
server (a JSON object a line) and the file of `Flags`. It ends when the server closes the socket.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tallystick.common.errors import TallyError
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.project import Project
from tallystick.emulator.interpreter import resident
from tallystick.tools.debugger.instrument import Debugged
from tallystick.tools.debugger.orders import Flags
from tallystick.tools.debugger.recorder import FirmwareRecorder
from tallystick.tools.image.folder import of_project

_SLICE_S = 0.02
_SLICE_US = 1_000_000
_PACE_US = 20_000


class Engine:
    """request: `project` (a folder), `board`, `seed`, `speed`."""

    def __init__(self, channel: socket.socket, flags: Flags, request: dict[str, Any]) -> None:
        project = Project.find(Path(request["project"]), request.get("board"))
        table = Debugged()
        image = of_project(project, table)
        self._card = Card(image, seed=request.get("seed", 0), fittings=project.fittings())
        self._recorder = FirmwareRecorder(self._card, table, channel, flags)
        self._speed = float(request.get("speed", 1.0))
        channel.sendall(json.dumps(self._recorder.ready()).encode() + b"\n")

    def run(self) -> NoReturn:
        """From power-on to the end of the server."""
        card, recorder = self._card, self._recorder
        recorder.start()
        for part in card.fittings.parts:
            part.power(True)
        card.mcu.power_on()
        while True:
            if recorder.hurried:
                self._hurry()
            else:
                self._slice()

    @property
    def _asleep(self) -> bool:
        return self._card.mcu.state is not ChipState.RUNNING

    def _hurry(self) -> None:
        """To the next statement that is wanted, however long the firmware waits."""
        clock, due = self._card.clock, self._recorder.due_input()
        until = clock.now + _SLICE_US
        if due is not None and due <= until:
            self._advance(due, _go_on)
            if clock.now >= due and self._recorder.due_input() == due:
                self._recorder.do_due()
            return
        if due is None and self._asleep and self._card.next_time() is None:
            self._recorder.ended("The firmware sleeps, and nothing wakes it.", "pause")
        self._advance(until, _go_on)

    def _slice(self) -> None:
        """At the pace that is wanted, and what comes meanwhile."""
        clock, recorder = self._card.clock, self._recorder
        step = round(_PACE_US * self._speed) if self._speed else _SLICE_US
        began = time.monotonic()
        end = began + _SLICE_S
        before, until = clock.now, recorder.until_us
        there = clock.now + step
        there = there if until is None else max(clock.now, min(there, until))
        self._advance(there, lambda: recorder.hurried or time.monotonic() >= end)
        if recorder.hurried:
            return
        if until is not None and clock.now >= until:
            recorder.pause()
            return
        idle = self._asleep and self._card.next_time() is None
        wait = None if idle and until is None else 0.0
        if self._speed and not idle:
            wait = max(0.0, (clock.now - before) / 1e6 / self._speed - (time.monotonic() - began))
        request = recorder.request(wait)
        if request is not None:
            recorder.while_running(request, asleep=self._asleep)

    def _advance(self, until_us: int, stop: Callable[[], bool]) -> None:
        crash = ""
        try:
            self._card.mcu.run(until_us, stop=stop)
            self._card.after_run()
        except FirmwareCrashError as error:
            crash = error.what
        if crash or self._card.mcu.state is ChipState.CRASHED:
            self._recorder.ended(crash or "The firmware has ended.")


def _go_on() -> bool:
    return False


def main(channel: int, flags: int) -> None:
    """See the module."""
    sock = socket.socket(fileno=channel)
    line = b""
    while not line.endswith(b"\n"):
        more = sock.recv(65536)
        if not more:
            return
        line += more
    with resident.enabled():
        try:
            engine = Engine(sock, Flags(flags), json.loads(line))
        except TallyError as error:
            sock.sendall(json.dumps({"failed": error.what}).encode() + b"\n")
            return
        engine.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
