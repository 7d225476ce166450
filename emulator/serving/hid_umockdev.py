"""Gives a command a world with /dev/hidraw0 in it: the reader, to programs that know nothing of us.

For kernels without /dev/uhid. Run by the system's Python, which has the bindings of umockdev
(Debian: umockdev, gir1.2-umockdev-1.0, python3-gi); imports nothing of Tallystick.

    python3 hid_umockdev.py UDP_PORT REPORT_DESCRIPTOR_HEX COMMAND [ARGUMENT...]

umockdev fakes /sys, udev and the device node, which is a pseudo-terminal. Programs write 65 bytes
(report number 0, then the report) and read 64; the reports go on as UDP datagrams.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import tty
from pathlib import Path
from typing import Any

_NODE = "/dev/hidraw0"
_VENDOR, _PRODUCT, _NAME = 0x1209, 0x0001, "Tallystick reader"
_BUS_USB = 3
# linux/hidraw.h
_GET_DESCRIPTOR_SIZE = 0x80044801
_GET_DESCRIPTOR = 0x90044802
_GET_INFO = 0x80084803
_GET_NAME = 0x80004804  # without its size

_USB = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
_HID = f"{_USB}/1-1:1.0/0003:1209:0001.0001"


def _description(descriptor: bytes) -> str:
    """What sysfs and udev tell of the device, in umockdev's format."""
    return (
        f"P: {_USB}\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nE: PRODUCT=1209/1/100\n"
        "A: idVendor=1209\\n\nA: idProduct=0001\\n\nA: bcdDevice=0100\\n\n"
        f"A: manufacturer=Tallystick\\n\nA: product={_NAME}\\n\n\n"
        f"P: {_USB}/1-1:1.0\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\n"
        "A: bInterfaceNumber=00\\n\n\n"
        f"P: {_HID}\nE: SUBSYSTEM=hid\nE: HID_ID=0003:00001209:00000001\nE: HID_NAME={_NAME}\n"
        "E: HID_PHYS=usb-0000:00:14.0-1/input0\nE: HID_UNIQ=\n"
        f"H: report_descriptor={descriptor.hex().upper()}\n\n"
        f"P: {_HID}/hidraw/hidraw0\nN: hidraw0\nE: SUBSYSTEM=hidraw\nE: DEVNAME={_NODE}\n"
        "E: MAJOR=240\nE: MINOR=0\nA: dev=240:0\\n\n"
    )


def _answer(descriptor: bytes, request: int) -> tuple[int, bytes, int] | None:
    """(size of the argument, its content, result) of an ioctl; None for one we do not have."""
    size = len(descriptor).to_bytes(4, "little")
    if request == _GET_DESCRIPTOR_SIZE:
        return 4, size, 0
    if request == _GET_DESCRIPTOR:
        return 4100, size + descriptor, 0
    if request == _GET_INFO:
        info = _BUS_USB.to_bytes(4, "little") + _VENDOR.to_bytes(2, "little")
        return 8, info + _PRODUCT.to_bytes(2, "little"), 0
    if request & 0xC000FFFF == _GET_NAME:
        length = request >> 16 & 0x3FFF
        name = _NAME.encode()[: length - 1] + b"\0"
        return length, name, len(name)
    return None


def _testbed(descriptor: bytes) -> tuple[Any, int]:
    """umockdev's world with the device in it, and the other end of its node."""
    import gi

    gi.require_version("UMockdev", "1.0")
    from gi.repository import GLib, UMockdev

    testbed = UMockdev.Testbed.new()
    testbed.add_from_string(_description(descriptor))

    def on_ioctl(_base: Any, client: Any) -> bool:
        answer = _answer(descriptor, client.get_request() & 0xFFFFFFFF)
        if answer is None:
            return False
        size, content, result = answer
        client.get_arg().resolve(0, size).update(0, content)
        client.complete(result, 0)
        return True

    ioctls = UMockdev.IoctlBase.new()
    ioctls.connect("handle-ioctl", on_ioctl)
    testbed.attach_ioctl(_NODE, ioctls)
    testbed.keep = ioctls
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    # Held open, so that the node outlives the programs that open it; raw, so that bytes stay bytes.
    terminal = Path(testbed.get_root_dir() + _NODE).readlink()
    node = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(node)
    return testbed, testbed.get_dev_fd(_NODE)


def _bridge(node: int, link: socket.socket) -> None:
    """Carries reports between the node and the reader, for ever."""
    written = b""
    while True:
        ready = select.select([node, link.fileno()], [], [])[0]
        if link.fileno() in ready:
            os.write(node, link.recv(64))
        if node in ready:
            written += os.read(node, 4096)
            while len(written) >= 65:
                link.send(written[1:65])
                written = written[65:]


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    port, descriptor, command = int(arguments[0]), bytes.fromhex(arguments[1]), arguments[2:]
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(("127.0.0.1", port))
    testbed, node = _testbed(descriptor)
    threading.Thread(target=_bridge, args=(node, link), daemon=True).start()
    environment = {
        **os.environ,
        "LD_PRELOAD": "libumockdev-preload.so.0",
        "UMOCKDEV_DIR": testbed.get_root_dir(),
    }
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
