"""Gives a command a world with /dev/hidraw0 in it: the reader, to programs that know nothing of us.

For kernels without /dev/uhid. Run by the system's Python, which has the bindings of umockdev
(Debian: umockdev, gir1.2-umockdev-1.0, python3-gi); imports nothing of Tallystick.

    python3 hid_umockdev.py UDP_PORT CABLE_FD REPORT_DESCRIPTOR_HEX FOLDER COMMAND [ARGUMENT...]

umockdev fakes /sys, udev and the device node, which is a pseudo-terminal. Programs write 65 bytes
(report number 0, then the report) and read 64; the reports go on as UDP datagrams. CABLE_FD is the
read end of a pipe: a byte 1 plugs the reader in, a byte 0 pulls it out. When it ends, so does the
command, with all that it has started. FOLDER is where umockdev's world is; it goes at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from types import FrameType
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
_INTERFACE = f"{_USB}/1-1:1.0"
_HID = f"{_INTERFACE}/0003:1209:0001.0001"
_DEVICES = (_USB, _INTERFACE, _HID, f"{_HID}/hidraw/hidraw0")


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
        f"P: {_HID}/hidraw/hidraw0\nE: SUBSYSTEM=hidraw\nE: DEVNAME={_NODE}\n"
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


class _World:
    """umockdev's, with the device in it while it is plugged in, below `folder`. `node`: the other
    end of its node, -1 while there is none."""

    def __init__(self, descriptor: bytes, folder: str) -> None:
        import gi

        gi.require_version("UMockdev", "1.0")
        from gi.repository import GLib, UMockdev

        self._descriptor = descriptor
        os.environ["TMPDIR"] = folder  # where umockdev makes its own; GLib asks once
        self._testbed = UMockdev.Testbed.new()
        self._ioctls = UMockdev.IoctlBase.new()
        self._ioctls.connect("handle-ioctl", self._on_ioctl)
        self._held = -1
        self.node = -1
        threading.Thread(target=GLib.MainLoop().run, daemon=True).start()

    @property
    def folder(self) -> str:
        found: str = self._testbed.get_root_dir()
        return found

    def _on_ioctl(self, _base: Any, client: Any) -> bool:
        answer = _answer(self._descriptor, client.get_request() & 0xFFFFFFFF)
        if answer is None:
            return False
        size, content, result = answer
        client.get_arg().resolve(0, size).update(0, content)
        client.complete(result, 0)
        return True

    def plug(self) -> None:
        """The device appears, and udev tells."""
        if self.node >= 0:
            return
        self._testbed.add_from_string(_description(self._descriptor))
        # Held open, so that the node outlives the programs that open it; raw, so that bytes stay
        # bytes. umockdev's own nodes cannot come back once they have gone.
        self.node, self._held = os.openpty()
        tty.setraw(self._held)
        terminal = os.ttyname(self._held)
        for name, target in self._links(terminal):
            link = Path(self.folder, "dev", name)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(target)
        self._testbed.attach_ioctl(_NODE, self._ioctls)
        self._tell("add", _DEVICES)

    def pull(self) -> None:
        """It is gone: programs that have it open get an error, and udev tells."""
        if self.node < 0:
            return
        node, self.node = self.node, -1
        terminal = os.ttyname(self._held)
        self._tell("remove", reversed(_DEVICES))
        self._testbed.detach_ioctl(_NODE)
        for device in reversed(_DEVICES):
            self._testbed.remove_device("/sys" + device)
        for name, _ in self._links(terminal):
            Path(self.folder, "dev", name).unlink(missing_ok=True)
        os.close(self._held)
        os.close(node)  # who has it open hears that it hung up

    def _links(self, terminal: str) -> tuple[tuple[str, str], ...]:
        """In umockdev's /dev: the node, and whose the terminal is."""
        return (
            (Path(_NODE).name, terminal),
            (f".ptymap/{terminal.replace('/', '_')}", "240:0"),
        )

    def _tell(self, action: str, devices: Any) -> None:
        for device in devices:
            self._testbed.uevent("/sys" + device, action)


class _Bridge:
    """Carries reports between the node and the reader, and the cable's state into the world."""

    def __init__(self, world: _World, link: socket.socket, cable: int) -> None:
        self._world = world
        self._link = link
        self._cable = cable
        self._written = b""

    def run(self) -> None:
        """Until the emulator ends."""
        while True:
            files = [self._link.fileno(), self._cable]
            if self._world.node >= 0:
                files.append(self._world.node)
            ready = select.select(files, [], [])[0]
            if self._cable in ready and not self._follow():
                return
            if self._link.fileno() in ready:
                self._to_host()
            if self._world.node in ready:
                self._to_reader()

    def _follow(self) -> bool:
        """The cable; False when nobody holds it any more."""
        state = os.read(self._cable, 1)
        if state == b"\x01":
            self._world.plug()
        elif state:
            self._world.pull()
            self._written = b""
        return bool(state)

    def _to_host(self) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            report = self._link.recv(64)
            if self._world.node >= 0:
                os.write(self._world.node, report)

    def _to_reader(self) -> None:
        self._written += os.read(self._world.node, 4096)
        while len(self._written) >= 65:
            with contextlib.suppress(ConnectionRefusedError):
                self._link.send(self._written[1:65])
            self._written = self._written[65:]


_SUBREAPER, _DEATH_SIGNAL = 36, 1  # linux/prctl.h
_DIES_WITH_US = "--command"


def _become(command: list[str]) -> None:
    """This process becomes the command, and ends with its parent."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    os.execvp(command[0], command)  # noqa: S606 - the person's own command


def _descendants() -> list[int]:
    """Process numbers of all that came from this one and live."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (
                    (folder / "stat")
                    .read_text(encoding="utf-8", errors="replace")
                    .rpartition(") ")[2]
                    .split()
                )
                if stat[0] != "Z":
                    parents.setdefault(int(stat[1]), []).append(int(folder.name))
    found, look = [], [os.getpid()]
    while look:
        children = parents.get(look.pop(), [])
        found += children
        look += children
    return found


def adopt() -> None:
    """What a child of ours leaves behind comes to us, so that `end_all` finds it."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)


def as_shell(status: int) -> int:
    """Exit status of a command as a shell says it: 128 and the signal that has ended it."""
    return status if status >= 0 else 128 - status


def end_all() -> None:
    """Asks what the command has started to end; what does not within two seconds is killed."""
    deadline = time.monotonic() + 2
    number = signal.SIGTERM
    while left := _descendants():
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.05)


def _stop_in(folder: str) -> Callable[[int, FrameType | None], None]:
    """A handler of signals: ends the command, and removes umockdev's folder."""

    def stop(number: int, _frame: FrameType | None) -> None:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)

    return stop


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    port, cable, descriptor = int(arguments[0]), int(arguments[1]), bytes.fromhex(arguments[2])
    os.set_inheritable(cable, False)
    adopt()
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(("127.0.0.1", port))
    folder = arguments[3]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_in(folder))
    environment = {**os.environ, "LD_PRELOAD": "libumockdev-preload.so.0"}
    world = _World(descriptor, folder)
    world.plug()
    environment["UMOCKDEV_DIR"] = world.folder
    words = [sys.executable, __file__, _DIES_WITH_US, *arguments[4:]]
    child = subprocess.Popen(words, env=environment)

    def serve() -> None:
        _Bridge(world, link, cable).run()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=serve, daemon=True).start()
    status = child.wait()
    end_all()
    shutil.rmtree(folder, ignore_errors=True)
    return as_shell(status)


if __name__ == "__main__":
    if sys.argv[1] == _DIES_WITH_US:
        _become(sys.argv[2:])
    sys.exit(main(sys.argv[1:]))
