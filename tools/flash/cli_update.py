"""`tally update`: a new image into cards and readers in the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError, NoDeviceError
from tallystick.common.passphrase import read_passphrase as read_secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.link import SerialLink
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.commands.options import keys_option
from tallystick.provisioning.commands.passphrase import passphrase_option
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.settings import read_passphrase
from tallystick.tools.flash import usb
from tallystick.tools.flash.field import Running, Update, install, running
from tallystick.tools.image.keys import read_public
from tallystick.tools.image.verify import verify

_PIN_VARIABLE = "TALLY_READER_PIN"
_GLASS = (
    "TOO OLD: what it remembers is of newer firmware, and it takes no update; flash that newer "
    "firmware, tally flash, and nothing is lost. DAMAGED, WORN OUT: none mends it; replace it."
)


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True))
@click.option("--port", metavar="DEV", help="Serial port of the card's dock.")
@click.option(
    "--usb", "path", metavar="DEV", help="Which reader, where there are several: /dev/hidraw1, say."
)
@keys_option
@passphrase_option
@click.option(
    "--pin-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File with the reader's PIN (else ${_PIN_VARIABLE}, else asked), should it be needed.",
)
@click.option("--public-key", help="Key the image must be signed with: 64 hex digits, or a file.")
@click.option("--development", is_flag=True, help="Accept the published development key.")
@console.json_option
def update(
    *,
    image: Path,
    port: str | None,
    path: str | None,
    keys: str,
    passphrase_file: Path | None,
    pin_file: Path | None,
    public_key: str | None,
    development: bool,
    as_json: bool,
) -> None:
    """Send IMAGE (a folder that `tally image build` made) to the card on a port, or to the reader
    on USB, and start it.

    A card needs the firm's keys, and asks for a press once it is in service. A reader asks for a
    touch twice: before anything is written, and to keep what then runs. It is let do so within ten
    seconds of being plugged in, or with its PIN. What they remember stays.
    """
    trusted = read_public(public_key) if public_key else None
    good = verify(image, trusted=trusted, development=development)
    content = Update.parse(good.read(".update"))
    if content.header.device == "reader":
        if port is not None:
            raise click.UsageError("A reader is on USB, and has no --port.")
        result = _to_reader(content, path, pin_file, quiet=as_json)
    else:
        if port is None or path is not None:
            raise click.UsageError("A card needs --port, and has no --usb.")
        result = _to_card(content, port, keys, passphrase_file, quiet=as_json)
    if as_json:
        console.print_json(result)
    else:
        console.out().print(
            f"{result.get('serial', 'reader')}: {result['from']} → {result['to']}, confirmed in "
            f"slot {result['slot']}"
        )


def _to_card(
    content: Update, port: str, keys: str, passphrase_file: Path | None, *, quiet: bool
) -> dict[str, Any]:
    custody = key_store(keys).open(read_passphrase(passphrase_file))
    told = console.err()
    try:
        with _card_on(port) as connection:
            serial = IssuerSession(connection).serial()
            before = running(connection)
            with console.progress(disable=quiet) as bar:
                task = bar.add_task(f"update {serial}", total=len(content.file_system))
                after = install(
                    connection,
                    custody.channel_keys,
                    content,
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                    waiting=Waiting(lambda: told.print("press the card's button to confirm")),
                )
    finally:
        custody.close()
    return {"serial": serial, **_told(content, before, after)}


def _card_on(port: str) -> CardConnection:
    """Raises NoDeviceError, which says what the card's own words mean."""
    link = SerialLink(port)
    try:
        return CardConnection(link)
    except BaseException as error:
        link.close()
        if isinstance(error, NoDeviceError):
            todo = f"{error.todo} {_GLASS}"
            raise NoDeviceError(error.what, kept=error.kept, todo=todo) from None
        raise


def _to_reader(
    content: Update, path: str | None, pin_file: Path | None, *, quiet: bool
) -> dict[str, Any]:
    told = console.err()
    person = usb.UpdatePerson(
        touch=lambda why: told.print(f"its light flashes: touch the reader {why}"),
        pin=lambda: _pin(pin_file),
    )
    with console.progress(disable=quiet) as bar:
        task = bar.add_task("update the reader", total=len(content.file_system))
        before, after = usb.install(
            usb.PluggedIn(path),
            content,
            person,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return _told(content, before, after)


def _pin(pin_file: Path | None) -> str:
    """Raises BadInputError."""
    try:
        return read_secret(pin_file, _PIN_VARIABLE, "the reader", new=False)
    except BadInputError as error:
        raise BadInputError(
            error.what,
            kept="Nothing was sent to the reader.",
            todo=f"Give --pin-file, or set {_PIN_VARIABLE}; or plug the reader in anew, and run "
            "this within ten seconds.",
        ) from None


def _told(content: Update, before: Running, after: Running) -> dict[str, Any]:
    return {
        "from": before.header.version if before.header else None,
        "to": content.header.version,
        "slot": after.slot,
        "floor": after.floor,
    }
