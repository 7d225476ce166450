"""`os` of the board: its file system, and randomness from the host's seeded source."""

import link
from uos import chdir, getcwd, ilistdir, listdir, stat, statvfs  # noqa: F401


def urandom(n):
    link.call(link.OP_RANDOM, 0, n)
    return link.answer()


def __getattr__(name):
    return link.late("os", name)
