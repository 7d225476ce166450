"""The emulated card's serial line, as programs on this computer see it: a pseudo-terminal or
TCP.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import tty
from typing import Protocol

from tallystick.common.errors import BadInputError


class SerialPort(Protocol):
    """One peer at a time. `fileno` is readable while `connected`, when bytes wait or the peer
    left.
    """

    name: str

    def fileno(self) -> int: ...
    def connected(self) -> bool: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class PseudoTerminal:
    """`name` is a device that pyserial opens. Opening it docks the card, closing it undocks it."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave, termios.TCSANOW)
        self.name = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._poll.register(self._master, 0)

    def fileno(self) -> int:
        return self._master

    def connected(self) -> bool:
        """True while somebody has the device open (otherwise the kernel reports a hang-up)."""
        return not any(event & select.POLLHUP for _, event in self._poll.poll(0))

    def read(self) -> bytes:
        try:
            return os.read(self._master, 4096)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody listens, or the peer left: bytes are lost
            os.write(self._master, data)

    def close(self) -> None:
        os.close(self._master)


def _reason(error: OSError) -> str:
    """Without what Python adds, which says the address again."""
    return os.strerror(error.errno) if error.errno else str(error)


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 chooses. Raises BadInputError when it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise BadInputError(
            f"Port {port} of 127.0.0.1 cannot be used: {_reason(error)}.",
            kept="Nothing was started.",
            todo="Choose another port; 0 lets the system choose.",
        ) from None


class TcpPort:
    """A listening socket on 127.0.0.1; `socket://127.0.0.1:PORT` for pyserial. Port 0 chooses."""

    def __init__(self, port: int) -> None:
        self._listener = listen(port)
        self._listener.setblocking(False)
        self._peer: socket.socket | None = None
        self.name = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"

    def fileno(self) -> int:
        return self._peer.fileno() if self._peer else self._listener.fileno()

    def connected(self) -> bool:
        if self._peer is None:
            with contextlib.suppress(BlockingIOError):
                self._peer, _ = self._listener.accept()
                self._peer.setblocking(False)
                self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._peer is not None

    def read(self) -> bytes:
        if self._peer is None:
            return b""
        try:
            data = self._peer.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._peer.close()
            self._peer = None
        return data

    def write(self, data: bytes) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._peer.sendall(data)

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._listener.close()
