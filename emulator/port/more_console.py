"""`sys.stdin` and `input`: nobody types at the board's console."""

import sys
import time


class _Stdin:
    def read(self, *_):
        while True:  # interrupts go on
            time.wait(0x7FFFFFFF, 0)

    readline = readlines = readinto = __next__ = read

    def __iter__(self):
        return self

    def ioctl(self, op, _):
        return 0  # to `select.poll`: nothing is there

    @property
    def buffer(self):
        return self


stdin = _Stdin()


def ask(prompt=""):
    sys.stdout.write(str(prompt))
    stdin.read()
