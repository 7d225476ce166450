"""Imports as on the board: what is built into this MicroPython and not into the board's is not
there, neither is the port itself, and a module takes its time.
"""

import builtins
import sys

import flash
import link
import uos

# The port's own, which no firmware sees. They stay with those who have them.
_PRIVATE = (
    "boot", "link", "flash", "io_board", "vfs_board", "uctypes_board", "usb_device", "guard",
    "machine_rp2", "machine_stm32", "micropython_board", "sys_board", "late", "room", "files",
    "host_p256", "gc_seldom",
)  # fmt: skip
# Frozen into this MicroPython, and importing what is not there.
_FROZEN = ("ssl", "mip", "requests")
_built_in = builtins.__import__
_names = ""
kept = {}  # those, by name
ours = {}  # what stands for modules that are built into the board's MicroPython
machine_code = {}  # set by boot.py: modules that stand for the firmware's own, which is that
load = mount = umount = None  # set by boot.py: the real ones
us_per_256 = 0  # set by boot.py: CPU time to make a module of 256 bytes
# Set by boot.py: module → function → CPU time (µs) of a call, and of what lies between two calls of
# the function that is its last argument. Of functions that work for long and touch no hardware,
# which is what time is charged for otherwise.
call_us = {}
stand_in = None  # set by boot.py: for the functions of lib.p256, where the host works them out


def _import(name, *rest):
    # rest is globals, locals, what to import from it, and the level: not 0 within a package.
    if len(rest) < 4 or not rest[3]:
        if name in ours and name not in sys.modules:
            return ours[name]
        top = name.split(".")[0]
        if top[-7:] == "asyncio" and "_asyncio" not in ours and " asyncio " in _names:
            ours["_asyncio"] = load("more_asyncio")
        if " " + top[1:] + " " in _names and top[0] == "u":
            name = name[1:]  # the old name of a module
            if name in ours and name not in sys.modules:
                return ours[name]
        elif " " + top + " " not in _names:
            new = name not in sys.modules
            if new:
                _forget_what_has_gone()
            if top == "boards":
                sys.modules.update(machine_code)  # a boot stage makes the image's be loaded anew
            try:
                module = _built_in(name, *rest)
            except ImportError:
                _refuse(top)
                if top in _FROZEN:
                    _lacks(name)
                raise
            if not new or _charge_for(sys.modules.get(name)):
                if new:
                    _charge_calls(name, sys.modules.get(name))
                loaded = sys.modules.get(top)
                if hasattr(loaded, "__file__") or hasattr(loaded, "__path__"):
                    return module
            _refuse(top)
            _lacks(name)
    return _built_in(name, *rest)


def _lacks(name):
    raise ImportError("no module named '%s'" % name)


def _charge_for(module):
    """Reading it is charged by the flash. False when it is of no file: frozen into this MicroPython
    and not into the board's."""
    path = getattr(module, "__file__", None)
    if path:
        reading = flash.us_per_256
        flash.us_per_256 = 0  # the board does not ask for its size
        try:
            link.charge(us_per_256 * uos.stat(path)[6] >> 8)
        except OSError:
            return False
        finally:
            flash.us_per_256 = reading
    return True


def _refuse(name):
    if link.ask(link.OP_DECLARED, 1, 0, name.encode()):
        raise ImportError("not emulated: %s (docs/guides/emulator.md)" % name)


class _Charged:
    """A function whose calls are charged for, wherever they come from. Made before the firmware
    begins, so that it takes no room from it; keeps no function whose module has gone.
    """

    def __init__(self, us, pause_us):
        self.us = us
        self.pause_us = pause_us
        self.of = None

    def __call__(self, *args):
        link.charge(self.us)
        if self.pause_us and callable(args[-1]):
            args = args[:-1] + (_paused(args[-1], self.pause_us),)
        return self.of(*args)


_charged = {}  # module → function
_none = {}


def _charge_calls(name, module):
    for function, charged in _charged.get(name, _none).items():
        charged.of = getattr(module, function)
        if stand_in is not None and name == "lib.p256":
            charged.of = stand_in(function, module)
        setattr(module, function, charged)


def _forget_what_has_gone():
    for name, functions in _charged.items():
        if name != "builtins" and name not in sys.modules:
            for charged in functions.values():
                charged.of = None


def _paused(pause, us):
    def call():
        link.charge(us)
        pause()

    return call


_used = _built_in


def use(importer):
    """→ what was used before: `builtins.__import__` reads as MicroPython's own for ever."""
    global _used
    before, _used = _used, importer
    builtins.__import__ = importer
    return before


def opened(function):
    """`open`, which takes no descriptor of the host."""

    def only_files(path, *rest, **more):
        if isinstance(path, int):
            raise TypeError("can't convert 'int' object to str implicitly")
        return function(path, *rest, **more)

    return only_files


def install(names):
    """names: the modules that are built into the board's MicroPython, a space around each."""
    global _names
    _names = names
    for name, module in list(sys.modules.items()):
        if "__file__" in module.__dict__:  # the host's
            del module.__file__
        if name == "rp2":  # frozen into the board's, and no part of it
            module.__file__ = "rp2.py"
        else:
            (kept if name in _PRIVATE else ours)[name] = sys.modules.pop(name)
    # What `builtins.open` reads as is MicroPython's own for ever.
    files = opened(kept["files"].keeping if "files" in kept else builtins.open)
    builtins.open = ours["io"].open = files
    use(_import)
    for name, functions in call_us.items():
        _charged[name] = {name: _Charged(*us) for name, us in functions.items()}
    _charge_calls("builtins", builtins)
