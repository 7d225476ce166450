"""PostgreSQL connections that wait for an answer only so long.

A server process that is frozen, or behind a network that is cut, closes nothing: whoever waits for
it waits for ever, for its kernel still acknowledges what is sent. Time-outs of the database's own
end statements while it runs, those of TCP end connections to a machine that has gone, and this ends
the rest: a wait that takes too long closes the connection. Whether what was sent was done is open
then, as with any connection that breaks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from tallystick.common import moments

T = TypeVar("T")
OLD_S = 1.5  # a wait that is older says that the database stalls
MEMORY_S = 2.0  # and so does one that was given up so recently


class Stalls:
    """The waits of one engine that are under way. Thread-safe."""

    def __init__(self) -> None:
        self._began: dict[int, float] = {}
        self._given_up = float("-inf")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        mark = threading.get_ident()
        self._began[mark] = moments.steady()
        try:
            yield
        finally:
            del self._began[mark]

    def gave_up(self) -> None:
        self._given_up = moments.steady()

    def any(self) -> bool:
        """Whether somebody waits for long now, or has just given up."""
        now = moments.steady()
        return now - self._given_up < MEMORY_S or any(
            now - began > OLD_S for began in tuple(self._began.values())
        )


class BoundedConnection(psycopg.Connection[Any]):
    """limit_s: that each wait takes at most. stalls: where waits are noted; None: nowhere."""

    limit_s: float = 600.0
    stalls: Stalls | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's own, within `limit_s`. interval, timeout: seconds.

        Raises OperationalError, with the connection closed.
        """
        if self.stalls is None:
            return self._within(gen, interval, timeout)
        with self.stalls.waiting():
            return self._within(gen, interval, timeout)

    def _within(self, gen: PQGen[T], interval: float, timeout: float | None) -> T:
        limit = self.limit_s if timeout is None else min(timeout, self.limit_s)
        began = moments.steady()
        try:
            return super().wait(gen, interval, limit)
        except psycopg.OperationalError:
            if self.closed or limit != self.limit_s or moments.steady() - began < limit:
                raise
            self.pgconn.finish()
            if self.stalls is not None:
                self.stalls.gave_up()
            raise psycopg.OperationalError(
                f"the database did not answer within {limit:g} s: the connection was closed"
            ) from None
