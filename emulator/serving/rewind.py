"""A card with a time line: every instant of its life can be gone back to, and gone on from.

The card lives in a process of its own (`rewind_host.py`). What is done to it is written down, and
after so much work that process forks a keeper (`devices/keepers.py`). To go to an instant, the
keeper before it goes on, and does again what was done from there: a run follows from its seed and
from what was done to it. What came later stays until something is done at the earlier instant.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tallystick.common.console import print_error
from tallystick.common.errors import TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.keepers import SPACING_S, SnapshotKeeper
from tallystick.emulator.serving.rewind_host import (
    GIVE_UP,
    Action,
    HostAnswer,
    RewindHost,
    RunTo,
    receive,
    send,
)

_MOST = 128  # keepers
_LONGEST_S = 600.0  # that something done to the card may take
_SLICE_S = 0.2
_LAST_S = 3.0  # for a firmware that is interrupted
T = TypeVar("T")


@dataclass(frozen=True)
class CardDeed:
    """Something that was done to the card, and the virtual time (µs) before and after it. waits:
    nothing but that time passed."""

    packed: bytes
    before_us: int
    after_us: int
    waits: bool
    crash: str


class RewindService:
    """Holds a card as `Service` does. `card` is what it was before its power-on: a picture of what
    is on the board. crash: as `DeviceService` has it. noise: there is no serial line here."""

    flowing = False

    @property
    def line(self) -> RewindService:
        """See `Holder`."""
        return self

    def __init__(self, card: Card) -> None:
        self.card = card
        self.crash = ""
        self.noise = 0.0
        self._lock = threading.RLock()
        self._deeds: list[CardDeed] = []
        self._done = 0  # of them, at the instant that is shown
        self._partly = False  # in the middle of a wait
        self._now_us = 0
        self._keepers: list[SnapshotKeeper[int]] = []
        self._spacing_s, self._work_s = SPACING_S, 0.0
        self._pid = 0
        self._over = threading.Event()

    # -- its life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Before there are other threads: forks the card's process, and powers it on."""
        self._channel, theirs = socket.socketpair()
        self._keeping, giving = socket.socketpair()
        pid = os.fork()
        if not pid:
            self._channel.close()
            self._keeping.close()
            RewindHost(self.card, theirs, giving).serve()
        self._pid = self._first = pid
        theirs.close()
        giving.close()
        self.guard(lambda: self.call(Card.power_on))
        self._keep()

    def first(self, action: Callable[[Card], T]) -> T:
        """As `call`, before others can."""
        return self.call(action)

    def guard(self, action: Callable[[], object]) -> None:
        """A crash of the firmware is said, and is not the end of the service."""
        try:
            action()
        except FirmwareCrashError as error:
            print_error(error)

    def run(self, on_end: Callable[[], None] | None = None) -> None:
        """Until `stop`."""
        self._over.wait()
        if on_end is not None:
            on_end()
        self.close()

    def stop(self) -> None:
        """From a signal's handler, too: what the firmware is at is ended at once."""
        self._over.set()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, GIVE_UP)

    def close(self) -> None:
        """Ends the card's process, also one whose firmware hears nothing."""
        # First of all: whoever waits for it has the lock.
        self._kill()
        with self._lock:
            self._channel.close()
            self._keeping.close()
            for keeper in self._keepers:
                keeper.channel.close()
        os.waitpid(self._first, 0)
        self.card.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    # -- what is done to it ----------------------------------------------------------------------

    def call(self, action: Callable[[Card], T]) -> T:
        """Something is done to the card, at the instant that is shown: what came later is void.
        Returns what it returns or raises. action: a function of a module, with its arguments."""
        return self._do(action, waits=False)  # type: ignore[no-any-return]

    def pass_time(self, ms: float) -> None:
        """Likewise: virtual time passes."""
        with self._lock:
            self._do(RunTo(self._now_us + round(ms * 1000)), waits=True)

    def look(self, action: Callable[[Card], T]) -> T:
        """At the instant that is shown; nothing is changed by it."""
        with self._lock:
            return self._result(self._tell(("look", action)))  # type: ignore[no-any-return]

    def advance(self, ms: int) -> None:
        """Virtual time passes, as far as this takes."""
        self.pass_time(ms)

    def _do(self, action: Action, *, waits: bool) -> Any:
        packed = pickle.dumps(action)
        with self._lock:
            self._forget_later()
            before = self._now_us
            told = self._tell(("do", action))
            if isinstance(told.result, FirmwareCrashError):
                self.crash = told.result.what
            self._deeds.append(CardDeed(packed, before, told.now_us, waits, self.crash))
            self._done += 1
            self._work_s += told.cpu_s
            if self._work_s > self._spacing_s:
                self._keep()
            return self._result(told)

    def _forget_later(self) -> None:
        for keeper in [one for one in self._keepers if one.position > self._done]:
            self._drop(keeper)
        if self._partly:  # the wait ended here
            wait = self._deeds[self._done]
            part = pickle.dumps(RunTo(self._now_us))
            self._deeds[self._done] = CardDeed(
                part, wait.before_us, self._now_us, waits=True, crash=self.crash
            )
            self._done += 1
            self._partly = False
        del self._deeds[self._done :]

    def _tell(self, message: tuple[Any, ...]) -> HostAnswer:
        try:
            process = _alive(self._pid)  # it may end with its answer
            send(self._channel, message)
            return self._hear(process)
        except (EOFError, OSError):
            raise TallyError(
                "The emulated board's process has ended.", todo="Start the emulator again."
            ) from None

    def _hear(self, process: int | None) -> HostAnswer:
        """The answer. process: a descriptor of the one that gives it, closed here; others have the
        channel, too, so that its end is not told by it. Raises EOFError."""
        try:
            here = self._channel.fileno()
            others = [process] if process is not None else []
            if here not in self._wait([here, *others]):
                self._kill()
                raise EOFError
            told: HostAnswer = receive(self._channel)
        finally:
            if process is not None:
                os.close(process)
        self._now_us, self._pid = told.now_us, told.pid
        return told

    def _wait(self, files: list[int]) -> list[int]:
        """Those that can be read; none when it took too long, or has no time left: `stop`."""
        began = over = time.monotonic()
        while not (ready := select.select(files, [], [], _SLICE_S)[0]):
            now = time.monotonic()
            if not self._over.is_set():
                over = now
            if now - began > _LONGEST_S or now - over > _LAST_S:
                break
        return ready

    def _result(self, told: HostAnswer) -> Any:
        if not told.failed:
            return told.result
        raise told.result

    # -- the time line ---------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """The instant that is shown."""
        return self._now_us

    @property
    def start_us(self) -> int:
        """What its power-on led to."""
        return self._deeds[0].after_us if self._deeds else 0

    @property
    def end_us(self) -> int:
        """The last one that there was."""
        with self._lock:
            return max(self._now_us, self._deeds[-1].after_us if self._deeds else 0)

    @property
    def past(self) -> bool:
        """An earlier instant is shown than the last one."""
        return self._partly or self._done < len(self._deeds)

    def go_to(self, time_us: int) -> None:
        """Shows the last that there was at that time; the first is what its power-on led to."""
        with self._lock:
            wanted = 1  # its power-on is never undone
            while wanted < len(self._deeds) and self._deeds[wanted].after_us <= time_us:
                wanted += 1
            rest = self._deeds[wanted] if wanted < len(self._deeds) else None
            partly = rest is not None and rest.waits and rest.before_us < time_us
            keeper = max(
                (one for one in self._keepers if one.position <= wanted),
                key=lambda one: one.position,
            )
            todo = [deed.packed for deed in self._deeds[keeper.position : wanted]]
            if partly:
                todo.append(pickle.dumps(RunTo(time_us)))
            self._tell(("end",))  # this process gives its place to another
            keeper.resume({"entries": [base64.b64encode(one).decode() for one in todo]})
            self._hear(None)
            self._done, self._partly = wanted, partly
            self.crash = self._deeds[wanted - 1].crash
            self._work_s = 0.0

    def _keep(self) -> None:
        self._tell(("keep", self._done))
        _, descriptors, _, _ = socket.recv_fds(self._keeping, 1, 1)
        self._keepers.append(SnapshotKeeper(self._done, socket.socket(fileno=descriptors[0])))
        self._work_s = 0.0
        if len(self._keepers) > _MOST:
            self._spacing_s *= 2
            for keeper in self._keepers[1:-8:2]:
                self._drop(keeper)

    def _drop(self, keeper: SnapshotKeeper[int]) -> None:
        keeper.end()
        keeper.channel.close()
        self._keepers.remove(keeper)


def _alive(pid: int) -> int:
    """A descriptor that can be read once the process has ended. Raises EOFError where it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise EOFError from None
