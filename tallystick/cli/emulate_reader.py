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
from typing import TYPE_CHECKING, NamedTuple

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.paths import INPUT_FILE
from tallystick.emulator import boards
from tallystick.tools import options

if TYPE_CHECKING:
    from tallystick.common.reader_identity import ReaderIdentity
    from tallystick.emulator.devices.image import Image
    from tallystick.emulator.devices.reader import Reader
    from tallystick.emulator.serving.reader_control import ReaderControlServer
    from tallystick.emulator.serving.reader_service import HidPort, ReaderService
    from tallystick.emulator.serving.world_folder import WorldFolder

_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)
_PYTHON_OF_THE_SYSTEM = "/usr/bin/python3"  # the one that Debian's bindings of umockdev are for
_PORT = click.IntRange(0, 65535)
_MOST = 4096  # bytes that are read of a segment, which has fewer: a device has no end


@click.command()
@click.option("--image", type=click.Path(path_type=Path), help="Image to boot (default: build it).")
@click.option(
    "--serial", default="TR00000001", show_default=True, help="Serial number, 10 characters."
)
@click.option(
    "--identity", type=INPUT_FILE, help="Per-reader segment instead of a development one."
)
@click.option("--hid-udp", type=_PORT, help="HID reports in datagrams on this UDP port; 0 chooses.")
@click.option(
    "--usb", is_flag=True, help="A device for unmodified programs: uhid, or for COMMAND only."
)
@click.option("--control", type=_PORT, help="HTTP control interface and panel; 0 chooses.")
@options.seed()
@click.option("--flash", type=_FILE, help="Keep reader and sensor in this file, and FILE.sensor.")
@click.option("--real-time", is_flag=True, help="The sensor takes as long as a real one.")
@options.loop_limit
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
    loop_limit: float,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Emulate the fingerprint reader until interrupted, or until COMMAND ends.

    With --usb and a COMMAND (after --), the command finds the reader as /dev/hidraw0, through
    umockdev. With --usb alone, every program of this computer does, through /dev/uhid.
    """
    from tallystick.emulator.chips.chip import OneTimeRows
    from tallystick.emulator.devices.hand import Hand
    from tallystick.emulator.devices.kept_files import KeptFiles
    from tallystick.emulator.devices.reader import Reader
    from tallystick.emulator.parts.r503 import R503
    from tallystick.emulator.serving.reader_control import ReaderControlServer
    from tallystick.emulator.serving.reader_service import ReaderService

    if command and not usb:
        raise click.UsageError("A command needs --usb: it is the command's device.")
    if usb and hid_udp is not None:
        raise click.UsageError("--usb and --hid-udp are two hosts for one reader: give one.")
    if command:
        _check(command)
    options.set_loop_limit(loop_limit)
    who = _identity(identity, serial)
    booted = _image(image)
    kept = KeptFiles(flash, booted.board.flash_size) if flash is not None else None
    cpus = sorted(os.sched_getaffinity(0))
    device = Reader(
        booted, identity=who.encode(), seed=seed, kept_in=kept.descriptor if kept else None
    )
    if kept is not None and isinstance(device.mcu.registers, OneTimeRows):
        kept.keep_rows(device.mcu.registers)
    device.mcu.on_print = _print
    sensor = R503(device.clock, seed=seed, flash=kept.sensor if kept else None)
    device.plug_sensor(sensor)
    hand = Hand(device.clock, sensor, seed)
    device.power_on()
    port = _port(device, hid_udp, usb, bool(command), who.serial)
    service = ReaderService(device, port, real_time=real_time)
    server = ReaderControlServer(service, hand, control) if control is not None else None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stop(service, device))
    if server is not None:
        server.start()
    _announce(device, who.serial, port, server, as_json)
    started = _start(command, port, service) if command else None
    # Both sides of the pipe to the firmware take turns; on one core a turn is ten times faster.
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})
    try:
        service.run()
    finally:
        if server is not None:
            server.stop()
        if started is not None:
            sys.exit(_ended(started))


def _stop(service: ReaderService, device: Reader) -> None:
    """At once, whatever the firmware is at."""
    service.stop()
    device.mcu.give_up()


def _print(text: str) -> None:
    """What the firmware prints, so marked that it is not taken for the emulator's own words."""
    for line in text.splitlines():
        click.echo(f"firmware: {line}", err=True)


def _identity(path: Path | None, serial: str) -> ReaderIdentity:
    """Raises BadInputError."""
    from tallystick.common.reader_identity import ReaderIdentity

    if path is None:
        return ReaderIdentity.development(serial)
    try:
        with path.open("rb") as file:
            found = ReaderIdentity.decode(file.read(_MOST))
        found.check()
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.what}", kept=error.kept, todo=error.todo) from error
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read: {error.strerror}.",
            kept="No reader was started.",
            todo="Name another file, or leave --identity out for a development reader.",
        ) from error
    return found


def _check(command: tuple[str, ...]) -> None:
    """Raises TallyError when the command cannot be run, or not with a device of ours."""
    if shutil.which(command[0]) is None:
        raise BadInputError(
            f"There is no program {command[0]!r} to give the reader to.",
            kept="No reader was started.",
            todo="Write the command after --, as in --usb -- fido2-token -L.",
        )
    if shutil.which("umockdev-run") is None:
        raise TallyError(
            "umockdev is not installed, and without it a command has no /dev/hidraw0.",
            kept="No reader was started.",
            todo="apt-get install umockdev gir1.2-umockdev-1.0 python3-gi, or use --hid-udp.",
        )


def _port(
    device: Reader, hid_udp: int | None, usb: bool, for_command: bool, serial: str
) -> HidPort | None:
    from tallystick.emulator.serving.hid_udp import CabledUdpHid, UdpHid
    from tallystick.emulator.serving.hid_uhid import Uhid

    if usb and not for_command:
        return Uhid("Tallystick reader", 0x1209, 0x0001, device.mcu.usb.descriptors[2])
    if usb:
        return CabledUdpHid(device.mcu.usb.descriptors[2])
    return UdpHid(hid_udp) if hid_udp is not None else None


def _start(command: tuple[str, ...], port: HidPort | None, service: ReaderService) -> _Started:
    """The command in umockdev's world. When one of the two ends, so does the other."""
    from tallystick.emulator.serving import hid_umockdev
    from tallystick.emulator.serving.hid_udp import CabledUdpHid
    from tallystick.emulator.serving.world_folder import WorldFolder

    assert isinstance(port, CabledUdpHid)
    folder = WorldFolder()
    helper = [_PYTHON_OF_THE_SYSTEM, str(hid_umockdev.__file__)]
    words = [str(port.port), str(port.cable), port.descriptor.hex(), folder.path]
    environment = {**os.environ, "LD_PRELOAD": "libumockdev-preload.so.0"}
    hid_umockdev.adopt()
    lives_on = [port.cable, folder.held]
    child = subprocess.Popen([*helper, *words, *command], pass_fds=lives_on, env=environment)
    port.given()

    def wait() -> None:
        child.wait()
        service.stop()

    threading.Thread(target=wait, daemon=True).start()
    return _Started(child, folder)


class _Started(NamedTuple):
    """A process that has umockdev's world, and the folder that it is in."""

    process: subprocess.Popen[bytes]
    folder: WorldFolder


def _ended(started: _Started) -> int:
    """Waits for the command's world to end. Its exit status, as a shell would say it. A world that
    was killed leaves what it has started, and its folder, to us."""
    from tallystick.emulator.serving import hid_umockdev

    status = started.process.wait()
    hid_umockdev.end_all()
    started.folder.remove()
    return hid_umockdev.as_shell(status)


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
