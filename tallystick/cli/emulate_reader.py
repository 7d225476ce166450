"""`tally emulate reader`: the fingerprint reader on this computer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator import boards
from tallystick.tools import options

if TYPE_CHECKING:
    from tallystick.emulator.devices.image import Image
    from tallystick.emulator.devices.reader import Reader
    from tallystick.emulator.parts.r503 import R503
    from tallystick.emulator.serving.reader_control import ReaderControlServer
    from tallystick.emulator.serving.reader_service import HidPort, ReaderService

_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)
_PYTHON_OF_THE_SYSTEM = "/usr/bin/python3"  # the one that Debian's bindings of umockdev are for
_SEGMENT = click.Path(path_type=Path, dir_okay=False, exists=True)
_PORT = click.IntRange(0, 65535)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--image", type=click.Path(path_type=Path), help="Image to boot (default: build it).")
@click.option(
    "--serial", default="TR00000001", show_default=True, help="Serial number, 10 characters."
)
@click.option("--identity", type=_SEGMENT, help="Per-reader segment instead of a development one.")
@click.option("--hid-udp", type=_PORT, help="HID reports in datagrams on this UDP port; 0 chooses.")
@click.option(
    "--usb", is_flag=True, help="A device for unmodified programs: uhid, or for COMMAND only."
)
@click.option("--control", type=_PORT, help="HTTP control interface and panel; 0 chooses.")
@options.seed()
@click.option("--flash", type=_FILE, help="Keep reader and sensor in this file, and FILE.sensor.")
@click.option("--real-time", is_flag=True, help="The sensor takes as long as a real one.")
@console.json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def reader(
    image: Path | None,
    serial: str,
    identity: Path | None,
    hid_udp: int | None,
    usb: bool,
    control: int | None,
    seed: int,
    flash: Path | None,
    real_time: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Emulate the fingerprint reader until interrupted, or until COMMAND ends.

    With --usb and a COMMAND (after --), the command finds the reader as /dev/hidraw0, through
    umockdev. With --usb alone, every program of this computer does, through /dev/uhid.
    """
    from tallystick.common.reader_identity import ReaderIdentity
    from tallystick.emulator.devices.hand import Hand
    from tallystick.emulator.devices.reader import Reader
    from tallystick.emulator.parts.r503 import R503
    from tallystick.emulator.serving.reader_control import ReaderControlServer
    from tallystick.emulator.serving.reader_service import ReaderService

    if command and not usb:
        raise click.UsageError("A command needs --usb: it is the command's device.")
    if usb and hid_udp is not None:
        raise click.UsageError("--usb and --hid-udp are two hosts for one reader: give one.")
    cpus = sorted(os.sched_getaffinity(0))
    segment = identity.read_bytes() if identity else ReaderIdentity.development(serial).encode()
    device = Reader(_image(image), identity=segment, seed=seed)
    sensor = R503(device.clock, seed=seed)
    _load(device, sensor, flash)
    device.plug_sensor(sensor)
    hand = Hand(device.clock, sensor, seed)
    device.power_on()
    port = _port(device, hid_udp, usb, bool(command))
    service = ReaderService(device, port, real_time=real_time)
    server = ReaderControlServer(service, hand, control) if control is not None else None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    if server is not None:
        server.start()
    _announce(device, serial, port, server, as_json)
    child = _start(command, device, port, service) if command else None
    # Both sides of the pipe to the firmware take turns; on one core a turn is ten times faster.
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})
    try:
        service.run(on_end=lambda: _keep(device, sensor, flash))
    finally:
        if server is not None:
            server.stop()
        if child is not None:
            child.terminate()
            sys.exit(child.wait())


def _port(device: Reader, hid_udp: int | None, usb: bool, for_command: bool) -> HidPort | None:
    from tallystick.emulator.serving.hid_udp import UdpHid
    from tallystick.emulator.serving.hid_uhid import Uhid

    if usb and not for_command:
        return Uhid("Tallystick reader", 0x1209, 0x0001, device.mcu.usb.descriptors[2])
    if usb:
        return UdpHid(0)
    return UdpHid(hid_udp) if hid_udp is not None else None


def _start(
    command: tuple[str, ...], device: Reader, port: HidPort | None, service: ReaderService
) -> subprocess.Popen[bytes]:
    """The command in umockdev's world; when it ends, so does the reader. Raises TallyError."""
    from tallystick.emulator.serving import hid_umockdev
    from tallystick.emulator.serving.hid_udp import UdpHid

    assert isinstance(port, UdpHid)
    if shutil.which("umockdev-run") is None:
        raise TallyError(
            "umockdev is not installed, and without it a command has no /dev/hidraw0.",
            todo="apt-get install umockdev gir1.2-umockdev-1.0 python3-gi, or use --hid-udp.",
        )
    descriptor = device.mcu.usb.descriptors[2].hex()
    helper = [_PYTHON_OF_THE_SYSTEM, str(hid_umockdev.__file__), str(port.port), descriptor]
    child = subprocess.Popen([*helper, *command])

    def wait() -> None:
        child.wait()
        service.stop()

    threading.Thread(target=wait, daemon=True).start()
    return child


def _announce(
    device: Reader,
    serial: str,
    port: HidPort | None,
    server: ReaderControlServer | None,
    as_json: bool,
) -> None:
    from tallystick.emulator.serving.hid_udp import UdpHid

    udp = port.port if isinstance(port, UdpHid) else None
    if as_json:
        console.print_json(
            {
                "board": device.board.name,
                "serial": serial,
                "hid_udp": udp,
                "control": server.url if server else None,
            }
        )
        sys.stdout.flush()
        return
    err = console.err()
    err.print(f"reader {serial} on {device.board.name}, image {device.image.version or 'unnamed'}")
    if udp is not None:
        err.print(f"HID reports: UDP 127.0.0.1:{udp}")
    if server is not None:
        err.print(f"panel: {server.url} (the calls: {server.url}/docs)")
    err.print("stop with Ctrl-C")


def _image(path: Path | None) -> Image:
    from tallystick import __version__
    from tallystick.emulator.devices.image import Image
    from tallystick.tools.image.build import build, write

    if path is not None:
        return Image.load(path, None)
    with tempfile.TemporaryDirectory() as folder:
        built = build("reader", boards.DEFAULT_READER, __version__)
        return Image.load(write(built, Path(folder))["bin"])


def _load(device: Reader, sensor: R503, path: Path | None) -> None:
    from tallystick.emulator.parts.r503_flash import SensorFlash

    if path is None or not path.is_file():
        return
    content = path.read_bytes()
    if len(content) != device.board.flash_size:
        raise BadInputError(
            f"{path} holds {len(content)} bytes; the flash of {device.board.name} has "
            f"{device.board.flash_size}.",
            kept="The file was not touched.",
            todo="Name another file.",
        )
    records = device.board.journal
    device.flash.load(records.address, content[records.address : records.end])
    beside = path.with_name(path.name + ".sensor")
    if beside.is_file():
        sensor.flash = SensorFlash.decode(beside.read_bytes())


def _keep(device: Reader, sensor: R503, path: Path | None) -> None:
    if path is None:
        return
    for target, content in (
        (path, device.flash.memory[:]),
        (path.with_name(path.name + ".sensor"), sensor.flash.encode()),
    ):
        part = target.with_name(target.name + ".part")
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(target)
