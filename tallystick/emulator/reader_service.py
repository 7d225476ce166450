"""An emulated reader that lives in the real world: HID reports over UDP or uhid, a control
interface.

The firmware's own waits (touch time-outs, keep-alives) last as long as they say. What the parts do,
a USB frame or the sensor's work, is done at once unless `real_time`: nobody gains from waiting for
an emulated sensor.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Protocol, TypeVar

from tallystick.common.console import print_error
from tallystick.emulator.card import FirmwareCrashError
from tallystick.emulator.reader import Reader

T = TypeVar("T")
_US = 1_000_000
_LONGEST_S = 0.5


class HidPort(Protocol):
    """Where the host is."""

    def fileno(self) -> int: ...

    def receive(self, take: Callable[[bytes], None]) -> None: ...

    def send(self, report: bytes) -> None: ...

    def close(self) -> None: ...


class ReaderService:
    """`run` serves until `stop`. `call` may be used from any other thread."""

    def __init__(self, reader: Reader, port: HidPort | None, *, real_time: bool = False) -> None:
        self.reader = reader
        self.crash = ""
        self._port = port
        self._real_time = real_time
        self._requests: deque[tuple[Callable[[Reader], object], Future[object]]] = deque()
        self._lock = Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._stopping = False
        if port is not None:
            reader.on_report = port.send

    # -- from other threads --------------------------------------------------------------------

    def call(self, action: Callable[[Reader], T], timeout_s: float = 60.0) -> T:
        """Runs `action(reader)` in the reader's own thread; returns what it returns or raises."""
        future: Future[object] = Future()
        with self._lock:
            self._requests.append((action, future))
        os.write(self._wake_write, b"\0")
        return future.result(timeout_s)  # type: ignore[return-value]

    def stop(self) -> None:
        self._stopping = True
        os.write(self._wake_write, b"\0")

    # -- the reader's thread -------------------------------------------------------------------

    def run(self, on_end: Callable[[], None] | None = None) -> None:
        """Serves until `stop`; then calls `on_end` and closes the port and the reader."""
        try:
            while not self._stopping:
                self._serve_requests()
                self._let_time_pass()
        finally:
            if on_end is not None:
                on_end()
            if self._port is not None:
                self._port.close()
            self.reader.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _serve_requests(self) -> None:
        while True:
            with self._lock:
                if not self._requests:
                    return
                action, future = self._requests.popleft()
            try:
                future.set_result(action(self.reader))
            except FirmwareCrashError as error:
                self.crash = error.what
                future.set_exception(error)
            except Exception as error:  # it belongs to the caller, in the other thread
                future.set_exception(error)

    def _run_to(self, time_us: int) -> None:
        try:
            self.reader.run_to(time_us)
        except FirmwareCrashError as error:
            self.crash = error.what
            print_error(error)

    def _let_time_pass(self) -> None:
        """Waits for the outside, as long as the firmware waits."""
        reader = self.reader
        due = reader.next_time()
        event = reader.clock.next_event()
        begin = time.monotonic()
        limit = _LONGEST_S if due is None else max(0.0, (due - reader.clock.now) / _US)
        if not self._real_time and reader.working and event is not None and event == due:
            limit = 0.0
        files: list[int] = [self._wake_read]
        if self._port is not None:
            files.append(self._port.fileno())
        ready = select.select(files, [], [], min(limit, _LONGEST_S))[0]
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if due is not None:
            elapsed = round((time.monotonic() - begin) * _US)
            over = not ready and limit <= _LONGEST_S
            self._run_to(due if over else min(due, reader.clock.now + elapsed))
        if self._port is not None and self._port.fileno() in ready:
            self._port.receive(reader.write_report)
