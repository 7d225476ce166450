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
    "boot", "link", "flash", "vfs_board", "uctypes_stm", "usb_device", "guard", "machine_rp2",
    "machine_stm32", "late",
)  # fmt: skip
# Frozen into this MicroPython, and importing what is not there.
_FROZEN = ("ssl", "mip", "requests")
_built_in = builtins.__import__
_names = ""
kept = {}  # those, by name
load = mount = umount = None  # set by boot.py: the real ones
us_per_256 = 0  # set by boot.py: CPU time to make a module of 256 bytes


def _import(name, *rest):
    # rest is globals, locals, what to import from it, and the level: not 0 within a package.
    if len(rest) < 4 or not rest[3]:
        top = name.split(".")[0]
        if top[-7:] == "asyncio" and "_asyncio" not in sys.modules and " asyncio " in _names:
            sys.modules["_asyncio"] = load("more_asyncio")
        if " " + top[1:] + " " in _names and top[0] == "u":
            name = name[1:]  # the old name of a module
        elif " " + top + " " not in _names:
            new = name not in sys.modules
            try:
                module = _built_in(name, *rest)
            except ImportError:
                _refuse(top)
                if top in _FROZEN:
                    _lacks(name)
                raise
            if not new or _charge_for(sys.modules.get(name)):
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


def install(names):
    """names: the modules that are built into the board's MicroPython, a space around each."""
    global _names
    _names = names
    for name in _PRIVATE:
        if name in sys.modules:
            kept[name] = sys.modules.pop(name)
    builtins.__import__ = _import
