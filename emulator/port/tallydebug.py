"""Where a firmware that was built to be debugged says what it is about to execute.

The host and this side share `flags`: a byte a statement (1: a breakpoint), before them the orders
(`tools/debugger/orders.py` has the same table). What is asked here leaves the firmware's view of
time and pins as it was, so that a run is the same however often it is stopped.
"""

import io
import struct

import link
from uctypes import bytearray_at

_RUN, _IN, _OVER, _OUT, _PAUSE, _LOG_ALL = range(6)
_LOGS = 2  # byte of `flags`: what is come by is only told
_GOES_ON = 3  # the breakpoint was none this time: the step before goes on

_SHOWN = 400  # letters of a value
_MOST = 200  # parts of a value that are shown
_PAGE = 20
_PIECE = 200  # letters of an answer; written down they may be four times as many
_ROW = 16  # bytes

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
    if count != target and flags[_LOGS] and order != _PAUSE:
        link.post(link.OP_DEBUG, 2, n, struct.pack("<QH", count, here))
        return
    due = count == target or _is_over(order, frame, here)
    if not due and not flags[n]:
        return
    before = stopped, depth
    stopped = frame
    depth = here
    link.aside(link.OP_DEBUG, 1 if due else 3, n, struct.pack("<QH", count, here))
    if flags[_GOES_ON]:
        flags[_GOES_ON] = 0
        stopped, depth = before
    _aim()


def _is_over(order, frame, here):
    """Whether the order ends here, breakpoint or not."""
    if order == _OVER:
        return frame is stopped or here < depth
    if order == _OUT:
        return here < depth
    return order in (_IN, _PAUSE)


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


_told = ""  # what was asked last


def told(value):
    """Keeps an answer that may be too long for one message: how long it is."""
    global _told
    _told = repr(value)
    return len(_told)


def piece(n):
    return _told[n : n + _PIECE]


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
    return type(value).__name__, _short(value), _unfolds(value)


@_asked
def evaluate(i, source, top):
    value = _evaluated(i, source, top)
    return type(value).__name__, _short(value), _unfolds(value)


def _evaluated(i, source, top):
    known = dict(top)
    for name in _names(i):
        try:
            known[name] = _value(i, name)
        except (NameError, KeyError):
            pass
    return eval(source, known)  # noqa: S307


@_asked
def inside(i, source, top, first):
    """A page of what is in a value: (name, type, shown, whether it unfolds, how it is asked for);
    after the last that is shown, how many there are in all. A page fits into a heap that is
    full."""
    value = _evaluated(i, source, top)
    found = []
    for n, (name, part, asked) in enumerate(_parts(value, source)):
        if n < first:
            continue
        if n == _MOST:
            found.append(("…", "", "%d in all: evaluate a slice" % len(value), False, ""))
        if n == _MOST or len(found) == _PAGE:
            break
        unfolds = bool(asked) and _unfolds(part)
        found.append((name, type(part).__name__, _short(part), unfolds, asked))
    return found


class _Limited(io.IOBase):
    """Takes so many letters, and then an exception ends it."""

    def __init__(self):
        self.text = ""

    def write(self, data):
        self.text += bytes(data).decode()
        if len(self.text) > _SHOWN:
            raise OverflowError
        return len(data)


def _short(value):
    """As MicroPython writes it. All of a large value would not fit into the heap; and a class may
    write itself badly, such as before its __init__ is done."""
    if isinstance(value, (bytes, bytearray, str)) and len(value) > _SHOWN // 4:
        return repr(value[: _SHOWN // 4]) + "… (%d in all)" % len(value)
    out = _Limited()
    try:
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            print(value, end="", file=out)
        else:
            return repr(value)[:_SHOWN]
    except OverflowError:
        return out.text[:_SHOWN] + "…"
    except Exception as error:
        return "(%s in its __repr__)" % type(error).__name__
    return out.text


def _unfolds(value):
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return bool(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return len(value) > _ROW
    try:
        return not isinstance(value, type) and bool(getattr(value, "__dict__", None))
    except Exception:
        return False


def _parts(value, source):
    if isinstance(value, dict):
        for key in value:
            yield repr(key)[:60], value[key], "(%s)[%r]" % (source, key)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        for n in range(0, len(value), _ROW):
            row = "(%s)[%d:%d]" % (source, n, n + _ROW)
            yield "[%d]" % n, bytes(value[n : n + _ROW]), row
    elif isinstance(value, (list, tuple)):
        for n, part in enumerate(value):
            yield "[%d]" % n, part, "(%s)[%d]" % (source, n)
    elif isinstance(value, (set, frozenset)):
        for n, part in enumerate(value):
            yield "[%d]" % n, part, ""
    else:
        known = value.__dict__
        for name in sorted(known):
            yield name, known[name], "(%s).%s" % (source, name)


def globals_of(i):
    """Of the module that a frame is in."""
    for frame in reversed(frames[: i + 1]):
        if frame.value is None and frame.function[0] == frames[i].function[0]:
            return frame.names
    return {}
