"""`tally emulate`: a device's firmware on this computer."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick import __version__
from tallystick.cli.emulate_reader import reader
from tallystick.cli.emulate_sensor import sensor
from tallystick.common import console
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.groups import Group
from tallystick.common.identity import SIZE, Identity, check_serial
from tallystick.common.paths import OUTPUT_FILE
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.kept_files import keep_flash
from tallystick.emulator.devices.project import Project
from tallystick.emulator.instruments import flash_map as maps
from tallystick.emulator.instruments.apdu_log import ApduLog
from tallystick.emulator.instruments.current_csv import CurrentCsv
from tallystick.emulator.instruments.events import EventLog
from tallystick.emulator.instruments.vcd import Vcd
from tallystick.emulator.interpreter.micropython import can_reside
from tallystick.emulator.serving.rewind import RewindService
from tallystick.emulator.serving.serial_port import PseudoTerminal, SerialPort, TcpPort
from tallystick.emulator.serving.service import Service
from tallystick.tools import options
from tallystick.tools.image.build import build, write
from tallystick.tools.image.folder import of_project, with_files_of
from tallystick.tools.image.watch import Watcher, restart, stamps
from tallystick.tools.personalise import personalise
from tallystick.tools.vpcd import VirtualReader

if TYPE_CHECKING:
    from tallystick.emulator.serving.control import ControlServer

_DEFAULT_SERIAL = "TS00000001"


@click.group(cls=Group)
def emulate() -> None:
    """Run a device's firmware, unchanged, on real MicroPython."""


emulate.add_command(reader)
emulate.add_command(sensor)


@emulate.command()
@click.option("--image", type=click.Path(path_type=Path), help="Image to boot (default: build it).")
@click.option(
    "--firmware",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Boot your own firmware: a folder with main.py, and board.toml with what is on its pins.",
)
@click.option("--watch", is_flag=True, help="Build and start it again whenever its sources change.")
@options.emulated_board
@click.option(
    "--serial",
    help="Serial number, 10 characters (default: as in --flash or --identity, or TS00000001).",
)
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    help="Per-card segment instead of a development one.",
)
@click.option("--pty", is_flag=True, help="Print a serial port that pyserial can open.")
@click.option(
    "--tcp", type=click.IntRange(0, 65535), help="Serial line on this TCP port; 0 chooses."
)
@click.option("--vpcd", metavar="HOST:PORT", help="Put the card into this virtual PC/SC reader.")
@click.option("--control", type=click.IntRange(0, 65535), help="HTTP control interface; 0 chooses.")
@click.option(
    "--seeded", is_flag=True, help="Put in the published test seed, so that presses give codes."
)
@click.option("--panel", is_flag=True, help="A page that shows the card; its address is printed.")
@click.option(
    "--debug", type=click.IntRange(0, 65535), metavar="PORT",
    help="Serve a debugger of --firmware on this port, as `tally debug` does; 0 chooses.",
)  # fmt: skip
@options.seed()
@click.option(
    "--flash",
    type=click.Path(path_type=Path),
    help="Keep the flash in this file, as it is written.",
)
@click.option("--real-time", is_flag=True, help="Virtual time always flows with real time.")
@options.loop_limit
@click.option("--vcd", type=OUTPUT_FILE, help="Write pins, buses and current as waveforms.")
@click.option(
    "--current", type=OUTPUT_FILE, help="Write current over time, as a power profiler's CSV."
)
@click.option("--events", type=OUTPUT_FILE, help="Write events as JSON lines.")
@click.option(
    "--apdu-log", type=OUTPUT_FILE, help="Write the serial line in words, without secrets."
)
@click.option(
    "--flash-map", type=OUTPUT_FILE, help="Write the flash and its wear: .svg, .png or .json."
)
@console.json_option
def card(
    image: Path | None,
    firmware: Path | None,
    watch: bool,
    board: str | None,
    serial: str | None,
    identity: Path | None,
    pty: bool,
    tcp: int | None,
    vpcd: str | None,
    control: int | None,
    panel: bool,
    seeded: bool,
    debug: int | None,
    seed: int,
    flash: Path | None,
    real_time: bool,
    loop_limit: float,
    vcd: Path | None,
    current: Path | None,
    events: Path | None,
    apdu_log: Path | None,
    flash_map: Path | None,
    as_json: bool,
) -> None:
    """Emulate one card, or your own firmware, until interrupted.

    Without --real-time, virtual time stands still while nobody has the serial port open, so a code
    stays on the display until it is read; POST /clock lets time pass.
    """
    if sum((pty, tcp is not None, vpcd is not None)) > 1:
        raise click.UsageError("--pty, --tcp and --vpcd are ways to the same line: give one.")
    of_a_card = bool(image or seeded or identity or serial or vpcd)
    project = _project(firmware, board, of_a_card=of_a_card, watch=watch)
    _debug(project, debug, seed, as_json=as_json, alone=not any(
        (pty, panel, watch, flash, vcd, current, events, apdu_log, flash_map)
    ) and tcp is None and control is None)  # fmt: skip
    _stay_on_one_core()
    maps.check(flash_map)
    options.set_loop_limit(loop_limit)
    seen = stamps(project) if project is not None else {}
    booted = of_project(project) if project is not None else _image(image, board)
    kept = keep_flash(flash, booted.board.flash_size) if flash is not None else None
    content = b"" if kept is None else os.pread(kept, booted.board.flash_size, 0)
    lived_in = bool(content.strip(b"\xff"))
    if lived_in:
        booted = with_files_of(booted, content)
    who = b"" if lived_in or project else _identity(identity, serial or _DEFAULT_SERIAL)
    device = Card(
        booted,
        identity=who,
        seed=seed,
        trace=EventLog(events) if events is not None else None,
        kept_in=kept,
        fittings=project.fittings() if project is not None else None,
    )
    lives = contextlib.ExitStack()
    _attach(device, vcd, current, apdu_log)
    device.mcu.on_print = _print_json if as_json else _print
    name = project.name if project is not None else _serial_in(device)
    if serial is not None and name != serial:
        raise BadInputError(
            f"The card in {flash or identity} is {name}, not {serial}.",
            kept="It is as it was.",
            todo="Leave --serial out, or name another file.",
        )
    port = _port(pty or vpcd is not None, tcp)
    reader = VirtualReader(vpcd, port.name) if vpcd is not None and port is not None else None
    outward = real_time or any((flash, vcd, current, events, apdu_log, flash_map))
    service = _service(device, port, real_time=real_time, rewinds=panel and not outward)
    server = None
    if control is not None or panel:
        server = _control(service, control or 0, name, panel=panel)
    _hear_signals(service, device)
    service.start()
    if service.crash.startswith("MicroPython ended"):
        raise BadInputError(service.crash, todo="Name another MicroPython, or none.")
    if seeded:
        service.first(personalise)
    if server is not None:
        server.start()
        lives.callback(server.stop)
    if reader is not None:
        reader.start()
        lives.callback(reader.close)
    _announce(device, name, port, server, as_json)
    if watch and project is not None:
        watcher = Watcher(project, _started_again(service), seen)
        watcher.start()
        lives.callback(watcher.stop)
    with lives:
        service.run(on_end=lambda: _keep(device, flash_map))


def _project(
    firmware: Path | None, board: str | None, *, of_a_card: bool, watch: bool
) -> Project | None:
    """The firmware that was named instead of a card's. of_a_card: an option is a card's."""
    if firmware is None:
        if watch:
            raise click.UsageError("--watch looks at the sources of --firmware DIR: name it.")
        return None
    if of_a_card:
        raise click.UsageError(
            "--firmware is your own: --image, --seeded, --identity, --serial and --vpcd are a "
            "card's."
        )
    return Project.find(firmware, board)


def _stay_on_one_core() -> None:
    """Both sides of the pipe take turns; on one core a turn is ten times faster than across two."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})


def _debug(
    project: Project | None, port: int | None, seed: int, *, alone: bool, as_json: bool
) -> None:
    """In place of all else, where it is wanted."""
    if port is None:
        return
    if project is None:
        raise click.UsageError("--debug needs sources: name them with --firmware DIR.")
    if not alone:
        raise click.UsageError(
            "--debug has the board to itself: parts are moved from the editor (`.press NAME`). "
            "Leave the other ways to look and to press out."
        )
    from tallystick.tools.debugger.serving import serve_all  # noqa: PLC0415 (only this needs it)

    folder = str(project.firmware.resolve())
    speed = {"project": folder, "board": project.board, "seed": seed, "speed": 1.0}
    serve_all(port, speed, as_json=as_json)


def _started_again(service: Service | RewindService) -> Callable[[Image | TallyError], None]:
    """What a change of the sources leads to. Runs in the watcher's thread."""

    def changed(found: Image | TallyError) -> None:
        try:
            if isinstance(found, TallyError):
                raise found
            began = time.monotonic()
            service.crash = ""
            service.call(partial(restart, image=found))
            took = (time.monotonic() - began) * 1000
            console.err().print(f"started again, the flash as it was ({took:.0f} ms)")
        except TallyError as error:
            console.print_error(error)

    return changed


def _port(pty: bool, tcp: int | None) -> SerialPort | None:
    if pty:
        return PseudoTerminal()
    return TcpPort(tcp) if tcp is not None else None


def _service(
    device: Card, port: SerialPort | None, *, real_time: bool, rewinds: bool
) -> Service | RewindService:
    """rewinds: nothing out here would have to go back with the card."""
    if rewinds and port is None and can_reside():
        return RewindService(device)
    return Service(device, port, real_time=real_time)


def _control(
    service: Service | RewindService, port: int, name: str, *, panel: bool
) -> ControlServer:
    try:
        from tallystick.emulator.serving.control import ControlServer  # noqa: PLC0415 (an optional extra)
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"The control interface needs {error.name}, which is not installed.",
            kept="The card was not started.",
            todo=f"pip install 'tallystick[{'panel' if panel else 'control'}]'",
        ) from error
    return ControlServer(service, port, panel_for=name if panel else None)


def _announce(
    device: Card, serial: str, port: SerialPort | None, server: ControlServer | None, as_json: bool
) -> None:
    if as_json:
        console.print_json(
            {
                "board": device.board.name,
                "serial": serial,
                "port": port.name if port else None,
                "control": server.url if server else None,
                "panel": server.panel_url or None if server else None,
            }
        )
        return
    what = "card" if device.fittings.kit else "firmware"
    click.echo(f"{what} {serial} on {device.board.name}, image {device.image.version or 'unnamed'}")
    if port is not None:
        click.echo(f"serial port: {port.name}")
    if server is not None:
        if server.panel_url:
            click.echo(f"panel: {server.panel_url}")
        click.echo(f"control: {server.url} (its page lists the calls)")
    click.echo("stop with Ctrl-C")


def _image(path: Path | None, board: str | None) -> Image:
    if path is not None:
        return Image.load(path, board)
    built = build("card", board or boards.DEFAULT, __version__)
    with tempfile.TemporaryDirectory() as folder:
        return Image.load(write(built, Path(folder))["bin"])


def _identity(path: Path | None, serial: str) -> bytes:
    if path is None:
        return Identity.derive(check_serial(serial), 20260101).encode()
    try:
        segment = path.read_bytes() if path.is_file() else b""
    except OSError:
        segment = b""
    if len(segment) != SIZE:
        raise BadInputError(
            f"{path} is not a per-card segment of {SIZE} bytes.",
            todo="Leave --identity out for a development card.",
        )
    return segment


def _serial_in(device: Card) -> str:
    """The serial number in the card's identity, as the firmware will read it."""
    start = device.board.identity.address
    return bytes(device.flash.memory[start + 5 : start + 15]).decode("ascii", "replace")


def _attach(device: Card, vcd: Path | None, current: Path | None, apdu_log: Path | None) -> None:
    if vcd is not None:
        device.attach(Vcd(vcd, device.board))
    if current is not None:
        device.attach(CurrentCsv(current, device.board))
    if apdu_log is not None:
        device.attach(ApduLog(apdu_log))


def _keep(device: Card, flash_map: Path | None) -> None:
    if flash_map is not None:
        maps.write(device.board, device.flash, flash_map)


def _hear_signals(service: Service | RewindService, device: Card) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stop(service, device))


def _stop(service: Service | RewindService, device: Card) -> None:
    """At once, whatever the firmware is at."""
    service.stop()
    device.mcu.give_up()


def _print(text: str) -> None:
    """What the firmware prints, so marked that it is not taken for the emulator's own words."""
    for line in text.splitlines():
        click.echo(f"firmware: {line}")


def _print_json(text: str) -> None:
    console.print_json({"firmware": text})
