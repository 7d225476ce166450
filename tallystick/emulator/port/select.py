"""`select` of the board, for UARTs: the built-in one would wait in real time."""

import time

POLLIN = 1
POLLOUT = 4


class _Poll:
    def __init__(self):
        self._uarts = []

    def register(self, uart, events=1):
        self._uarts.append(uart)

    def unregister(self, uart):
        self._uarts.remove(uart)

    def poll(self, ms=-1):
        ready = [(u, POLLIN) for u in self._uarts if u.any()]
        if not ready and ms:
            time.wait(ms * 1000 if ms > 0 else 0x7FFFFFFF, time.WAKE_UART)
            ready = [(u, POLLIN) for u in self._uarts if u.any()]
        return ready

    ipoll = poll


def poll():
    return _Poll()
