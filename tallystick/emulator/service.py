"""An emulated card that lives in the real world: a serial port, a control interface, real time.

Virtual time stands still while nothing can happen, so that a code stays on the display until
somebody has read it. It flows with real time while a program has the serial port open (both sides
wait for one another), and always with `real_time`.
"""

from __future__ import annotations

import os
import random
import select
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import TypeVar

from tallystick.common.console import print_error
from tallystick.common.errors import TallyError
from tallystick.emulator.card import Card, FirmwareCrashError
from tallystick.emulator.serial_port import SerialPort

T = TypeVar("T")
_LOOK_FOR_PEER_S = 0.02
_US = 1_000_000
_SLICE_S = 0.05
_LONGEST_ADVANCE_S = 45


class Service:
    """`run` serves until `stop`. `call` may be used from any other thread."""

    def __init__(
        self, card: Card, port: SerialPort | None = None, *, real_time: bool = False
    ) -> None:
        self.card = card
        self.crash = ""
        self._port = port
        self._real_time = real_time
        self._requests: deque[tuple[Callable[[Card], object], Future[object]]] = deque()
        self._lock = Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._docked = False
        self.noise = 0.0  # part of the bytes to the card that arrive changed
        self._noise_rng = random.Random(0)
        self._stopping = False

    # -- from other threads --------------------------------------------------------------------

    def call(self, action: Callable[[Card], T], timeout_s: float = 60.0) -> T:
        """Runs `action(card)` in the card's own thread and returns what it returns or raises."""
        future: Future[object] = Future()
        with self._lock:
            self._requests.append((action, future))
        os.write(self._wake_write, b"\0")
        return future.result(timeout_s)  # type: ignore[return-value]

    def advance(self, ms: int) -> None:
        """Lets virtual time pass in slices, between which the service goes on serving others.

        Raises TallyError when wall time runs out: what has passed by then has passed.
        """
        until = self.call(lambda card: card.clock.now) + ms * 1000
        end = time.monotonic() + _LONGEST_ADVANCE_S
        while not self.call(lambda card: card.advance(until, _SLICE_S)):
            if time.monotonic() >= end:
                left = (until - self.call(lambda card: card.clock.now)) // 1000
                raise TallyError(
                    f"Time is passing too slowly: {left} ms of {ms} are left after "
                    f"{_LONGEST_ADVANCE_S} s.",
                    kept="The time that has passed stays passed.",
                    todo="Undock the card (close its serial port), or ask for less at a time.",
                )

    def stop(self) -> None:
        self._stopping = True
        os.write(self._wake_write, b"\0")

    # -- the card's thread ---------------------------------------------------------------------

    def run(self, on_end: Callable[[], None] | None = None) -> None:
        """Serves until `stop`; then calls `on_end` and closes the port and the card."""
        try:
            while not self._stopping:
                self._serve_requests()
                self._follow_peer()
                self._let_time_pass()
        finally:
            self._refuse_requests()
            if on_end is not None:
                on_end()
            if self._port is not None:
                self._port.close()
            self.card.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except FirmwareCrashError as error:
            self.crash = error.what
            print_error(error)

    def _serve_requests(self) -> None:
        while True:
            with self._lock:
                if not self._requests:
                    return
                action, future = self._requests.popleft()
            if self._stopping:
                future.set_exception(TallyError("The emulator is stopping."))
                continue
            try:
                future.set_result(action(self.card))
            except FirmwareCrashError as error:
                self.crash = error.what
                future.set_exception(error)
            except Exception as error:
                future.set_exception(error)

    def _refuse_requests(self) -> None:
        with self._lock:
            while self._requests:
                self._requests.popleft()[1].set_exception(TallyError("The emulator is stopping."))

    def _follow_peer(self) -> None:
        if self._port is None:
            return
        connected = self._port.connected()
        if connected and not self._docked:
            self._docked = True
            self._guard(lambda: self.card.dock(self._port.write if self._port else None))
        elif not connected and self._docked:
            self._docked = False
            self._guard(self.card.undock)

    @property
    def flowing(self) -> bool:
        """Virtual time goes on with real time."""
        return self._docked or self._real_time

    def _disturbed(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        rng = self._noise_rng
        return bytes(
            byte ^ 1 << rng.randrange(8) if rng.random() < self.noise else byte for byte in data
        )

    def _let_time_pass(self) -> None:
        """Waits for the outside; as long as the firmware waits when time flows."""
        flowing = self.flowing
        due = self.card.next_time() if flowing else None
        if due is None:
            limit = _LOOK_FOR_PEER_S if self._port is not None else 1.0
        else:
            limit = min(max(0.0, (due - self.card.clock.now) / _US), 0.5)
        files = [self._wake_read]
        if self._docked and self._port is not None:
            files.append(self._port.fileno())
        begin = time.monotonic()
        ready = select.select(files, [], [], limit)[0]
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if due is not None:
            elapsed = round((time.monotonic() - begin) * _US)
            until = min(due, self.card.clock.now + elapsed)
            if not ready and elapsed >= limit * _US and limit < 0.5:
                until = due
            self._guard(lambda: self.card.run_to(until))
        if self._docked and self._port is not None and self._port.fileno() in ready:
            data = self._disturbed(self._port.read())
            if data:
                self._guard(lambda: self.card.send(data))
