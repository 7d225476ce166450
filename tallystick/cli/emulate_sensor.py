"""`tally emulate sensor`: the fingerprint module alone, on this computer."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from tallystick.common import console
from tallystick.tools import options


@click.command()
@click.option("--pty", is_flag=True, help="Print a serial port that host programs can open.")
@click.option("--control", type=click.IntRange(0, 65535), help="HTTP control interface; 0 chooses.")
@options.seed()
@click.option(
    "--flash",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep password, parameters and templates in this file. It holds biometric data.",
)
@click.option("--real-time", is_flag=True, help="It takes as long as a real one.")
@click.option("--test-mode", is_flag=True, help="Images and templates may leave it.")
@console.json_option
def sensor(
    pty: bool,
    control: int | None,
    seed: int,
    flash: Path | None,
    real_time: bool,
    test_mode: bool,
    as_json: bool,
) -> None:
    """Emulate an R503 fingerprint module alone, until interrupted.

    Its serial line (57600 baud) is a pseudo-terminal; fingers are pressed with --control.
    """
    from tallystick.emulator.clock import Clock
    from tallystick.emulator.devices.hand import Hand
    from tallystick.emulator.devices.kept_files import keep_sensor
    from tallystick.emulator.parts.r503 import R503
    from tallystick.emulator.serving.sensor_control import SensorControlServer
    from tallystick.emulator.serving.sensor_service import SensorService
    from tallystick.emulator.serving.serial_port import PseudoTerminal

    if not pty:
        raise click.UsageError("Its line must lead somewhere: give --pty.")
    kept = keep_sensor(flash) if flash is not None else None
    module = R503(Clock(), seed=seed, flash=kept, test_mode=test_mode)
    hand = Hand(module.clock, module, seed)
    port = PseudoTerminal()
    service = SensorService(module, port, real_time=real_time)
    server = SensorControlServer(service, hand, control) if control is not None else None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    module.power(True)
    if server is not None:
        server.start()
    if as_json:
        console.print_json({"port": port.name, "control": server.url if server else None})
        sys.stdout.flush()
    else:
        err = console.err()
        err.print(f"serial port: {port.name} ({module.baud} baud)")
        if server is not None:
            err.print(f"control: {server.url} (the calls: {server.url}/docs)")
        err.print("stop with Ctrl-C")
    try:
        service.run()
    finally:
        if server is not None:
            server.stop()
