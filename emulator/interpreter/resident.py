"""MicroPython inside this process, on a stack of its own: no fork, no pipe, and a start in the time
that it takes to copy its memory.

For programs that run firmware and do little else (a campaign, a battery's life): a firmware that
crashes MicroPython itself ends the process, and nothing else runs in it while firmware works.
`enabled` chooses it; `micropython.Launcher.start` then uses it where it can.

All that MicroPython remembers lies in three places: its static variables, its heap, and the stack
it runs on. They are copied out for a checkpoint and back in to go on from there. Several chips take
turns with the one set of static variables. A turn is a call of `swapcontext` on either side; on
MicroPython's it is a function object that is laid out in the mailbox, by hand, in the layout of
`mp_obj_fun_builtin_fixed_t`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.common.errors import ExitCode
from tallystick.emulator.interpreter import link
from tallystick.emulator.interpreter.link import (
    ANSWER,
    HEADER,
    LEVELS,
    Link,
    LinkClosedError,
    LinkSilentError,
    Message,
    Op,
    start_words,
)
from tallystick.emulator.interpreter.pages import pages_of_its_own

if TYPE_CHECKING:
    from tallystick.emulator.parts.flash_memory import FlashMemory

_STACK = 256 * 1024  # bytes; MicroPython itself stops at 80,000
_CONTEXT = 8192  # bytes; glibc's ucontext_t takes 936 on x86-64, 4,560 on aarch64
_CONTEXT_FIELDS = 8  # bytes: where uc_link and uc_stack lie in it, on both
_BLOCK = 32  # bytes: the collector's unit
_REGISTERS = 5  # 8-byte words: after those
_TRIES = 20  # to begin with a heap that lies among no chip's addresses

# The mailbox. `port/link.py` has the same table.
_SWAP = 0  # the function object
_POSTED = 16  # bytes that the chip has posted, 4; an address in its heap, 8
_HEAD = 32  # the answer's header
_DATA = 64  # the answer's data
_DATA_ROOM = 65536
_OUT = _DATA + _DATA_ROOM  # what the chip has posted
_OUT_ROOM = 67584
_MAILBOX = _OUT + _OUT_ROOM


class _Library:
    """MicroPython's shared library, with what is needed of its insides."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        self.main = self._address("micropython_unix_main")
        self.builtin_type = self._address("mp_type_fun_builtin_2")
        self.consoles = [self._address(f"mp_sys_{name}_obj") + 8 for name in ("stdout", "stderr")]
        self.statics = _writable(path, self._address("mp_state_ctx"))
        self.pristine = ctypes.string_at(*self.statics)
        c = ctypes.CDLL(None)
        c.getcontext.argtypes = [ctypes.c_void_p]
        c.swapcontext.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        c.makecontext.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        c.sigaction.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.c = c
        self.swap = c.swapcontext
        self.swap_address = ctypes.cast(c.swapcontext, ctypes.c_void_p).value
        self.interrupt = ctypes.CFUNCTYPE(None)(self._address("mp_sched_keyboard_interrupt"))

    def _address(self, name: str) -> int:
        return ctypes.addressof(ctypes.c_char.in_dll(self._dll, name))


def _writable(path: Path, inside: int) -> tuple[int, int]:
    """Address and size of the writable memory of a loaded ELF file that holds `inside`, without the
    part that is read-only once it is loaded."""
    image = path.read_bytes()
    (offset,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", image, offset + n * size) for n in range(count)]
    base = _base(path)
    read_only = max(
        (base + at + room for kind, _, _, at, _, _, room, _ in headers if kind == 0x6474E552),
        default=0,
    )  # PT_GNU_RELRO
    for kind, flags, _offset, address, _physical, _stored, room, _align in headers:
        begin, end = base + address, base + address + room
        if kind == 1 and flags & 2 and begin <= inside < end:
            begin = max(begin, read_only)
            return begin, end - begin
    raise LookupError


def _base(path: Path) -> int:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if line.endswith(str(path.resolve())):
            return int(line.partition("-")[0], 16)
    raise LookupError


@cache
def _library() -> _Library | None:
    found = importlib.util.find_spec("micropython_run")
    if found is None or found.origin is None:
        return None
    try:
        return _Library(Path(found.origin))
    except (OSError, ValueError, AttributeError, LookupError, struct.error):
        return None  # another C library, or a MicroPython that was linked in another way


@dataclass(frozen=True)
class Checkpoint:
    """What MicroPython remembers at a turn. It goes back into the interpreter it was taken of."""

    statics: bytes
    heap: bytes
    stack: bytes
    stack_at: int
    context: bytes


Kind = tuple[str, int, str]
"""Settings for `port/boot.py`, JSON; heap, bytes; folder of the port."""


class Interpreter:
    """One MicroPython. It begins, and is taken back to, where the chip is held in reset."""

    _live: Interpreter | None = None  # whose static variables are in place

    def __init__(self, library: _Library, kind: Kind) -> None:
        self._library = library
        for _ in range(_TRIES):
            self._begin(kind)
            if self._heap[0] >> 32:
                break
            # It lies where chips have their addresses, in spite of all. It stays, so that the next
            # one lies elsewhere.
            Interpreter._live = None
        self._origin = self.checkpoint()

    def _begin(self, kind: Kind) -> None:
        config, heap, port = kind
        self._stack = mmap.mmap(-1, 2 * _CONTEXT + _STACK)
        self._stack_at = ctypes.addressof(ctypes.c_char.from_buffer(self._stack))
        self._mailbox = mmap.mmap(-1, _MAILBOX)
        self._mailbox_at = ctypes.addressof(ctypes.c_char.from_buffer(self._mailbox))
        self._chip = self._stack_at  # the context that the chip is left in
        self._host = self._stack_at + _CONTEXT
        self._statics = ctypes.create_string_buffer(
            self._library.pristine, self._library.statics[1]
        )
        self.view = memoryview(self._mailbox)
        self._start(config.encode(), heap, port)
        self._heap = (self._find_heap(heap), heap)

    def _start(self, config: bytes, heap: int, port: str) -> None:
        library, c = self._library, self._library.c
        struct.pack_into("<QQ", self.view, _SWAP, library.builtin_type, library.swap_address)
        struct.pack_into("<i", self.view, _HEAD, len(config))
        self.view[_DATA : _DATA + len(config)] = config
        way = (self._mailbox_at, self._chip, self._host)
        words = start_words(port, heap, "mailbox", *way)
        self._argv = (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
        c.getcontext(self._chip)
        ends_in = struct.pack("<Q", self._host)
        stack = struct.pack("<QQQ", self._stack_at + 2 * _CONTEXT, 0, _STACK)
        ctypes.memmove(self._chip + _CONTEXT_FIELDS, ends_in + stack, 32)
        count = ctypes.c_long(len(words))
        c.makecontext(
            self._chip, library.main, 2, count, ctypes.c_void_p(ctypes.addressof(self._argv))
        )
        ctrl_c = ctypes.create_string_buffer(256)
        c.sigaction(signal.SIGINT, None, ctrl_c)
        with pages_of_its_own(c, heap):
            self.turn()
        c.sigaction(signal.SIGINT, ctrl_c, None)  # it is not the firmware's

    def _find_heap(self, size: int) -> int:
        """Where its objects are: the collector keeps the addresses of beginning and end."""
        (inside,) = struct.unpack_from("<Q", self.view, _POSTED + 8)
        statics = memoryview(ctypes.string_at(*self._library.statics))
        words = set(statics.cast("Q"))
        found = [w for w in words if w <= inside < w + size and (w + size) & -_BLOCK in words]
        (begin,) = found
        return begin

    def turn(self) -> None:
        """Runs MicroPython until it asks for something, or has posted more than it has room for.
        Raises LinkSilentError when it had to be interrupted."""
        self._come_alive()
        _watchdog.watch()
        try:
            self._library.swap(self._host, self._chip)
        finally:
            interrupted = _watchdog.rest()
        if interrupted:
            raise LinkSilentError

    def _come_alive(self) -> None:
        live = Interpreter._live
        if live is self:
            return
        place, size = self._library.statics
        if live is not None:
            ctypes.memmove(live._statics, place, size)
        ctypes.memmove(place, self._statics, size)
        Interpreter._live = self

    def posted(self) -> int:
        """Bytes that wait in the mailbox."""
        return int.from_bytes(self.view[_POSTED : _POSTED + 4], "little")

    def checkpoint(self) -> Checkpoint:
        self._come_alive()
        stack_end = self._stack_at + len(self._stack)
        words = struct.unpack(f"<{_CONTEXT // 8}Q", ctypes.string_at(self._chip, _CONTEXT))
        # The stack pointer is among them, and nothing below it is needed.
        low = self._stack_at + 2 * _CONTEXT
        deepest = min(word for word in words[_REGISTERS:] if low < word < stack_end)
        return Checkpoint(
            ctypes.string_at(*self._library.statics),
            ctypes.string_at(*self._heap),
            ctypes.string_at(deepest, stack_end - deepest),
            deepest,
            ctypes.string_at(self._chip, _CONTEXT),
        )

    def go_back(self, checkpoint: Checkpoint | None = None) -> None:
        """To the checkpoint, or to where the chip is held in reset."""
        if checkpoint is None:
            checkpoint = self._origin
        self._come_alive()
        ctypes.memmove(self._library.statics[0], checkpoint.statics, len(checkpoint.statics))
        ctypes.memmove(self._heap[0], checkpoint.heap, len(checkpoint.heap))
        ctypes.memmove(checkpoint.stack_at, checkpoint.stack, len(checkpoint.stack))
        ctypes.memmove(self._chip, checkpoint.context, _CONTEXT)

    def shared(self) -> tuple[mmap.mmap, mmap.mmap]:
        """What a forked process has in common with this one: stack and mailbox."""
        return self._stack, self._mailbox

    def print_to(self, fd: int) -> None:
        """From now on what the firmware prints goes to the file `fd`."""
        self._come_alive()
        for place in self._library.consoles:
            ctypes.c_int.from_address(place).value = fd


class _Watchdog:
    """Interrupts a firmware that runs for `SILENCE_S` without touching its hardware, or when a
    signal came meanwhile: what Python does at a signal waits for the end of the turn."""

    def __init__(self) -> None:
        # Of the turn under way: by the clock, and of this process's work. One value, as another
        # thread reads it. A machine that is busy, or stopped for a while, is no endless loop.
        self._since: tuple[float, float] | None = None
        self._last = 0.0  # interrupt
        self._interrupts = 0
        self._read = self._write = -1  # where the numbers of signals come
        self._hears = False
        self._signal_waits = False
        self._thread: threading.Thread | None = None

    def _signalled(self, wait_s: float) -> bool:
        """Waits for so long, or until a signal comes that a person or a time-out sends."""
        if self._read < 0:
            time.sleep(wait_s)
            return False
        if self._signal_waits and self._since is None:
            self._signal_waits = False
        if select.select([self._read], [], [], wait_s)[0]:
            self._signal_waits = any(one in _ENDING for one in os.read(self._read, 64))
        return self._signal_waits

    def hear_signals(self) -> None:
        """From now on. Another one's place (an event loop's) is left alone. Main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._write < 0:
            self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._hears = before < 0
        if not self._hears:
            signal.set_wakeup_fd(before)

    def hear_no_signals(self) -> None:
        if self._hears:
            self._hears = False
            signal.set_wakeup_fd(-1)

    def start_anew(self) -> None:
        """Its thread has gone, with the process that this one was forked from."""
        self._thread = None
        self._since = None

    def watch(self) -> None:
        self._since = time.monotonic(), time.process_time()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="silence", daemon=True)
            self._thread.start()

    def rest(self) -> bool:
        """True when the turn was interrupted."""
        self._since = None
        interrupts, self._interrupts = self._interrupts, 0
        return interrupts > 0

    def _run(self) -> None:
        while True:
            limit = link.SILENCE_S
            if self._signalled(min(limit / 60, 1.0)):
                time.sleep(_GRACE_S)  # most turns are over by then
                limit = _GRACE_S
            library, since = _library(), self._since
            if since is None or library is None:
                continue
            if min(time.monotonic() - since[0], time.process_time() - since[1]) < limit:
                continue
            if time.monotonic() - self._last < _AGAIN_S:
                continue
            self._last = time.monotonic()
            self._interrupts += 1
            library.interrupt()  # as Ctrl-C at MicroPython's prompt: KeyboardInterrupt
            if self._interrupts > _PATIENCE:
                sys.stderr.write("The firmware loops for ever and cannot be interrupted.\n")
                os._exit(ExitCode.FAILED)


_PATIENCE = 20  # interrupts
_TRIES = 5  # to have a traceback of a firmware that was interrupted
_ANSWERS = 40  # before that, to what it asks on its way out
_GRACE_S = 0.05
# Each interrupt takes its traceback from the one before, which MicroPython may be writing: a
# firmware that is on its way out is given this time for it.
_AGAIN_S = 0.5
_ENDING = (signal.SIGINT, signal.SIGALRM, signal.SIGTERM)


class ResidentLink(Link):
    """To an interpreter of this process. `idle`: where that goes when the link ends."""

    def __init__(self, interpreter: Interpreter, idle: list[Interpreter] | None) -> None:
        self._interpreter: Interpreter | None = interpreter
        self._idle = idle
        self._view = interpreter.view
        self._at = self._end = 0

    def receive(self) -> Message:
        at = self._at
        if at == self._end:
            if self._interpreter is None:
                raise LinkClosedError
            self._interpreter.turn()
            at = _OUT
            self._end = at + self._interpreter.posted()
            if at == self._end:
                raise LinkClosedError
        op, arg, length, value, cpu_us = HEADER.unpack_from(self._view, at)
        at += HEADER.size
        self._at = at + length
        data = bytes(self._view[at : self._at]) if length else b""
        return Message(op, arg, value, cpu_us, data)

    def _next(self) -> Message:
        """The next of those that were posted."""
        at, view = self._at, self._view
        op, arg, length, value, cpu_us = HEADER.unpack_from(view, at)
        at += HEADER.size
        self._at = at + length
        return Message(op, arg, value, cpu_us, bytes(view[at : self._at]) if length else b"")

    def answer(
        self, now_us: int, levels: bytes, received: int, value: int = 0, data: bytes = b""
    ) -> None:
        view = self._view
        ANSWER.pack_into(view, _HEAD, value, len(data), now_us, levels, received)
        if data:
            view[_DATA : _DATA + len(data)] = data

    def special(self, kind: int, data: bytes) -> None:
        self._view[_DATA : _DATA + len(data)] = data
        ANSWER.pack_into(self._view, _HEAD, len(data), kind, 0, b"", 0)

    def hold(self) -> ResidentHold:
        """The firmware waits for an answer, and can be taken back to this point. Ends this link."""
        assert self._interpreter is not None
        assert self._idle is not None
        interpreter, self._interpreter = self._interpreter, None
        return ResidentHold(interpreter, self._idle)

    def mark(self) -> Mark:
        """The firmware waits for an answer, and can be taken back to this point."""
        assert self._interpreter is not None
        assert self._idle is not None
        assert self._at == self._end
        return Mark(self._interpreter, self._interpreter.checkpoint(), self._idle)

    def drop(self) -> None:
        """What the firmware has posted and nobody has read is void."""
        self._at = self._end = 0

    def shared(self) -> tuple[mmap.mmap, mmap.mmap]:
        """See `Interpreter.shared`."""
        assert self._interpreter is not None
        return self._interpreter.shared()

    def is_of(self, interpreter: Interpreter) -> bool:
        """Whether this is the link to it, and goes on."""
        return self._interpreter is interpreter

    def interrupt(self) -> str:
        """It has been, by the watchdog."""
        for number in range(_ANSWERS + _TRIES):
            with contextlib.suppress(LinkSilentError, LinkClosedError):
                while True:
                    if self._at == self._end:
                        assert self._interpreter is not None
                        self._end = _OUT + self._interpreter.posted()
                        self._at = _OUT
                        if self._at == self._end:
                            break
                    message = self._next()
                    if message.op == Op.CRASH:
                        return message.data.decode(errors="replace")
                    if self._at == self._end:
                        break
                self._at = self._end = 0
                if number < _ANSWERS:  # see `PipeLink.interrupt`
                    self.answer(0, bytes(LEVELS), 0)
                else:
                    self.unwind()
                if self._interpreter is not None:
                    self._interpreter.turn()
        return ""

    def close(self) -> None:
        if self._interpreter is not None and self._idle is not None:
            self._idle.append(self._interpreter)
        self._interpreter = None


@dataclass(frozen=True)
class Mark:
    """A point to go back to, as often as one likes."""

    _interpreter: Interpreter
    _checkpoint: Checkpoint
    _idle: list[Interpreter]

    def return_with(self, link: Link | None, console_fd: int) -> ResidentLink:
        """`link`: the one that goes on, if there is one. That of the firmware at this point."""
        if isinstance(link, ResidentLink) and link.is_of(self._interpreter):
            found = link
            found.drop()
        else:
            self._idle.remove(self._interpreter)  # its link was closed
            found = ResidentLink(self._interpreter, self._idle)
        self._interpreter.go_back(self._checkpoint)
        self._interpreter.print_to(console_fd)
        return found


class ResidentHold:
    """A firmware that waits for an answer, as often as one likes."""

    def __init__(self, interpreter: Interpreter, idle: list[Interpreter]) -> None:
        self._interpreter = interpreter
        self._idle = idle
        self._checkpoint = interpreter.checkpoint()

    def start(self, flash: FlashMemory, console_fd: int) -> ResidentLink:
        """It goes on from there; what it began before must have ended. The flash is the same."""
        self._interpreter.go_back(self._checkpoint)
        self._interpreter.print_to(console_fd)
        return ResidentLink(self._interpreter, None)

    def close(self) -> None:
        self._idle.append(self._interpreter)


_watchdog = _Watchdog()
_idle: defaultdict[Kind, list[Interpreter]] = defaultdict(list)


class _Residence:
    """MicroPython keeps something for each thread: only the one that began with it can go on."""

    def __init__(self) -> None:
        self.open = False
        self._thread = 0

    def is_here(self) -> bool:
        self._thread = self._thread or threading.get_ident()
        return self._thread == threading.get_ident()


_residence = _Residence()


@contextmanager
def enabled() -> Iterator[None]:
    """Firmware that this thread starts meanwhile runs inside this process, where that is possible:
    in the first thread that asks, with the MicroPython of the package, without coverage."""
    if not _residence.is_here():
        yield
        return
    before, _residence.open = _residence.open, True
    if not before:
        _watchdog.hear_signals()
    try:
        yield
    finally:
        _residence.open = before
        if not before:
            _watchdog.hear_no_signals()


def possible() -> bool:
    """Whether the package's MicroPython can run inside a process here."""
    return _library() is not None


def after_fork() -> None:
    """In the child of a process that has firmware in it: a thread of the parent's is not here."""
    _watchdog.start_anew()


def start(kind: Kind, flash_address: int, console_fd: int) -> ResidentLink | None:
    """None where it has not been enabled, and where this is not possible."""
    if not _residence.open or not _residence.is_here():
        return None
    library = _library()
    if library is None:
        return None
    idle = _idle[kind]
    interpreter = idle.pop() if idle else Interpreter(library, kind)
    interpreter.go_back()
    interpreter.print_to(console_fd)
    started = ResidentLink(interpreter, idle)
    started.answer(flash_address, b"", 0)
    return started
