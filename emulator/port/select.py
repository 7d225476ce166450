"""`select` of the board, for UARTs and for streams written in Python (io.IOBase): the built-in one
would wait in real time.
"""

import time

POLLIN = 1
POLLOUT = 4


class _Poll:
    def __init__(self):
        self._uarts = []
        self._streams = []

    def register(self, file, events=1):
        if not hasattr(file, "any") and not hasattr(file, "ioctl"):
            raise OSError("stream operation not supported")
        files = self._uarts if hasattr(file, "any") else self._streams
        if file not in files:
            files.append(file)

    def unregister(self, file):
        for files in (self._uarts, self._streams):
            if file in files:
                files.remove(file)

    def poll(self, ms=-1):
        ready = self._ready()
        if not ready and ms:
            # What makes a stream ready is an interrupt's handler.
            wake = time.WAKE_UART | (time.WAKE_PIN | time.WAKE_USB if self._streams else 0)
            time.wait(ms * 1000 if ms > 0 else 0x7FFFFFFF, wake)
            ready = self._ready()
        return ready

    def _ready(self):
        ready = [(s, POLLIN) for s in self._streams if s.ioctl(3, POLLIN) & POLLIN]
        return ready or [(u, POLLIN) for u in self._uarts if u.any()]

    ipoll = poll


def poll():
    return _Poll()
