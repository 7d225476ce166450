"""Imports as on the board: what is built into this MicroPython and not into the board's is not
there, and neither is the port itself.
"""

import builtins
import sys

# The port's own, which no firmware sees. They stay with those who have them.
_PRIVATE = ("boot", "link", "flash", "vfs_timed", "uctypes_stm", "usb_device", "guard")
_built_in = builtins.__import__
_names = ""


def _import(name, *rest):
    # rest is globals, locals, what to import from it, and the level: not 0 within a package.
    if len(rest) < 4 or not rest[3]:
        top = name.split(".")[0]
        if " " + top[1:] + " " in _names and top[0] == "u":
            name = name[1:]  # the old name of a module
        elif " " + top + " " not in _names:
            module = _built_in(name, *rest)
            loaded = sys.modules.get(top)
            if hasattr(loaded, "__file__") or hasattr(loaded, "__path__"):
                return module
            raise ImportError("no module named '%s'" % name)
    return _built_in(name, *rest)


def install(names):
    """names: the modules that are built into the board's MicroPython, a space around each."""
    global _names
    _names = names
    for name in _PRIVATE:
        if name in sys.modules:
            del sys.modules[name]
    builtins.__import__ = _import
