"""Where a debugger's client comes in."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, NoReturn

import click

from tallystick.common import console
from tallystick.emulator.serving.serial_port import listen
from tallystick.tools.debugger.server import DapWire, DebugSession, Offered


def serve_next(
    listener: socket.socket, defaults: dict[str, Any], offered: Offered | None = None
) -> bool:
    """One client, from when it comes until it goes. Whether it debugged anything."""
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A client that goes in the middle leaves words behind that cannot be sent any more.
    with (
        contextlib.suppress(OSError),
        client,
        client.makefile("rb", 0) as reading,
        client.makefile("wb") as writing,
    ):
        session = DebugSession(DapWire(reading, writing), defaults, offered)
        session.run()
    return session.began


def serve_all(port: int, defaults: dict[str, Any], *, as_json: bool) -> NoReturn:
    """One client after another, until interrupted. port: 0 chooses."""
    with listen(port) as listener:
        number = listener.getsockname()[1]
        if as_json:
            console.print_json({"port": number})
        else:
            click.echo(f"debug adapter: 127.0.0.1:{number}\nstop with Ctrl-C")
        while True:
            serve_next(listener, defaults)
