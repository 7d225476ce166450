"""`tally station keys` and `tally station enroll`: the station's key file."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.groups import Group
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.server_url import checked_url
from tallystick.provisioning.commands.options import (
    FILE,
    KeyOptions,
    credential_option,
    journal_option,
    key_options,
    note,
)
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.interface import Custody, KeyDescription
from tallystick.provisioning.custody.store import KeyStore


@click.group(cls=Group)
def keys() -> None:
    """The station's keys. None is ever shown: only versions and check values."""


@keys.command("create")
@key_options
@journal_option
@click.option(
    "--development",
    is_flag=True,
    help="Take the published development factory master: for emulated cards, worth no secret.",
)
@click.option(
    "--factory-master-file",
    type=FILE,
    help="File with the factory master, 32 hex digits (else asked).",
)
@json_option
def create(
    *,
    ring: KeyOptions,
    journal: Path,
    development: bool,
    factory_master_file: Path | None,
    as_json: bool,
) -> None:
    """Make a key file with a new random firm master, version 01."""
    if development and factory_master_file:
        raise click.UsageError("--development and --factory-master-file exclude one another.")
    master = DEVELOPMENT_MASTER if development else _factory_master(factory_master_file)
    store = ring.store()
    secret = ring.passphrase(new=True)
    store.create(secret, master)
    note(journal, "keys created", store.name, "development" if development else "")
    _show(store, secret, as_json)
    if master == DEVELOPMENT_MASTER:
        err().print(
            "[yellow]The factory master is the published development one: "
            "use it for emulated and development cards only. No restore has to be tried.[/]"
        )
        return
    err().print(
        "[dim]Back them up (`tally station keys backup`): no card is made before a restore was "
        "tried.[/]"
    )


@keys.command("show")
@key_options
@json_option
def show(*, ring: KeyOptions, as_json: bool) -> None:
    """List the keys by version and check value."""
    _show(ring.store(), ring.passphrase(), as_json)


@click.command("enroll")
@credential_option("station")
@key_options
@journal_option
@json_option
def enroll(*, url: str, credential: Any, ring: KeyOptions, journal: Path, as_json: bool) -> None:
    """Put the server's credential into the key file."""
    try:
        value = json.load(credential)
    except ValueError:
        raise BadInputError("The credential file is not JSON.") from None
    server = keyfile.parse_credential(checked_url(url), value)
    store = ring.store()
    secret = ring.passphrase()
    store.enroll(secret, server)
    note(journal, "station enrolled", url, server.id)
    _show(store, secret, as_json)


def _factory_master(path: Path | None) -> bytes:
    if path is not None:
        text = path.read_text(encoding="utf-8")
    else:
        text = click.prompt("Factory master (32 hex digits)", hide_input=True, err=True)
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        raise BadInputError("The factory master must be 32 hex digits.") from None


def _show(store: KeyStore, secret: str, as_json: bool) -> None:
    with closing(store.open(secret)) as custody:
        rows = custody.describe()
        server = _server(custody)
    if as_json:
        print_json({"keys": [_row(row) for row in rows], "server": server, "kept_in": store.name})
        return
    table = Table("key", "version", "check value", "use", "restore", box=None, pad_edge=False)
    for row in rows:
        use = "current" if row.current else "older"
        tried = "tried" if row.tried else "NOT TRIED"
        table.add_row(row.name, f"{row.version:02X}", row.check_value.upper(), use, tried)
    out().print(table)
    if any(row.any_mechanism for row in rows):
        err().print(
            "[yellow]The module lets its masters serve any mechanism: they are older, or it does "
            "not know CKA_ALLOWED_MECHANISMS. Whoever has the PIN may get at them.[/]"
        )
    enrolled = f"{server['url']} as {server['id']}" if server else "none yet"
    out().print(f"server: {enrolled}", markup=False)


def _server(custody: Custody) -> dict[str, str] | None:
    try:
        server = custody.server()
    except BadInputError:
        return None
    return {"url": server.url, "id": server.id}


def _row(row: KeyDescription) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": f"{row.version:02X}",
        "check_value": row.check_value.upper(),
        "current": row.current,
        "tried": row.tried,
        "any_mechanism": row.any_mechanism,
    }
