"""Files that firmware writes and does not close.

On the board the garbage collector closes them one day. It cannot here: nothing can be made while it
runs, and what is written goes to the host as a message. So they are kept, and what is in them is
written when firmware closes them, or when it has left some others open.
"""

import builtins

from micropython import const

_MOST = const(8)

_kept = []
_open = builtins.open


def _is_open(file):
    try:
        file.tell()
    except (OSError, ValueError):
        return False
    return True


def keeping(path, mode="r", *rest, **more):
    file = _open(path, mode, *rest, **more)
    if mode[:1] != "r" or "+" in mode:
        _kept[:] = [one for one in _kept if _is_open(one)]
        while len(_kept) >= _MOST:
            _kept.pop(0).close()
        _kept.append(file)
    return file
