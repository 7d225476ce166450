"""The board's `sys`: what it says of itself, and nothing of the process."""

from collections import namedtuple
from sys import (  # noqa: F401
    byteorder,
    exit,
    modules,
    path,
    print_exception,
    stderr,
    stdout,
    version_info,
)  # fmt: skip
from sys import implementation as _here

import link

__name__ = "sys"
maxsize = 0x7FFFFFFF
argv = []
platform = machine = version = implementation = None  # see `describe`


def describe(name, board, release):
    """name: of the port. board: as its MicroPython was built for. release: three numbers."""
    global platform, machine, version, implementation
    platform = name
    machine = board
    version = "3.4.0; MicroPython v%d.%d.%d (emulated)" % tuple(release)
    fields = ("name", "version", "_machine", "_mpy")
    value = namedtuple("", fields)
    implementation = value("micropython", tuple(release) + ("",), board, _here._mpy)


def __getattr__(name):
    return link.late("sys", name)
