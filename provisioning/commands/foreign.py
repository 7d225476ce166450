"""`tally station foreign`: other makers' OATH applets, one or a batch."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.provisioning import foreign_batch
from tallystick.provisioning.card.connection import CardConnection, Transmitter
from tallystick.provisioning.card.pcsc import SCHEME, PcscConnection, readers
from tallystick.provisioning.commands.listed import listed_logins
from tallystick.provisioning.commands.options import (
    BenchOptions,
    bench_options,
    digits_option,
    must_name_a_user,
    new_user_option,
    user_option,
    users_option,
)
from tallystick.provisioning.commands.others import DevicesTold, need_consent, need_whole
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.foreign import (
    BATCH,
    UNPROTECTED,
    Done,
    Foreign,
    Wanted,
    device_serial,
)
from tallystick.provisioning.people import CardsForPeople, check_people
from tallystick.provisioning.ready import ReadyStation


@click.command()
@click.option("--port", metavar="pcsc:READER|DEV", help="Where the device is.")
@click.option(
    "--ports", metavar="pcsc:auto|LIST", help="Many devices, one after another in these readers."
)
@click.option(
    "--batch",
    "batch_name",
    default=BATCH,
    show_default=True,
    metavar="NAME",
    help="Name of the batch.",
)
@click.option("--count", type=click.IntRange(1), help="How many devices the batch shall have.")
@users_option
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
    port: str | None,
    ports: str | None,
    batch_name: str,
    count: int | None,
    users_file: Path | None,
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
    """Provision other makers' OATH applets (YKOATH), without a secure channel.

    One device with --port. Many with --ports, and --count or --users: consent is asked for once,
    and each goes by the number printed on it, where it tells that, else by its applet's.
    """
    if (port is None) == (ports is None):
        raise click.UsageError("Give either --port, or --ports with --count or --users.")
    if ports is not None and ((count is None) == (users_file is None) or user or serial):
        raise click.UsageError("A batch needs --count or --users, and takes no --user or --serial.")
    must_name_a_user(user, new_user=new_user)
    people = listed_logins(users_file) if users_file is not None else []
    need_consent(
        "This device is not protected as a card of ours is:", UNPROTECTED,
        accepted=accept_unprotected, ask=not as_json,
        what="There was no consent to provision it unprotected.", kept="Nothing was written to it.",
    )  # fmt: skip
    wanted = Wanted(serial, CodeKind(digits), user, touch, replace, new_user, batch_name)
    with station.open() as ready:
        ready.registry.check()  # before anything is written to the device
        if people:
            check_people(people, ready.registry.check_user)
            wanted = dataclasses.replace(wanted, people=CardsForPeople(people))
        else:
            ready.registry.check_user(user, new_user=new_user)
        work = Foreign(ready.custody, ready.registry, ready.journal, ready.server_url)
        if ports is not None:
            _many(ready, work, wanted, ports, count or len(people), as_json=as_json)
            return
        assert port is not None
        with _open(port) as device:
            done = work.provision(device, wanted, lambda: err().print("touch the device now"))
    if as_json:
        print_json(asdict(done))
        return
    holder = f", assigned to {done.server.user}" if done.server.user else ""
    out().print(
        f"device {done.serial} is in service as account {done.account}: {done.digits} digits"
        f"{', after a touch' if done.touch else ''}{holder}",
        markup=False,
    )


def _many(
    ready: ReadyStation, work: Foreign, wanted: Wanted, ports: str, count: int, *, as_json: bool
) -> None:
    """What is done already counts: the same command goes on where it stopped."""
    before = len(ready.journal.finished(wanted.batch))
    told = DevicesTold(_in_service)
    try:
        if before < count:
            foreign_batch.run(_Readers(ports), _OneOath(work, wanted), told, count - before)
    except KeyboardInterrupt:
        pass  # a device under way is finished by the same command
    missing = max(0, count - before - len(told.done))
    if as_json:
        print_json(
            {
                "batch": wanted.batch,
                "done": [asdict(one) for one in told.done],
                "before": before,
                "missing": missing,
                "failures": told.failures_json(),
            }
        )
    else:
        out().print(
            f"batch {wanted.batch}: {len(told.done)} devices in service now, {before} before, "
            f"{missing} missing, {len(told.failures)} failures",
            markup=False,
        )
    need_whole(
        wanted.batch,
        missing,
        "devices",
        kept="The devices that are finished, and the journal of those that are not.",
    )


def _in_service(place: str, serial: str, done: Done) -> str:
    holder = f", assigned to {done.server.user}" if done.server.user else ""
    return f"{place}: {serial} is in service{holder}: take it out"


class _Readers:
    """PC/SC readers, or ports with commas between them. Implements foreign_batch.Places."""

    def __init__(self, text: str) -> None:
        self._text = text

    def names(self) -> list[str]:
        if self._text == f"{SCHEME}auto":
            return [f"{SCHEME}{name}" for name in readers()]
        return [name for name in self._text.split(",") if name]

    def open(self, name: str) -> AbstractContextManager[Transmitter]:
        return _open(name)


class _OneOath:
    """Implements foreign_batch.Work."""

    def __init__(self, work: Foreign, wanted: Wanted) -> None:
        self._work = work
        self._wanted = wanted

    def serial(self, device: Transmitter) -> str:
        return device_serial(device)

    def provision(self, device: Transmitter, serial: str) -> Done:
        wanted = dataclasses.replace(self._wanted, serial=serial)
        return self._work.provision(device, wanted, lambda: err().print(f"touch {serial} now"))


def _open(port: str) -> PcscConnection | CardConnection:
    if port.startswith(SCHEME):
        return PcscConnection(port.removeprefix(SCHEME))
    return CardConnection.open(port)
