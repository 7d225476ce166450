"""The chip's boot: puts the port's modules in place, mounts the image, runs its `boot.py` where
there is one, then `main.py` from whatever is mounted by then.

Arguments: the kind of link, and the three numbers that it is opened with (`link.py`). The host's
settings are a JSON object with `flash_size`, `fs_base`, `fs_size`, `modules`, `built_in`, `watch`,
`mapped` (ROMFS: its address as the chip sees it, and size; else none), `factory_words`, `costs`,
`heap` (bytes that the firmware has), `spares_host` (see `Mcu.spare_host`).
"""

import sys

import guard
import link
import room  # first: it marks where the heap begins
from uctypes import bytearray_at  # the real one

_MOST = 2900  # characters of a traceback


def _shared(address, n):
    return memoryview(bytearray_at(address, n))


def _crash(error):
    text = _told(error)
    if len(text) > _MOST:  # of a recursion: the head, and the last frames
        last = text[-_MOST:]
        text = text[: text.find("\n") + 1] + "  ...\n" + last[last.find("\n") + 1 :]
    link.call(link.OP_CRASH, 0, 0, text.encode())


def _told(error):
    """The traceback. This MicroPython ends when it prints, or gives out, the words of an exception
    that are a string of its own (`sys.version`): the frames are printed, then the words are put
    behind them."""
    import io

    words = _words(error)
    if words is None:
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()
    pieces = []

    class Frames(io.IOBase):
        def write(self, piece):
            piece = str(piece, "utf-8")
            if piece == ": " and pieces[-1] == type(error).__name__:
                raise StopIteration
            pieces.append(piece)
            return len(piece)

    try:
        sys.print_exception(error, Frames())
    except StopIteration:
        pieces.append(": ")
        pieces.append(words[:2500])
    return "".join(pieces)


def _words(error):
    """What an exception of MicroPython's own was raised with, when that is one string; looked up
    where it lies: class, traceback (2 words), tuple of arguments."""
    import builtins
    import struct

    if getattr(builtins, type(error).__name__, None) is not type(error) or sys.maxsize >> 32 == 0:
        return None
    (args,) = struct.unpack("Q", bytearray_at(id(error) + 24, 8))
    _, count, first = struct.unpack("QQQ", bytearray_at(args, 24))
    if count != 1 or first & 7:  # a small int, or an interned string, which is harmless
        return None
    words = struct.unpack("O", first.to_bytes(8, "little"))[0]
    if not isinstance(words, str):
        return None
    (data,) = struct.unpack("Q", bytearray_at(first + 24, 8))
    return None if bytearray_at(data, 1)[0] == 255 else words  # 255: compressed, of its own errors


def _start(*way):
    import builtins
    import gc
    import json

    import flash
    import late
    import vfs  # the real one, which the firmware does not see

    late.system = vfs.VfsPosix(sys.path[0])
    guard.mount, guard.umount = vfs.mount, vfs.umount
    link.late = late.name
    guard.load = late.load
    config = json.loads(link.open_link(*way))
    if config["counters"]:
        import coverhits
    if config["debugged"]:
        import tallydebug  # noqa: F401
    for name in config["modules"]:
        module = __import__(name)
        if name in ("io_board", "uctypes_board", "vfs_board"):
            sys.modules[name.partition("_")[0]] = module
        elif name == "rom":
            guard.machine_code["boards.rom"] = module
        elif name == "rp2":
            module.base = config["fs_base"]
            module.size = config["fs_size"]
            device = module.Flash()
    sys.modules["micropython"] = __import__("micropython_board")
    sys_board = __import__("sys_board")
    sys_board.describe(*config["system"])
    sys.modules["sys"] = sys_board
    uctypes_board = sys.modules["uctypes"]
    uctypes_board.base, uctypes_board.size = config["flash_base"], config["flash_size"]
    flash.watch_from, flash.watch_to = config["watch"]
    mapped, size, counters = config["mapped"], config["flash_size"], config["counters"]
    sys.modules["machine"].modelled = config["modelled"]
    heap = config["heap"]
    if config["spares_host"]:
        import gc_seldom
        import host_p256

        sys.modules["gc"] = gc_seldom
        guard.stand_in = host_p256.stand_in
    sys.modules["machine"].registers = set(config["registers"])
    sys.modules["machine"].factory_words = dict(config["factory_words"])
    for name, costs in config["costs"].items():
        for key, us in costs.items():
            setattr(sys.modules[name], key, us)
    sys.modules["machine"].name_functions()
    builtins.input = late.typed
    import vfs

    # The board knows nothing of the host's files.
    vfs.umount("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    guard.install(config["built_in"])
    writable = config["writable"]
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
    vfs.mount(system, "/", readonly=not writable)
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
    exec(compile(source, name, "exec"), {"__name__": "__main__"})  # noqa: S102


def run():
    try:
        _start(sys.argv[-4], *[int(arg) for arg in sys.argv[-3:]])
        for name in ("boot.py", "main.py"):
            _run(name)
        # The board would open its prompt. Interrupts go on.
        while True:
            guard.ours["time"].wait(0x7FFFFFFF, 0)
    except SystemExit:  # the board starts anew
        link.call(link.OP_RESET)
    except BaseException as error:  # noqa: BLE001
        _crash(error)


run()
