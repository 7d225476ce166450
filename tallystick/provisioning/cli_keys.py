"""`tally station keys` and `tally station enroll`: the station's key file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.interface import KeyDescription
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.registry import checked_url
from tallystick.provisioning.settings import default_keys, open_ring, read_passphrase

keys_option = click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    default=default_keys,
    envvar="TALLY_STATION_KEYS",
    show_envvar=True,
    help="The station's key file.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the passphrase of the key file (else $TALLY_STATION_PASSPHRASE, else asked).",
)


@click.group()
def keys() -> None:
    """The station's keys. None is ever shown: only versions and check values."""


@keys.command("create")
@keys_option
@passphrase_option
@click.option(
    "--development",
    is_flag=True,
    help="Take the published development factory master: for emulated cards, worth no secret.",
)
@click.option(
    "--factory-master-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the factory master, 32 hex digits (else asked).",
)
@json_option
def create(
    keys: Path,
    passphrase_file: Path | None,
    development: bool,
    factory_master_file: Path | None,
    as_json: bool,
) -> None:
    """Make a key file with a new random firm master, version 01."""
    if development and factory_master_file:
        raise click.UsageError("--development and --factory-master-file exclude one another.")
    master = DEVELOPMENT_MASTER if development else _factory_master(factory_master_file)
    ring = keyfile.KeyRing.create(master)
    keyfile.save(keys, ring, read_passphrase(passphrase_file, confirm=True), replace=False)
    if development:
        err().print(
            "[yellow]The factory master is the published development one: "
            "use it for emulated and development cards only.[/]"
        )
    _show(keys, ring, as_json)
    err().print("[dim]Back the file up: without its firm master, no card can be changed again.[/]")


@keys.command("show")
@keys_option
@passphrase_option
@json_option
def show(keys: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """List the keys by version and check value."""
    _show(keys, open_ring(keys, passphrase_file), as_json)


@click.command("enroll")
@click.option("--server", "url", required=True, metavar="URL", help="The server's address.")
@click.option(
    "--credential",
    type=click.File("r"),
    required=True,
    help="What `tally server credential add --role station NAME --json` printed; - is stdin.",
)
@keys_option
@passphrase_option
@json_option
def enroll(
    url: str, credential: Any, keys: Path, passphrase_file: Path | None, as_json: bool
) -> None:
    """Put the server's credential into the key file."""
    try:
        value = json.load(credential)
    except ValueError:
        raise BadInputError("The credential file is not JSON.") from None
    server = keyfile.parse_credential(checked_url(url), value)
    passphrase = read_passphrase(passphrase_file)
    ring = keyfile.load(keys, passphrase)
    ring.enroll(server)
    keyfile.save(keys, ring, passphrase, replace=True)
    _show(keys, ring, as_json)


def _factory_master(path: Path | None) -> bytes:
    if path is not None:
        text = path.read_text()
    else:
        text = click.prompt("Factory master (32 hex digits)", hide_input=True, err=True)
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        raise BadInputError("The factory master must be 32 hex digits.") from None


def _show(path: Path, ring: keyfile.KeyRing, as_json: bool) -> None:
    rows = SoftwareCustody(ring).describe()
    server = ring.server
    if as_json:
        print_json(
            {
                "file": str(path),
                "development": ring.development,
                "keys": [_row(row) for row in rows],
                "server": server and {"url": server.url, "id": server.id, "role": server.role},
            }
        )
        return
    table = Table("key", "version", "check value", "use", box=None, pad_edge=False)
    for row in rows:
        use = "current" if row.current else "older"
        table.add_row(row.name, f"{row.version:02X}", row.check_value.upper(), use)
    out().print(table)
    enrolled = f"{server.url} as {server.id}" if server else "none yet (`tally station enroll`)"
    out().print(f"server: {enrolled}", markup=False)


def _row(row: KeyDescription) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": f"{row.version:02X}",
        "check_value": row.check_value.upper(),
        "current": row.current,
    }
