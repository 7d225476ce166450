"""Instants of a process that has an emulated board in it, to go back to.

At such an instant the process forks, and the child stays as it is: a *keeper*, with the whole
machine, firmware and parts in it. To go back, a keeper is told to fork again, and its child goes on
from there. Keepers are spaced by what the processor did between them, so that the way from one to
the next is short wherever one goes.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tallystick.emulator.devices.device import Device
from tallystick.emulator.interpreter import resident

SPACING_S = 0.01
"""CPU time between two keepers, as long as there are few of them."""
_MOST = 128
_PAGE = 4096
_BLANK = b"\xff" * _PAGE
_END = b"end\n"

P = TypeVar("P")
"""A position: positions of one run have an order."""


@dataclass
class SnapshotKeeper(Generic[P]):
    """A process that is what this one was at `position`."""

    position: P
    channel: socket.socket

    @property
    def alive(self) -> bool:
        """Another process may have ended it since this one knew of it."""
        try:
            return self.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.sendall(_END)

    def resume(self, request: dict[str, Any]) -> None:
        """It forks a child that goes on with `request`."""
        self.channel.sendall(json.dumps(request).encode() + b"\n")


class ResumedError(Exception):
    """This process is the child of a keeper, and goes on from there with `request`."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request


class Keepers(Generic[P]):
    """Of one board, and of others beside it (`also`). Only firmware that runs inside this process
    is kept (`resident.enabled`).

    until: keepers end when the other end of this socket is closed. in_child: what a keeper does
    first, such as to close what is its parent's.
    """

    def __init__(
        self, device: Device, until: socket.socket, in_child: Callable[[], None] = lambda: None
    ) -> None:
        self.all: list[SnapshotKeeper[P]] = []
        self._devices = [device]
        self._until = until
        self._in_child = in_child
        self._spacing_s = SPACING_S
        self._since = time.process_time()

    def also(self, device: Device) -> None:
        """Another board that the same program works with."""
        self._devices.append(device)

    @property
    def due(self) -> bool:
        """So much was done since the last one that another is wanted."""
        return time.process_time() - self._since > self._spacing_s

    @property
    def spacing_s(self) -> float:
        return self._spacing_s

    def keep(self, position: P) -> None:
        """A keeper of this instant. In its children raises ResumedError."""
        ours, theirs = socket.socketpair()
        self.all.append(SnapshotKeeper(position, ours))
        flashes = [(device.flash.memory, _pages(device)) for device in self._devices]
        shared = [
            (memory, bytes(memory)) for device in self._devices for memory in _mailbox(device)
        ]
        if os.fork():
            theirs.close()
            self._thin()
            self._since = time.process_time()
            return
        self._in_child()
        request = self._wait(theirs)
        # What the processes have in common is made as it was.
        for memory, content in shared:
            memory[:] = content
        for flash, pages in flashes:
            for at in range(0, len(flash), _PAGE):
                flash[at : at + _PAGE] = pages.get(at, _BLANK)
        resident.after_fork()
        self._since = time.process_time()
        raise ResumedError(request)

    def _wait(self, channel: socket.socket) -> dict[str, Any]:
        """Forks for every request; returns in the children."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's, who means the one in front
        poll = select.poll()
        poll.register(channel, select.POLLIN | select.POLLHUP)
        poll.register(self._until, select.POLLHUP | select.POLLERR)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._until.fileno():
                    os._exit(0)
            line = b""
            while not line.endswith(b"\n"):
                more = channel.recv(65536)
                if not more:
                    os._exit(0)
                line += more
            if line == _END:
                os._exit(0)
            if not os.fork():
                channel.close()  # the keeper's alone
                request: dict[str, Any] = json.loads(line)
                return request

    def _thin(self) -> None:
        """Every second one goes, but for the newest."""
        if len(self.all) > _MOST:
            self._spacing_s *= 2
            for keeper in self.all[1:-8:2]:
                keeper.end()
                keeper.channel.close()
                self.all.remove(keeper)

    def forget_dead(self) -> None:
        self.all = [one for one in self.all if one.alive]

    def last(self, wanted: Callable[[P], bool]) -> SnapshotKeeper[P] | None:
        """The last one whose position is wanted."""
        found = [one for one in self.all if wanted(one.position) and one.alive]
        return found[-1] if found else None

    def end_after(self, keeper: SnapshotKeeper[P]) -> None:
        """Those that came later are of a future that is over."""
        at = self.all.index(keeper)
        for later in self.all[at + 1 :]:
            later.end()
            later.channel.close()
        del self.all[at + 1 :]


def _pages(device: Device) -> dict[int, bytes]:
    """Those of its flash that are not blank, by address."""
    flash = device.flash.memory
    return {
        at: bytes(flash[at : at + _PAGE])
        for at in range(0, len(flash), _PAGE)
        if flash[at : at + _PAGE] != _BLANK
    }


def _mailbox(device: Device) -> Sequence[mmap.mmap]:
    link = device.mcu.link
    if link is None:
        return ()
    assert isinstance(link, resident.ResidentLink)
    return link.shared()
