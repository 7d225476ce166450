"""Frozen into MicroPython for the STM32L4, which then mounts nothing by itself (mpconfigboard.h)
and so never formats what it cannot mount. This never writes: without a file system, or without a
program in it, the device sleeps.
"""

try:
    import os

    import vfs
    from uctypes import bytearray_at

    vfs.mount(vfs.VfsRom(bytearray_at(0x08080000, 0x80000)), "/", readonly=True)
    os.chdir("/")
    files = os.listdir("/")
    if "boot.py" not in files and "main.py" not in files:
        raise OSError
except BaseException:
    # Not the interactive prompt: it would be a way to the secret.
    import machine

    machine.deepsleep()
