"""The board's `micropython`. There, `kbd_intr` says which byte on a serial line is Ctrl-C. Here it
would say it of the process: Ctrl-C of whoever sits before it, and what ends an endless loop.
"""

from struct import pack as _pack

from micropython import *  # noqa: F403

__name__ = "micropython"


def kbd_intr(byte):
    _pack("i", byte)


def alloc_emergency_exception_buf(size):
    """This MicroPython needs none."""
    _pack("i", size)
