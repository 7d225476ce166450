"""A sensor by itself behind a pseudo-terminal, answering at once, for host drivers."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Any

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503, settle
from tallystick.emulator.serving.serial_port import PseudoTerminal


class StandaloneSensor:
    """`with StandaloneSensor() as sensor:` — a driver opens `sensor.port`."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self._terminal = PseudoTerminal()
        self.port = self._terminal.name
        self.module = R503(self.clock, **options)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> StandaloneSensor:
        self.module.power(True)
        settle(self.clock)
        self.module.on_send = self._write
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._wake.set()
        self._thread.join()
        self._terminal.close()

    def press(self, master: Any, press: Any = None, **how: Any) -> None:
        with self._lock:
            self.module.present(master, press, **how)

    def lift(self) -> None:
        with self._lock:
            self.module.lift()

    def replug(self) -> None:
        """Power off and on. The start-up byte is not passed on: drivers open the port later."""
        with self._lock:
            self.module.power(False)
            self.module.on_send = None
            self.module.power(True)
            settle(self.clock)
            self.module.on_send = self._write

    def _write(self, data: bytes) -> None:
        """All of it: the terminal takes a few kilobytes at a time."""
        out = self._terminal.fileno()
        while data:
            select.select([], [out], [], 5)
            data = data[os.write(out, data) :]

    def _serve(self) -> None:
        while not self._wake.is_set():
            if not self._terminal.connected():
                time.sleep(0.002)
                continue
            if not select.select([self._terminal.fileno()], [], [], 0.02)[0]:
                continue
            with self._lock:
                self.module.receive(self._terminal.read())
                settle(self.clock)
