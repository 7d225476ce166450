"""The host's end of the pipe to MicroPython. The other end is `port/link.py`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
from enum import IntEnum
from typing import NamedTuple


class Op(IntEnum):
    """What the port asks for. `port/link.py` has the same table; a test compares them."""

    NOW = 1
    WAIT = 2
    PIN_SET = 3
    PIN_IRQ = 5
    ADC = 6
    SPI_WRITE = 7
    I2C_WRITE = 8
    UART_CONFIG = 9
    UART_READ = 11
    UART_WRITE = 12
    FLASH_ERASE = 13
    FLASH_PROGRAM = 14
    FLASH_READ = 15
    OFF = 16
    RESET = 17
    RESET_CAUSE = 18
    RANDOM = 19
    CRASH = 20
    REG_GET = 21
    REG_SET = 22
    FREQ = 23
    HEAP = 24
    USB_ACTIVE = 32
    USB_SUBMIT = 33
    USB_EVENT = 34
    LOOK = 40
    PROMPT = 41


WAKE_PIN = 1
WAKE_UART = 2
WAKE_USB = 4
SLEEP_LIGHT = 0x10

_HEADER = struct.Struct("<BBHII")
_ANSWER = struct.Struct("<iHQ16sH")
PINS = 128  # levels carried by an answer, but for the last
FLASH_IS_SURE = 127  # in its place: no program or erase can fail
_UNWIND, _PROMPT = 0xFFFF, 0xFFFE  # in place of a length


class Message(NamedTuple):
    """One request: `value` is unsigned 32 bits, `cpu_us` is CPU time (µs) spent before it."""

    op: int
    arg: int
    value: int
    cpu_us: int
    data: bytes


class LinkClosedError(Exception):
    """The MicroPython process ended without saying so."""


class LinkSilentError(LinkClosedError):
    """The firmware has not touched its hardware for `SILENCE_S`."""


SILENCE_S = 60
"""Seconds of real time: the longest calculation of our firmware takes a tenth of one."""


class Link:
    """Two pipe ends to the process `pid`. `receive` blocks until the firmware does something."""

    def __init__(
        self, read_fd: int, write_fd: int, pid: int, channel: socket.socket | None = None
    ) -> None:
        self.channel = channel
        """To a process that can be forked; see `micropython.Mother`."""
        self.pid = pid
        self._read_fd = read_fd
        self._write_fd = write_fd
        try:
            self._process = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already; `receive` will say so
            self._process = -1
        self._buffer = b""
        self._at = 0
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)

    def receive(self) -> Message:
        """Raises LinkClosedError when the process is gone, LinkSilentError when it loops."""
        if len(self._buffer) - self._at < _HEADER.size:
            self._read(_HEADER.size)
        op, arg, length, value, cpu_us = _HEADER.unpack_from(self._buffer, self._at)
        begin = _HEADER.size
        if len(self._buffer) - self._at < begin + length:
            self._read(begin + length)
        begin += self._at
        self._at = begin + length
        return Message(op, arg, value, cpu_us, self._buffer[begin : self._at])

    def answer(
        self, now_us: int, levels: bytes, received: int, value: int = 0, data: bytes = b""
    ) -> None:
        """`now_us` is virtual time, `levels` those of the input pins, a bit a pin. `received`:
        bytes that wait in the UART."""
        try:
            os.write(
                self._write_fd, _ANSWER.pack(value, len(data), now_us, levels, received) + data
            )
        except BrokenPipeError:
            raise LinkClosedError from None

    def unwind(self) -> None:
        """In place of an answer: an exception unwinds the firmware to its top, whose traceback
        names every caller of what was asked for."""
        os.write(self._write_fd, _ANSWER.pack(0, _UNWIND, 0, b"", 0))

    def prompt(self, source: str) -> str:
        """Runs one line of Python in the firmware's process, which waits for an answer; returns
        what it evaluates to, or the error. The answer is then still due.

        Raises LinkClosedError when the line ended the process.
        """
        data = source.encode()
        os.write(self._write_fd, _ANSWER.pack(len(data), _PROMPT, 0, b"", 0) + data)
        return self.receive().data.decode(errors="replace")

    def close(self) -> None:
        """Power is gone: the process on the other side ends at once."""
        if self._process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = -1
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self._read_fd >= 0:
            os.close(self._read_fd)
            os.close(self._write_fd)
            self._read_fd = self._write_fd = -1

    def _read(self, size: int) -> None:
        """Until `size` bytes are there from `_at` on."""
        while len(self._buffer) - self._at < size:
            if not self._poll.poll(SILENCE_S * 1000):
                raise LinkSilentError
            more = os.read(self._read_fd, 65536)
            if not more:
                raise LinkClosedError
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
