"""Several workers on one listening socket: fork, replace those that die, stop them all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from tallystick.common import beside
from tallystick.server.serving import notify

RESTART_PAUSE_S = 1.0
STOPS = (signal.SIGTERM, signal.SIGINT)


def prefork(
    workers: int,
    serve: Callable[[], None],
    *,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Run `serve` in `workers` child processes until SIGINT or SIGTERM. ended: is told of each that
    ends before.

    The caller has no threads and no open database connection: both do not survive a fork.
    """
    stopping = False
    children: set[int] = set()

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        if not stopping:
            notify.tell_stopping()
        stopping = True
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _ in range(workers):
        _add(children, serve)
    while children:
        child, status = os.wait()
        children.discard(child)
        if not stopping:
            sys.stderr.write(f"worker {child} ended with {status}; another one takes its place\n")
            ended()
            beside.sleep(RESTART_PAUSE_S)
        if not stopping:  # which may have come during the pause
            _add(children, serve)


def _add(children: set[int], serve: Callable[[], None]) -> None:
    """One more. A signal to stop waits until it is known, so that it is told, too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        children.add(_fork(serve))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _fork(serve: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    notify.one_of_several()
    try:
        serve()
    finally:
        os._exit(0)
