"""`select` of the board, for UARTs and for streams written in Python (io.IOBase): the built-in one
would wait in real time.
"""

import time

import link

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16


class _Poll:
    def __init__(self):
        self._uarts = []
        self._streams = []
        self._flags = {}  # of those that are asked for more than POLLIN: id → flags

    def register(self, file, events=POLLIN):
        if not hasattr(file, "any") and not hasattr(file, "ioctl"):
            raise OSError("stream operation not supported")
        files = self._uarts if hasattr(file, "any") else self._streams
        if file not in files:
            files.append(file)
        if events != POLLIN or self._flags:
            self._flags[id(file)] = events

    def modify(self, file, events):
        if file not in self._uarts and file not in self._streams:
            raise OSError(2)
        self._flags[id(file)] = events

    def unregister(self, file):
        for files in (self._uarts, self._streams):
            if file in files:
                files.remove(file)
        self._flags.pop(id(file), None)

    def poll(self, ms=-1):
        ready = self._ready()
        if not ready and ms:
            ready = self._wait(ms)
        return ready

    def _wait(self, ms):
        wake = time.WAKE_UART
        if self._streams:  # what makes one ready is an interrupt's handler
            wake |= time.WAKE_PIN | time.WAKE_USB | time.WAKE_TIMER
        us = ms * 1000 if ms > 0 else 0x7FFFFFFF
        end = link.now_us_unasked() + us
        while True:
            time.wait(us, wake)
            ready = self._ready()
            if ms > 0:
                us = end - link.now_us_unasked()
            if ready or us <= 0:
                return ready

    def _ready(self):
        if self._flags:
            ready = []
            for file in self._uarts + self._streams:
                flags = self._flags.get(id(file), POLLIN)
                if file in self._streams:
                    flags = file.ioctl(3, flags) & (flags | POLLERR | POLLHUP)
                elif not file.any():
                    flags &= POLLOUT  # what is written has been taken
                if flags:
                    ready.append((file, flags))
            return ready
        ready = [(s, POLLIN) for s in self._streams if s.ioctl(3, POLLIN) & POLLIN]
        return ready or [(u, POLLIN) for u in self._uarts if u.any()]

    ipoll = poll


def poll():
    return _Poll()


def __getattr__(name):
    return link.late("select", name)
