"""`os` of the board: its file system, and randomness from the host's seeded source."""

import link
from micropython import const
from uos import chdir, getcwd, ilistdir, listdir, stat, statvfs  # noqa: F401

_MOST = const(4096)  # bytes that come at a time


def urandom(n):
    if n < 0:
        raise ValueError
    if n > _MOST:
        whole = bytearray(n)
        for at in range(0, n, _MOST):
            whole[at : at + _MOST] = urandom(min(n - at, _MOST))
        return bytes(whole)
    link.call(link.OP_RANDOM, 0, n)
    return link.answer()


def __getattr__(name):
    return link.late("os", name)
