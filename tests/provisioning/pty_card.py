"""A MemoryCard behind a real pty, so that pyserial, the command line and their errors are real."""

from __future__ import annotations

import os
import pty
import threading
import tty
from contextlib import suppress

from tests.provisioning.memory_card import MemoryCard, MemoryLink


class PtyCard:
    """`port` is the device to open. unplug() takes the line away as pulling a plug does."""

    def __init__(self, card: MemoryCard) -> None:
        self.link = MemoryLink(card)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        buffer = b""
        while True:
            try:
                buffer += os.read(self._master, 4096)
            except OSError:
                return
            if buffer.startswith(b"stop"):
                return
            while len(buffer) >= 3 and len(buffer) >= buffer[2] + 5:
                size = buffer[2] + 5
                block, buffer = buffer[:size], buffer[size:]
                self.link.write(block)
                if not self._open:
                    return
                while answer := self.link.read(0):
                    os.write(self._master, answer)

    def unplug(self) -> None:
        """From the card's own thread: the next read or write of the station fails."""
        self._open = False
        os.close(self._slave)
        os.close(self._master)

    def __enter__(self) -> PtyCard:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._open:
            os.write(self._slave, b"stop")
        self._thread.join(5)
        for descriptor in (self._slave, self._master):
            with suppress(OSError):
                os.close(descriptor)
