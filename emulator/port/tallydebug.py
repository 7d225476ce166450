"""Where a firmware that was built to be debugged says what it is about to execute.

The host and this side share `flags`: a byte a statement (1: a breakpoint), before them the orders
(`tools/debugger/orders.py` has the same table). What is asked here leaves the firmware's view of
time and pins as it was, so that a run is the same however often it is stopped.
"""

import struct

import link
from uctypes import bytearray_at

_RUN, _IN, _OVER, _OUT, _PAUSE, _LOG_ALL = range(6)
_LOGS = 2  # byte of `flags`: what is come by is only told

flags = None
boot = 0
count = 0  # statements since this start
target = 0  # at which of them to stop, whatever the orders are; 0: at none
frames = []
stopped = None  # the frame of the last stop, and how many there were
depth = 0
busy = False


class Called:
    def __init__(self, function, value, names):
        self.function = function
        self.value = value
        self.names = names
        self.at = 0


def _attach():
    global flags, boot
    link.aside(link.OP_DEBUG, 0, 0, b"")
    address, size, boot = struct.unpack("<QII", link.aside_data)
    flags = bytearray_at(address, size)
    _aim()


def _aim():
    global target
    wanted, start = struct.unpack_from("<QI", flags, 8)
    target = wanted if start == boot else 0


def enter(function, value, names):
    """A function, or the body of a module, begins. value(i): of the i-th of `names`; or None, and
    `names` are the globals."""
    if flags is None:
        _attach()
    frame = Called(function, value, names)
    if not busy:
        frames.append(frame)
    return frame


def leave(frame):
    while frame in frames and frames.pop() is not frame:
        pass


def at(n, frame):
    global count
    if busy:
        return
    count += 1
    frame.at = n
    if not frames or frames[-1] is not frame:
        _back_in(frame)
    if flags[n] or flags[0] or count == target:
        _look(n, frame)


def away(n, frame):
    """The same before a statement that waits for others (`await`, `yield`): its frame is none of
    theirs."""
    at(n, frame)
    if not busy:
        leave(frame)


def _back_in(frame):
    if frame in frames:
        while frames[-1] is not frame:
            frames.pop()
    else:
        frames.append(frame)


def _look(n, frame):
    global stopped, depth
    order = flags[0]
    here = len(frames)
    if count != target:
        if flags[_LOGS] and order != _PAUSE:
            link.post(link.OP_DEBUG, 2, n, struct.pack("<QH", count, here))
            return
        if not flags[n]:
            if order == _OVER and frame is not stopped and here >= depth:
                return
            if order == _OUT and here >= depth:
                return
    stopped = frame
    depth = here
    link.aside(link.OP_DEBUG, 1, n, struct.pack("<QH", count, here))
    _aim()


# -- asked by the host, while it is stopped ------------------------------------------------------


def _asked(function):
    def ask(*args):
        global busy
        busy = True
        try:
            return function(*args)
        finally:
            busy = False

    return ask


def _names(i):
    names = frames[i].names
    if frames[i].value is None:
        return [name for name in names if name[:2] != "__" and name[-2:] != "__"]
    return list(names)


def _value(i, name):
    frame = frames[i]
    if frame.value is None:
        return frame.names[name]
    return frame.value(frame.names.index(name))


@_asked
def stack():
    return [(frame.function, frame.at) for frame in frames]


@_asked
def names(i):
    """Those that have a value now."""
    found = []
    for name in _names(i):
        try:
            _value(i, name)
            found.append(name)
        except (NameError, KeyError):
            pass
    return found


@_asked
def shown(i, name):
    value = _value(i, name)
    return type(value).__name__, repr(value)[:400]


@_asked
def evaluate(i, source, top):
    known = dict(top)
    for name in _names(i):
        try:
            known[name] = _value(i, name)
        except (NameError, KeyError):
            pass
    value = eval(source, known)  # noqa: S307
    return type(value).__name__, repr(value)[:400]


def globals_of(i):
    """Of the module that a frame is in."""
    for frame in reversed(frames[: i + 1]):
        if frame.value is None and frame.function[0] == frames[i].function[0]:
            return frame.names
    return {}
