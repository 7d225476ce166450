"""Frozen into MicroPython for RP2 boards in place of the port's own, which formats what it cannot
mount. This one never writes: without a file system, or without a program, the device sleeps.
"""

try:
    import os

    import rp2
    import vfs

    system = vfs.VfsLfs2(rp2.Flash(), readsize=256, progsize=256)  # type: ignore[abstract]  # stubs
    vfs.mount(system, "/", readonly=True)
    files = os.listdir("/")
    if "boot.py" not in files and "main.py" not in files:
        raise OSError
except BaseException:
    # Not the interactive prompt: it would be a way to the secret.
    import machine

    machine.deepsleep()
