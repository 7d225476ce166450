"""A board with MicroPython on it and its prompt on a serial port: mpremote's transport.

This is the way for the first image on a development board. Once our firmware runs it keeps the
prompt shut, and the board is flashed over its boot ROM or a debug probe.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import redirect_stdout

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.emulator.boards.board import Board, Region
from tallystick.tools.flash.job import Job, Progress

_PIECE = 4096
_MICROPYTHON_VENDORS = (0x2E8A, 0xF055)  # Raspberry Pi; MicroPython on other boards
_HELPERS = """
import hashlib, rp2
_d = rp2.Flash()
_b = 4096
from binascii import a2b_base64 as _f
def _w(at, data):
    for i in range(0, len(data), _b):
        _d.writeblocks((at + i) // _b, memoryview(data)[i : i + _b])
def _h(at, size):
    h = hashlib.sha256()
    buf = bytearray(_b)
    for i in range(at, at + size, _b):
        _d.readblocks(i // _b, buf)
        h.update(memoryview(buf)[: min(_b, at + size - i)])
    return h.digest()
def _r(at, size):
    buf = bytearray(_b)
    _d.readblocks(at // _b, buf)
    return bytes(buf[:size])
"""


def ports() -> list[str]:
    """Serial ports that a board with MicroPython may be on."""
    return [port.device for port in list_ports.comports() if port.vid in _MICROPYTHON_VENDORS]


class ReplTarget:
    """Implements job.Target."""

    read_back = True

    def __init__(self, port: str) -> None:
        self.name = port
        try:
            self._transport = SerialTransport(port)
            # mpremote prints what came in place of a prompt; our output is ours.
            with redirect_stdout(io.StringIO()):
                self._transport.enter_raw_repl(soft_reset=False)
        except (TransportError, serial.SerialException, OSError) as error:
            raise NoDeviceError(
                f"No MicroPython prompt answers on {port}: {error}.",
                todo="Connect a board with MicroPython, or flash it over its boot ROM (--drive).",
            ) from None
        self._prepared = False

    def identify(self) -> str:
        return str(self._eval("__import__('os').uname().machine"))

    def expected(self, board: Board) -> str:
        """What the prompt's `os.uname()` says. Raises RefusedError for a board that opens none."""
        if not board.chip.prompt:
            raise RefusedError(
                f"{board.name} is not flashed through MicroPython's prompt: the MicroPython that "
                "its firmware needs opens none, and the prompt of another does not reach the boot "
                "record.",
                kept="Nothing was written to the board.",
                todo="Use --program openocd or --program dfu-util.",
            )
        return board.chip.prompt

    def unique(self) -> str:
        found = self._eval("__import__('machine').unique_id()")
        return bytes(found).hex()

    def read(self, board: Board, region: Region) -> bytes:
        self._prepare()
        start = region.address - board.storage.address
        end = start + region.size
        return b"".join(
            self._eval(f"_r({at},{min(_PIECE, end - at)})") for at in range(start, end, _PIECE)
        )

    def write(self, job: Job, progress: Progress) -> None:
        self._prepare()
        pieces = list(_pieces(job))
        for number, (at, piece) in enumerate(pieces, 1):
            text = base64.b64encode(piece).decode()
            self._exec(f"_w({at},_f(b'{text}'))")
            progress(number * _PIECE, len(pieces) * _PIECE)

    def verify(self, job: Job, progress: Progress) -> None:
        """Has the board hash its pieces; progress in bytes. RefusedError where one differs."""
        pieces = list(_pieces(job))
        for number, (at, piece) in enumerate(pieces, 1):
            if self._eval(f"_h({at},{len(piece)})") != hashlib.sha256(piece).digest():
                raise RefusedError(
                    f"What the board has at {at:#x} of its storage is not what was written.",
                    kept="The board is not usable as it is.",
                    todo="Flash it again; if it happens again, its flash is worn out.",
                )
            progress(number * _PIECE, len(pieces) * _PIECE)

    def restart(self) -> None:
        self._transport.exec_raw_no_follow("__import__('machine').reset()")

    def close(self) -> None:
        self._transport.close()

    def _prepare(self) -> None:
        if not self._prepared:
            self._exec(_HELPERS)
            self._prepared = True

    def _exec(self, code: str) -> None:
        try:
            self._transport.exec(code)
        except TransportExecError as error:
            raise RefusedError(
                f"The board on {self.name} failed: {error.error_output.strip().splitlines()[-1]}.",
                todo="Reset it and try again.",
            ) from None
        except (TransportError, serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def _eval(self, expression: str) -> bytes:
        try:
            value = self._transport.eval(expression)
        except TransportExecError as error:
            raise RefusedError(f"The board on {self.name} failed: {error}.") from None
        except (TransportError, serial.SerialException, OSError) as error:
            raise self._gone(error) from None
        return value  # type: ignore[no-any-return]

    def _gone(self, error: Exception) -> NoDeviceError:
        return NoDeviceError(
            f"The board on {self.name} went away: {error}.", todo="Connect it and flash it again."
        )


def _pieces(job: Job) -> Iterator[tuple[int, bytes]]:
    """(offset in the storage area, content), whole blocks."""
    for at in range(0, len(job.data), _PIECE):
        yield at, job.data[at : at + _PIECE].ljust(_PIECE, b"\xff")
    if job.erased is not None:
        start = job.erased.address - job.board.storage.address
        for at in range(start, start + job.erased.size, _PIECE):
            yield at, b"\xff" * _PIECE
    for address, data in job.extra:
        start = address - job.board.storage_address
        if start < 0 or start % _PIECE:
            raise RefusedError(
                "MicroPython's prompt writes behind MicroPython only.",
                kept="Nothing was written to the board.",
                todo="Leave the base out of the job, or use a drive.",
            )
        for at in range(0, len(data), _PIECE):
            yield start + at, data[at : at + _PIECE].ljust(_PIECE, b"\xff")
