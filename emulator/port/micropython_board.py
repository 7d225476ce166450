"""The board's `micropython`. There, `kbd_intr` says which byte on a serial line is Ctrl-C. Here it
would say it of the process: Ctrl-C of whoever sits before it, and what ends an endless loop.
"""

from struct import pack

from micropython import *  # noqa: F403


def kbd_intr(byte):
    pack("i", byte)
