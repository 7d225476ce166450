"""A small process, free of threads, that has MicroPython loaded and forks it: power-on in a
millisecond. Run as `python -m tallystick.emulator.forkserver FD`; it ends when FD is closed.

A request is one datagram of JSON with four file descriptors (flash, read, write, console); the answer
is the process number, as text. The console takes a child's standard output and error.
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


def _child(request: dict[str, Any], fds: list[int]) -> None:
    flash_fd, read_fd, write_fd, console_fd = fds
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["affinity"]:
        os.sched_setaffinity(0, request["affinity"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(console_fd, 1)
    os.dup2(console_fd, 2)
    heap = f"heapsize={request['heap']}"
    os.environ["MICROPYPATH"] = request["port"]
    if request["executable"]:
        for fd in fds:
            os.set_inheritable(fd, True)
        argv = [request["executable"], "-X", heap, "-m", "boot", str(read_fd), str(write_fd), "0"]
        os.execv(request["executable"], argv)
    import micropython_run

    memory = mmap.mmap(flash_fd, 0)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    argv = ["micropython", "-X", heap, "-m", "boot", str(read_fd), str(write_fd), str(address)]
    os._exit(micropython_run.run_main(argv))


def serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        data, ancillary, _flags, _address = channel.recvmsg(65536, socket.CMSG_SPACE(4 * 4))
        if not data:
            return
        fds = array.array("i")
        for _level, _kind, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        pid = os.fork()
        if pid == 0:
            try:
                channel.close()
                _child(json.loads(data), list(fds))
            finally:
                os._exit(127)
        for fd in fds:
            os.close(fd)
        channel.send(str(pid).encode())


if __name__ == "__main__":
    import micropython_run  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])))
