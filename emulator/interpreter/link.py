"""The host's end of the pipe to MicroPython. The other end is `port/link.py`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import time
from abc import ABC, abstractmethod
from enum import IntEnum
from pathlib import Path
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
    FLASH_WORDS = 25
    USB_ACTIVE = 32
    USB_SUBMIT = 33
    USB_EVENT = 34
    LOOK = 40
    PROMPT = 41
    PIN_MODE = 4
    BUS = 10
    SPI_READ = 26
    I2C_READ = 27
    TIMER = 28
    WDT = 29
    PWM = 30
    UART_IRQ = 31
    HEAR = 35
    DECLARED = 36
    UART_ANY = 37
    DEBUG = 38
    P256 = 39


WAKE_PIN = 1
WAKE_UART = 2
WAKE_USB = 4
WAKE_TIMER = 8
SLEEP_LIGHT = 0x10
HANDLERS = 0x20  # whatever fires ends the wait, so that its handler runs

HEADER = struct.Struct("<BBHII")
ANSWER = struct.Struct("<iHQ16sH")
PINS = 126  # levels carried by an answer
LEVELS = 16  # bytes of them
FIRED = 126  # in a pin's place: something fired, and no wait has told of it
FLASH_IS_SURE = 127  # likewise: no program or erase can fail
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


SILENCE_S = 60.0
"""Seconds of real time: the longest calculation of our firmware takes a tenth of one. Options of
`tally emulate` and of the pytest plugin set it."""
_SLICE_MS = 100
_TRIES = 5  # to have a traceback of a firmware that is interrupted
_TRY_MS = 200
_TRY_CPU_S = 0.2
_ANSWERS = 40  # first, to what it asks on its way out
_ANSWER_MS = 50


def _worked_s(pid: int) -> float | None:
    """Processor time of a process that wants more of it; None when it waits, or has ended."""
    try:
        # The name before the last bracket may be anything.
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK") if words[0] in "RT" else None


def start_words(port: str, heap: int, kind: str, *numbers: int) -> list[str]:
    """The command line of a MicroPython with a heap of so many bytes that runs `boot.py` of the
    folder `port`, and nothing of the folder that it happens to be in; `kind` and `numbers` are the
    link's, see `port/link.py`."""
    code = f"import sys; sys.path[:] = [{port!r}]; import boot"
    return ["micropython", "-X", f"heapsize={heap}", "-c", code, kind, *map(str, numbers)]


class Link(ABC):
    """To MicroPython, which runs firmware."""

    @abstractmethod
    def receive(self) -> Message:
        """Blocks until the firmware does something. Raises LinkClosedError when MicroPython has
        ended, LinkSilentError when it loops."""

    @abstractmethod
    def answer(
        self, now_us: int, levels: bytes, received: int, value: int = 0, data: bytes = b""
    ) -> None:
        """`now_us` is virtual time, `levels` those of the input pins, a bit a pin. `received`:
        bytes that wait in the UART."""

    @abstractmethod
    def special(self, kind: int, data: bytes) -> None:
        """In place of an answer: what the port's `_special` knows."""

    def unwind(self) -> None:
        """In place of an answer: an exception unwinds the firmware to its top, whose traceback
        names every caller of what was asked for."""
        self.special(_UNWIND, b"")

    def prompt(self, source: str) -> str:
        """Runs one line of Python in the firmware's process, which waits for an answer; returns
        what it evaluates to, or the error. The answer is then still due.

        Raises LinkClosedError when the line ended the process.
        """
        self.special(_PROMPT, source.encode())
        return self.receive().data.decode(errors="replace")

    @abstractmethod
    def interrupt(self) -> str:
        """Ends a firmware that touches nothing. Returns its traceback, which says where it was; ""
        when it does not let itself be interrupted."""

    hurry = False  # from another thread: `receive` gives up at once

    @abstractmethod
    def close(self) -> None:
        """Power is gone: the firmware ends at once."""


class PipeLink(Link):
    """Two pipe ends to the process `pid`."""

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
        if len(self._buffer) - self._at < HEADER.size:
            self._read(HEADER.size)
        op, arg, length, value, cpu_us = HEADER.unpack_from(self._buffer, self._at)
        begin = HEADER.size
        if len(self._buffer) - self._at < begin + length:
            self._read(begin + length)
        begin += self._at
        self._at = begin + length
        return Message(op, arg, value, cpu_us, self._buffer[begin : self._at])

    def answer(
        self, now_us: int, levels: bytes, received: int, value: int = 0, data: bytes = b""
    ) -> None:
        try:
            os.write(self._write_fd, ANSWER.pack(value, len(data), now_us, levels, received) + data)
        except BrokenPipeError:
            raise LinkClosedError from None

    def special(self, kind: int, data: bytes) -> None:
        os.write(self._write_fd, ANSWER.pack(len(data), kind, 0, b"", 0) + data)

    def _wait(self) -> None:
        end = None
        while not self._poll.poll(min(_SLICE_MS, SILENCE_S * 1000)):
            now = time.monotonic()
            end = end or now + SILENCE_S - _SLICE_MS / 1000
            if self.hurry or now >= end:
                raise LinkSilentError

    def interrupt(self) -> str:
        if self._process < 0:
            return ""
        for number in range(_TRIES):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGINT)
            with contextlib.suppress(LinkClosedError, OSError):
                for _ in range(0 if number else _ANSWERS):
                    if (told := self._told_last(_ANSWER_MS)) is not None:
                        return told
                    # What it does on its way out (`finally`) gets an answer, so that the traceback
                    # stays that of where it was.
                    self.answer(0, bytes(LEVELS), 0)
                if (told := self._told_in_time()) is not None:
                    return told
                self.unwind()
        return ""

    def _told_in_time(self) -> str | None:
        """Of a try. One that works, or would if other programs left it the processor, is not
        interrupted again while it writes its traceback."""
        begin = _worked_s(self.pid)
        while (told := self._told_last(_TRY_MS)) is None:
            worked = _worked_s(self.pid)
            if begin is None or worked is None or worked - begin >= _TRY_CPU_S:
                return None
        return told

    def _told_last(self, quiet_ms: int) -> str | None:
        """The traceback that it ends with; None when it is quiet for so long."""
        while len(self._buffer) > self._at or self._poll.poll(quiet_ms):
            message = self.receive()
            if message.op == Op.CRASH:
                return message.data.decode(errors="replace")
        return None

    def close(self) -> None:
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
            self._wait()
            more = os.read(self._read_fd, 65536)
            if not more:
                raise LinkClosedError
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
