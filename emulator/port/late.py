"""Loads what few firmwares use when one does: the heap is the firmware's."""

import sys

import guard

system = None  # set by boot.py: the file system of the port's own folder


def load(name):
    """A module of the port's own folder, which nobody else sees."""
    path = sys.path[:]
    guard.mount(system, "/~port")
    sys.path[:] = ["/~port"]
    # What firmware has put in the place of one.
    others = [(one, sys.modules[one]) for one in guard.ours if one in sys.modules]
    sys.modules.update(guard.ours)
    sys.modules.update(guard.kept)
    guarded = guard.use(guard._built_in)
    try:
        module = __import__(name)
        del module.__file__  # the host's
        return module
    finally:
        guard.use(guarded)
        sys.path[:] = path
        for hidden in (guard.ours, guard.kept):
            for one in hidden:
                sys.modules.pop(one, None)
        guard.kept[name] = sys.modules.pop(name, None)
        sys.modules.update(others)
        guard.umount("/~port")


def name(module, wanted):
    """What `module` has beyond what is loaded with it."""
    return (guard.kept.get("more_names") or load("more_names")).name(module, wanted)


def typed(*prompt):
    """`input`."""
    return (guard.kept.get("more_console") or load("more_console")).ask(*prompt)


def shown(thing, kind):
    """How a thing is printed."""
    return getattr(guard.kept.get("more_shown") or load("more_shown"), kind)(thing)


def more(thing, kind, wanted):
    """A method that a class of `machine` has beyond what is loaded with it."""
    where = "more_" + kind
    if where not in guard.kept:
        load(where)
        return getattr(thing, wanted)
    words = "'%s' object has no attribute '%s'"
    raise AttributeError(words % (type(thing).__name__, wanted))
