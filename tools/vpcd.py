"""Puts a card on a serial port into a virtual PC/SC reader: vsmartcard's vpcd, which pcscd loads.

vpcd listens, and whoever has a card connects (its default port is 35963). Messages are a length
(2 bytes, big endian) and that many bytes; one byte is a control: 0 power off, 1 power on, 2 reset,
4 ask for the ATR, which alone is answered. Everything else is a command APDU, and is answered.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import reduce
from operator import xor

from tallystick.common.console import print_error
from tallystick.common.errors import BadInputError, TallyError, UnreachableError
from tallystick.provisioning.card.connection import CardConnection

DEFAULT_PORT = 35963
_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4
_INTERNAL_ERROR = b"\x6f\x00"
# TS, T0, TD1, TD2: T=1; ten historical characters; TCK (ISO/IEC 7816-3, 8.2).
_AFTER_TS = bytes((0x8A, 0x80, 0x01)) + b"TALLYSTICK"
ATR = b"\x3b" + _AFTER_TS + bytes((reduce(xor, _AFTER_TS),))


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, HOST or :PORT. Raises BadInputError."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise BadInputError(f"{text!r} is not HOST:PORT.", todo=f"Use 127.0.0.1:{DEFAULT_PORT}.")
    return host or "127.0.0.1", int(port or DEFAULT_PORT)


class VirtualReader:
    """Serves one card to one vpcd until `close`, from a thread of its own."""

    def __init__(self, address: str, port: str) -> None:
        """port: the card's serial device. Raises UnreachableError when no vpcd listens."""
        where = parse_address(address)
        try:
            self._socket = socket.create_connection(where, timeout=5)
        except OSError as error:
            raise UnreachableError(
                f"No vpcd listens on {where[0]}:{where[1]}: {error.strerror or error}.",
                kept="The card was not started.",
                todo="Install vsmartcard-vpcd and start pcscd; see docs/guides/emulator.md.",
            ) from None
        self._socket.settimeout(None)
        self._port = port
        self._connection: CardConnection | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while (message := self._receive()) is not None:
                answer = self._control(message[0]) if len(message) == 1 else self._apdu(message)
                if answer is not None:
                    self._socket.sendall(len(answer).to_bytes(2, "big") + answer)
        self._take_out()

    def _receive(self) -> bytes | None:
        head = self._exactly(2)
        return None if head is None else self._exactly(int.from_bytes(head, "big"))

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def _control(self, command: int) -> bytes | None:
        if command == _ATR:
            return ATR
        if command in (_OFF, _RESET):
            self._take_out()
        return None

    def _apdu(self, command: bytes) -> bytes:
        """Docks the card at the first command: a powered reader alone need not wake it."""
        try:
            if self._connection is None:
                self._connection = CardConnection.open(self._port)
            return self._connection.t1.exchange(command)
        except TallyError as error:
            print_error(error)
            self._take_out()
            return _INTERNAL_ERROR

    def _take_out(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
