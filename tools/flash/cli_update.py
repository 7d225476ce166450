"""`tally update`: a new image into cards in the field."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common import console
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.commands.options import keys_option
from tallystick.provisioning.commands.passphrase import passphrase_option
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.settings import read_passphrase
from tallystick.tools.flash.field import Update, install, running
from tallystick.tools.image.keys import read_public
from tallystick.tools.image.verify import verify


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True))
@click.option("--port", metavar="DEV", required=True, help="Serial port of the card's dock.")
@keys_option
@passphrase_option
@click.option("--public-key", help="Key the image must be signed with: 64 hex digits, or a file.")
@click.option("--development", is_flag=True, help="Accept the published development key.")
@console.json_option
def update(
    image: Path,
    port: str,
    keys: str,
    passphrase_file: Path | None,
    public_key: str | None,
    development: bool,
    as_json: bool,
) -> None:
    """Send IMAGE (a folder that `tally image build` made) to the card on a port, and start it.

    Needs the firm's keys. A card in service asks for a press. Seed, keys and moving factor stay.
    """
    trusted = read_public(public_key) if public_key else None
    good = verify(image, trusted=trusted, development=development)
    content = Update.parse(good.read(".update"))
    custody = key_store(keys).open(read_passphrase(passphrase_file))
    told = console.err()
    try:
        with CardConnection.open(port) as connection:
            serial = IssuerSession(connection).serial()
            before = running(connection)
            with console.progress(disable=as_json) as bar:
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
    result = {
        "serial": serial,
        "from": before.header.version if before.header else None,
        "to": content.header.version,
        "slot": after.slot,
        "floor": after.floor,
    }
    if as_json:
        console.print_json(result)
    else:
        console.out().print(
            f"{serial}: {result['from']} → {result['to']}, confirmed in slot {after.slot}"
        )
