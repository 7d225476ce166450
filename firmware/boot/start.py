"""Boot: chooses a slot, and mounts it.

Nothing here formats or erases a slot, whatever it finds: a device that cannot start keeps its flash
as it is. The one thing written is the boot record, when a trial begins or is over.
"""

import gc
import sys

import micropython

gc.threshold(8192)  # collect often: what stays then lies together
micropython.kbd_intr(-1)  # a byte on the serial line must not stop the device


def run() -> None:
    """Has a slot mounted. Raises OSError when neither can be."""
    import board
    import booted

    if hasattr(board, "button"):  # a card
        booted.button = board.button()  # before what takes time: a short press is over after it
    import os

    import vfs

    from lib.slots import choose

    slot = choose(board)
    for slot in (slot, 1 - slot):
        try:
            system = board.slot_system(slot)
            break
        except OSError as failed:
            error = failed
    else:
        raise error
    booted.slot = slot
    for place in ("/flash", "/"):
        try:
            vfs.umount(place)
        except OSError:
            pass
    vfs.mount(system, "/", readonly=True)
    os.chdir("/")
    # The slot has modules of the same names, which may be newer.
    for name in list(sys.modules):
        if name.split(".")[0] in ("start", "board", "boards", "lib"):
            # A deleted entry keeps its value alive: first None, then gone.
            sys.modules[name] = None  # type: ignore[assignment]  # for a moment
            sys.modules.pop(name)
