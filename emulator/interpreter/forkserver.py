"""Processes, free of threads, that have MicroPython loaded and fork it: power-on in a millisecond.

Run as `python -m tallystick.emulator.interpreter.forkserver FD`; it ends when FD is closed. A
request is one datagram of JSON with one file descriptor, a socket; the answer is the process number
of a *mother*, as text. A mother has run `port/boot.py` up to the point where the chip would come
out of reset, and blocks there in a read. To start a chip, send her a datagram (JSON: the list of
processors to run on) with four descriptors (flash, read, write, console) over that socket, then
SIGUSR1: she forks, the child takes the descriptors, and she answers with its number. She ends with
the fork server, and that ends when its host does, however it ends. A fifth descriptor, a socket,
makes the child a mother too: it can be forked in the same way while its firmware waits for an
answer.
"""

from __future__ import annotations

import array
import ctypes
import json
import mmap
import os
import signal
import socket
import sys
from typing import Any

from tallystick.emulator.interpreter.link import start_words
from tallystick.emulator.interpreter.pages import pages_of_its_own

_SIGNAL = signal.SIGUSR1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
_PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
_FLAGS = mmap.MAP_SHARED | 0x10  # MAP_FIXED: in place of the mother's
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_PR_SET_PDEATHSIG = 1


def _receive(channel: socket.socket, count: int) -> tuple[bytes, list[int]]:
    data, ancillary, _flags, _address = channel.recvmsg(65536, socket.CMSG_SPACE(4 * count))
    fds = array.array("i")
    for _level, _kind, content in ancillary:
        fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


class _Mother:
    """Runs in a process of its own. `request` holds heap, port, flash_size and config."""

    def __init__(self, request: dict[str, Any], channel: socket.socket) -> None:
        self._request = request
        self._channel = channel
        self._channel_fd = channel.fileno()
        self._processors = b""
        self._flash = mmap.mmap(-1, request["flash_size"])
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._flash))
        self._read_fd, self._never_written = os.pipe()
        config = request["config"].encode()
        os.write(self._never_written, len(config).to_bytes(4, "little") + config)
        # Her end of the pipe to the host: where she says that she is ready.
        self._write_fd = os.dup(self._channel_fd)
        self._handler = _Handler(self._fork)

    def run(self) -> int:
        """Returns in the end of a child, with MicroPython's exit status."""
        import micropython_run

        # By way of C, not of Python's own signals: those wait for the interpreter, which is not
        # running while MicroPython is. The read that this interrupts starts again afterwards.
        _libc.signal(_SIGNAL, ctypes.cast(self._handler, ctypes.c_void_p))
        numbers = (self._read_fd, self._write_fd, self._address)
        argv = start_words(self._request["port"], self._request["heap"], "pipe", *numbers)
        with pages_of_its_own(_libc, self._request["heap"]):
            return int(micropython_run.run_main(argv))

    def _fork(self, _signal: int) -> None:
        data, fds = _receive(self._channel, 5)
        if not data:
            os._exit(0)
        if data != self._processors:  # the child inherits them
            self._processors = data
            os.sched_setaffinity(0, json.loads(data))
        # By way of C: what Python does after a fork touches pages, which are then copied, and the
        # child never comes back to Python.
        pid = _libc.fork()
        if pid == 0:
            self._become_chip(*fds)
        else:
            self._channel.send(str(pid).encode())
        for fd in fds:
            os.close(fd)

    def _become_chip(
        self, flash_fd: int, read_fd: int, write_fd: int, console_fd: int, channel_fd: int = -1
    ) -> None:
        # Firmware that loops without touching hardware would not notice that its host has gone.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if channel_fd >= 0:
            os.dup2(channel_fd, self._channel_fd)
        else:
            os.close(self._channel_fd)
        if self._never_written >= 0:
            os.close(self._never_written)
            self._never_written = -1
        os.dup2(read_fd, self._read_fd)
        os.dup2(write_fd, self._write_fd)
        os.dup2(console_fd, 1)
        os.dup2(console_fd, 2)
        where = (self._address, self._request["flash_size"])
        if _libc.mmap(*where, _PROTECTION, _FLAGS, flash_fd, 0) != self._address:
            os._exit(126)


def serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        data, fds = _receive(channel, 1)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            try:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                channel.close()
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os._exit(_Mother(json.loads(data), socket.socket(fileno=fds[0])).run())
            finally:
                os._exit(127)
        os.close(fds[0])
        channel.send(str(pid).encode())


if __name__ == "__main__":
    import micropython_run  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])))
