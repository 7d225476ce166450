"""`tally station foreign`: another maker's OATH applet."""

from __future__ import annotations

from dataclasses import asdict

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.pcsc import SCHEME, PcscConnection
from tallystick.provisioning.commands.options import (
    BenchOptions,
    bench_options,
    digits_option,
    must_name_a_user,
    new_user_option,
    user_option,
)
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.foreign import UNPROTECTED, Foreign, Wanted


@click.command()
@click.option("--port", required=True, metavar="pcsc:READER|DEV", help="Where the device is.")
@click.option("--serial", metavar="TEXT", help="Its serial number, else the applet's identifier.")
@user_option
@new_user_option
@digits_option
@click.option("--touch/--no-touch", default=True, help="Codes only after a touch, if it can.")
@click.option("--replace", is_flag=True, help="Overwrite an account of the same name.")
@click.option("--accept-unprotected", is_flag=True, help="Consent beforehand to what is told.")
@bench_options
@json_option
def foreign(
    *,
    port: str,
    serial: str | None,
    user: str | None,
    new_user: bool,
    digits: int,
    touch: bool,
    replace: bool,
    accept_unprotected: bool,
    station: BenchOptions,
    as_json: bool,
) -> None:
    """Provision another maker's OATH applet (YKOATH), without a secure channel."""
    must_name_a_user(user, new_user=new_user)
    console = err()
    console.print("[bold yellow]This device is not protected as a card of ours is:[/]")
    for sentence in UNPROTECTED:
        console.print(f"  – {sentence}", markup=False)
    if not accept_unprotected and (as_json or not click.confirm("Go on?", err=True)):
        raise RefusedError(
            "There was no consent to provision it unprotected.",
            kept="Nothing was written to it.",
            todo="Add --accept-unprotected.",
        )
    wanted = Wanted(serial, CodeKind(digits), user, touch, replace, new_user)
    with station.open() as ready:
        ready.registry.check()  # before anything is written to the device
        ready.registry.check_user(user, new_user=new_user)
        work = Foreign(ready.custody, ready.registry, ready.journal, ready.server_url)
        with _open(port) as device:
            done = work.provision(device, wanted, lambda: console.print("touch the device now"))
    if as_json:
        print_json(asdict(done))
        return
    holder = f", assigned to {done.server.user}" if done.server.user else ""
    out().print(
        f"device {done.serial} is in service as account {done.account}: {done.digits} digits"
        f"{', after a touch' if done.touch else ''}{holder}",
        markup=False,
    )


def _open(port: str) -> PcscConnection | CardConnection:
    if port.startswith(SCHEME):
        return PcscConnection(port.removeprefix(SCHEME))
    return CardConnection.open(port)
