"""Conversations that have an end, however little the other side says now and then: the time-outs of
libraries are for each step."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tallystick.common import beside

if TYPE_CHECKING:
    import httpx

Watch = Callable[[socket.socket], None]
# When httpx has a connection, and when it is another for being encrypted.
_MADE = ("connection.connect_tcp.complete", "connection.start_tls.complete")


@contextmanager
def in_time(seconds: float) -> Iterator[Watch]:
    """Cut the connections that are made meanwhile when it takes longer. → to be told of each of
    them. Raises TimeoutError in place of what came of being cut."""
    lock = threading.Lock()
    made: list[socket.socket] = []
    over = False

    def watch(connection: socket.socket) -> None:
        with lock:
            made.append(connection)
            if over:
                _cut(connection)

    def cut() -> None:
        nonlocal over
        with lock:
            over = True
            for connection in made:
                _cut(connection)

    timer = beside.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    except Exception as error:
        if over:
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


@contextmanager
def streamed(
    method: str, url: str, *, deadline_s: float, timeout_s: float, **asked: Any
) -> Iterator[httpx.Response]:
    """As `httpx.stream`, in time. timeout_s: for each step. Raises TimeoutError, HTTPError."""
    import httpx  # noqa: PLC0415

    with in_time(deadline_s) as watch, httpx.Client(timeout=timeout_s) as client:

        def trace(event: str, facts: dict[str, Any]) -> None:
            if event in _MADE:
                watch(facts["return_value"].get_extra_info("socket"))

        with client.stream(method, url, extensions={"trace": trace}, **asked) as answer:
            yield answer


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)
