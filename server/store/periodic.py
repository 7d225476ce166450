"""A thread that does one piece of work again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tallystick.common import beside

log = logging.getLogger(__name__)


class PeriodicThread:
    """Calls `work` every `every_s` seconds, first after `first_s` (None: after `every_s`), until it
    is closed; an error of it is told, and the next time comes. background: False for a thread that
    is never started, where somebody else calls `work`."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        every_s: float,
        *,
        first_s: float | None = None,
        background: bool = True,
    ) -> None:
        self._work = work
        self._every_s = every_s
        self._first_s = every_s if first_s is None else first_s
        self._closing = threading.Event()
        self._thread = beside.Thread(target=self._run, name=name, daemon=True)
        if background:
            self._thread.start()

    def close(self) -> None:
        """Waits for the work that is under way."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        wait_s = self._first_s
        while not self._closing.wait(wait_s):
            try:
                self._work()
            except Exception as error:
                # What nobody thought of must not end it: nothing would be done until a restart.
                log.error("%s failed: %s", self._thread.name, type(error).__name__)
            wait_s = self._every_s
