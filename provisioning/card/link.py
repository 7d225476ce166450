"""Bytes to and from a card: a serial device, a pty, or any URL that pyserial opens."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import serial

from tallystick.common.closing import Closing
from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.system import PortReader

BAUD = 115_200


class ByteLink(Protocol):
    """What T=1 needs of a line."""

    name: str

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises NoDeviceError when the line is gone."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, at least one byte; empty after `timeout_s` seconds of silence.

        Raises NoDeviceError when the line is gone.
        """

    def drain(self) -> None:
        """Throw away what has arrived and was not read."""

    def close(self) -> None: ...


class SerialLink(Closing):
    """A serial port or a pyserial URL such as `socket://127.0.0.1:5000`, taken exclusively."""

    def __init__(self, port: str, *, baud: int = BAUD) -> None:
        self.name = port
        try:
            if "://" in port:
                self._port = serial.serial_for_url(port, baudrate=baud, timeout=1)
            else:
                self._port = serial.Serial(port, baudrate=baud, timeout=1, exclusive=True)
            self._reader = PortReader(self._port)
        except (serial.SerialException, OSError, ValueError) as error:
            raise _cannot_open(port, error) from None

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError):
            raise self._vanished() from None

    def read(self, timeout_s: float) -> bytes:
        try:
            data = self._reader.read(timeout_s)
        except (serial.SerialException, OSError):
            raise self._vanished() from None
        if data == b"":
            raise self._vanished()
        return data or b""

    def drain(self) -> None:
        while self.read(0):
            pass

    def close(self) -> None:
        with suppress(serial.SerialException, OSError):
            self._port.close()

    def _vanished(self) -> NoDeviceError:
        return NoDeviceError(
            f"The port {self.name} went away while it was in use.",
            todo="Plug it in again and repeat the command.",
        )


def _cannot_open(port: str, error: Exception) -> NoDeviceError:
    reason = str(error)
    if "exclusively lock" in reason:
        why, todo = "another program has it open", "Stop that program, or choose another port."
    elif isinstance(error, OSError) and error.errno == 13:
        why, todo = "this user may not open it", "Add the user to the group that owns the port."
    elif isinstance(error, OSError) and error.errno == 2:
        why, todo = "there is no such port", "`tally station ports` lists the ports there are."
    else:
        why, todo = reason, "`tally station ports` lists the ports there are."
    return NoDeviceError(f"The port {port} cannot be opened: {why}.", todo=todo)
