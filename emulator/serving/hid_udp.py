"""HID reports in UDP datagrams on 127.0.0.1: 64 bytes each way, answers to whoever sent last."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

from tallystick.common.errors import TallyError

REPORT = 64


class UdpHid:
    """Port 0 chooses; `port` says which."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise TallyError(
                f"UDP port {port} on this computer is taken: {error.strerror}.",
                kept="No reader was started.",
                todo="Name another port, or 0 to have one chosen.",
            ) from error
        self._socket.setblocking(False)
        self._peer: tuple[str, int] | None = None
        self.port: int = self._socket.getsockname()[1]

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, take: Callable[[bytes], None]) -> None:
        """Gives every report that has come to `take`. Datagrams of another length are dropped."""
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                data, peer = self._socket.recvfrom(2048)
                if len(data) == REPORT:
                    self._peer = peer
                    take(data)

    def send(self, report: bytes) -> None:
        if self._peer is not None:
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                self._socket.sendto(report, self._peer)

    def plug(self, *, plugged: bool) -> None:
        """Datagrams say nothing of a cable."""

    def close(self) -> None:
        self._socket.close()


class CabledUdpHid(UdpHid):
    """With a pipe that tells the other end of the cable (`hid_umockdev.py`): 1 it is plugged in, 0
    it is not. `cable`: its read end, to be given away. descriptor: the HID report descriptor."""

    def __init__(self, descriptor: bytes) -> None:
        super().__init__(0)
        self.descriptor = descriptor
        self.cable, self._told = os.pipe()

    def given(self) -> None:
        """A process has the read end. It learns by its end that we have ended."""
        os.close(self.cable)

    def plug(self, *, plugged: bool) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._told, bytes((plugged,)))

    def close(self) -> None:
        os.close(self._told)
        super().close()
