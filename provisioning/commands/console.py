"""`tally station console`: the page for whoever stands at the docks."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common.console import err, json_option, print_json
from tallystick.common.errors import BadInputError
from tallystick.provisioning.commands.options import BenchOptions, bench_options, operator_option


@click.command()
@click.option("--ports", default="auto", show_default=True, help="Suggested for a batch.")
@click.option(
    "--listen-port", type=click.IntRange(0, 65535), default=8321, show_default=True,
    help="TCP port on 127.0.0.1; 0 lets the system choose.",
)  # fmt: skip
@click.option(
    "--any-local-user",
    is_flag=True,
    help="Let other users of this computer open it, too (they still need a pass).",
)
@bench_options
@operator_option
@json_option
def console(
    *,
    ports: str,
    listen_port: int,
    any_local_user: bool,
    station: BenchOptions,
    operator_file: Path,
    as_json: bool,
) -> None:
    """Serve the console to this computer; the pass to sign in with is shown here."""
    try:
        from tallystick.provisioning.console import app  # noqa: PLC0415 (the UI library is optional)
    except ImportError:
        raise BadInputError(
            "The console needs the package nicegui.",
            todo="Install it with `pip install 'tallystick[console]'`.",
        ) from None
    with (
        station.open() as ready,
        app.listen(listen_port) as sock,
    ):
        address = f"http://127.0.0.1:{sock.getsockname()[1]}/"

        def show_pass(text: str) -> None:
            if as_json:
                print_json({"url": address, "pass": text})
                return
            err().print(f"pass for {address} [bold]{text}[/] (once, within ten minutes)")

        if as_json:
            print_json({"url": address})
        else:
            err().print(f"open {address} in a browser; stop with Ctrl-C")
        app.serve(ready, sock, operator_file, ports, show_pass, any_user=any_local_user)
