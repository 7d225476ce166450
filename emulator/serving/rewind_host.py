"""The process that a card with a time line lives in (`rewind.py`).

It does what it is told, one message after another: a length and a pickle. Only its parent, of which
it is a fork, has the other end of the channel.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tallystick.common.errors import TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.keepers import Keepers, ResumedError
from tallystick.emulator.interpreter import resident

GIVE_UP = signal.SIGALRM
"""Sent to the card's process: see `Mcu.give_up`. SIGINT comes from a person, to every process."""
Action = Callable[[Card], Any]
"""A function of a module, with its arguments: it goes from one process to another."""


@dataclass(frozen=True)
class HostAnswer:
    """result: or what was raised. cpu_s: what it took of the processor."""

    result: Any
    failed: bool
    now_us: int
    cpu_s: float
    pid: int


def send(channel: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    channel.sendall(len(data).to_bytes(4, "little") + data)


def receive(channel: socket.socket) -> Any:
    """Raises EOFError when the other end is closed. Both ends are this program's own."""
    size = int.from_bytes(_exactly(channel, 4), "little")
    return pickle.loads(_exactly(channel, size))  # noqa: S301


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return data


class RewindHost:
    """Of a card before its first power-on. keeping: the other end takes keepers' sockets."""

    def __init__(self, card: Card, channel: socket.socket, keeping: socket.socket) -> None:
        self._card = card
        self._channel = channel
        self._keeping = keeping
        self._keepers: Keepers[int] = Keepers(card, channel)
        self._quiet = False
        self._print = card.mcu.on_print
        card.mcu.on_print = self._printed

    def _printed(self, text: str) -> None:
        if self._print is not None and not self._quiet:
            self._print(text)

    def serve(self) -> NoReturn:
        """Until the other end is closed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(GIVE_UP, lambda *_: self._card.mcu.give_up())
        with resident.enabled():
            while True:
                try:
                    self._do(receive(self._channel))
                except ResumedError as resumed:
                    self._replay(resumed.request)
                except (EOFError, OSError):
                    os._exit(0)

    def _do(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "end":
            self._tell(_nothing)
            os._exit(0)
        elif kind == "keep":
            self._keepers.keep(rest[0])
            kept = self._keepers.all.pop()
            socket.send_fds(self._keeping, [b"k"], [kept.channel.fileno()])
            kept.channel.close()
            self._tell(_nothing)
        else:
            self._tell(rest[0])

    def _tell(self, action: Action) -> None:
        began = time.process_time()
        failed = False
        result: object
        try:
            result = action(self._card)
        except Exception as error:  # it is whoever's who asked
            result, failed = error, True
        spent = time.process_time() - began
        told = HostAnswer(result, failed, self._card.clock.now, spent, os.getpid())
        try:
            send(self._channel, told)
        except (pickle.PicklingError, TypeError, AttributeError):
            words = TallyError(str(result))
            send(self._channel, HostAnswer(words, True, told.now_us, spent, told.pid))

    def _replay(self, request: dict[str, Any]) -> None:
        """In a keeper's child: does again what was done from there on."""
        done = [pickle.loads(base64.b64decode(one)) for one in request["entries"]]  # noqa: S301
        self._quiet = True
        self._tell(_Again(tuple(done)))
        self._quiet = False


def _nothing(card: Card) -> None:
    """Only to be told the time."""


@dataclass(frozen=True)
class _Again:
    """Actions, one after another; what they raise was told when they were done first."""

    actions: tuple[Action, ...]

    def __call__(self, card: Card) -> None:
        for action in self.actions:
            do_quietly(card, action)


def do_quietly(card: Card, action: Action) -> None:
    with contextlib.suppress(TallyError):
        action(card)


@dataclass(frozen=True)
class RunTo:
    """Virtual time passes until `time_us`."""

    time_us: int

    def __call__(self, card: Card) -> None:
        card.run_to(max(self.time_us, card.clock.now))
