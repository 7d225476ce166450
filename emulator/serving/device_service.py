"""A device that lives in one thread of its own, and the requests that other threads have of it."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, Protocol, TypeVar

from tallystick.common.console import print_error
from tallystick.common.errors import TallyError
from tallystick.emulator.devices.device import FirmwareCrashError


class Closable(Protocol):
    """A device, or a part that lives by itself."""

    def close(self) -> None: ...


T = TypeVar("T")
D = TypeVar("D", bound=Closable)


class DeviceService(Generic[D]):
    """`run` serves until `stop`. `call` may be used from any other thread.

    crash: the traceback of the firmware's last exception, "" when there was none.
    """

    def __init__(self, device: D) -> None:
        self.device = device
        self.crash = ""
        self._requests: deque[tuple[Callable[[D], object], Future[object]]] = deque()
        self._lock = Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._stopping = self._ended = False

    # -- from other threads --------------------------------------------------------------------

    def call(self, action: Callable[[D], T], timeout_s: float = 60.0) -> T:
        """Runs `action(device)` in the device's own thread; returns what it returns or raises."""
        future: Future[object] = Future()
        with self._lock:
            if self._ended:
                raise _stopping()
            self._requests.append((action, future))
            os.write(self._wake_write, b"\0")
        return future.result(timeout_s)  # type: ignore[return-value]

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            if not self._ended:
                os.write(self._wake_write, b"\0")

    # -- the device's thread -------------------------------------------------------------------

    def run(self, on_end: Callable[[], None] | None = None) -> None:
        """Serves until `stop`; then calls `on_end` and closes everything."""
        try:
            while not self._stopping:
                self._serve_requests()
                self.turn()
        finally:
            self._end()
            if on_end is not None:
                on_end()
            self.close()

    def turn(self) -> None:
        """Waits for the outside (with `wait`), and lets time pass."""
        raise NotImplementedError

    def close(self) -> None:
        self.device.close()

    def wait(self, files: list[int], limit_s: float) -> list[int]:
        """Until one of the files can be read, a request comes, or `limit_s` of real time is over.
        Not empty when it was ended before that."""
        ready = select.select([self._wake_read, *files], [], [], limit_s)[0]
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        return ready

    def guard(self, action: Callable[[], None]) -> None:
        """A crash of the firmware is said, and is not the end of the service."""
        try:
            action()
        except FirmwareCrashError as error:
            self.crash = error.what
            print_error(error)

    def _serve_requests(self) -> None:
        while not self._stopping:
            with self._lock:
                if not self._requests:
                    return
                action, future = self._requests.popleft()
            try:
                future.set_result(action(self.device))
            except FirmwareCrashError as error:
                self.crash = error.what
                future.set_exception(error)
            except Exception as error:  # it belongs to the caller, in the other thread
                future.set_exception(error)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            while self._requests:
                self._requests.popleft()[1].set_exception(_stopping())
            os.close(self._wake_read)
            os.close(self._wake_write)


def _stopping() -> TallyError:
    return TallyError("The emulator is stopping.", todo="Start it again to go on.")
