"""The chip's boot: puts the port's modules in place, mounts the image, runs its `boot.py` where
there is one, then `main.py` from whatever is mounted by then.

Arguments: the kind of link, and the three numbers that it is opened with (`link.py`). The host's
settings are a JSON object with `flash_size`, `fs_base`, `fs_size`, `modules`, `built_in`, `watch`,
`mapped` (ROMFS: its address as the chip sees it, and size; else none), `factory_words`, `costs`,
`heap` (bytes that the firmware has).
"""

import sys

import guard
import link
import room  # first: it marks where the heap begins
from uctypes import bytearray_at  # the real one


def _shared(address, n):
    return memoryview(bytearray_at(address, n))


def _crash(error):
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    link.call(link.OP_CRASH, 0, 0, text.getvalue()[:3000].encode())


def _start(*way):
    import gc
    import json

    import flash

    config = json.loads(link.open_link(*way))
    if config["counters"]:
        import coverhits
    for name in config["modules"]:
        module = __import__(name)
        if name in ("uctypes_stm", "vfs_board"):
            sys.modules[name.partition("_")[0]] = module
        elif name == "rp2":
            module.base = config["fs_base"]
            module.size = config["fs_size"]
            device = module.Flash()
    flash.watch_from, flash.watch_to = config["watch"]
    mapped, size, counters = config["mapped"], config["flash_size"], config["counters"]
    heap = config["heap"]
    sys.modules["machine"].factory_words = dict(config["factory_words"])
    for name, costs in config["costs"].items():
        for key, us in costs.items():
            setattr(sys.modules[name], key, us)
    import vfs

    # The board knows nothing of the host's files.
    vfs.umount("/")
    sys.path[:] = ["", "/lib"]
    guard.install(config["built_in"])
    config = None
    if way[-1]:  # else another MicroPython, whose heap holds copies of the flash
        room.leave(heap)
    gc.collect()
    # Everything up to here happens once, before the chips are forked from it.
    address = link.wait_for_go()
    if address:
        flash.address = address
        flash.memory = _shared(address, size)
        if counters:
            coverhits.memory = _shared(address + size, counters)
    if mapped:
        import uctypes

        system = vfs.VfsRom(uctypes.bytearray_at(*mapped))
    else:
        system = vfs.VfsLfs2(device, readsize=256, progsize=256, lookahead=32, mtime=False)
    vfs.mount(system, "/", readonly=True)
    import os

    os.chdir("/")
    gc.collect()
    link.post(link.OP_HEAP, 0, gc.mem_alloc())


def _run(name):
    import os

    if name not in os.listdir():
        return
    with open(name) as file:
        source = file.read()
    exec(source, {"__name__": "__main__"})  # noqa: S102


def run():
    try:
        _start(sys.argv[-4], *[int(arg) for arg in sys.argv[-3:]])
        for name in ("boot.py", "main.py"):
            _run(name)
        raise RuntimeError("main.py returned: a device has nowhere to return to")
    except BaseException as error:  # noqa: BLE001
        _crash(error)


run()
