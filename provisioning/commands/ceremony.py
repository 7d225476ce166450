"""`tally station keys rotate|backup|restore` and `tally station rekey`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.commands.keys import keys as keys_group
from tallystick.provisioning.commands.options import (
    FILE,
    KeyOptions,
    journal_option,
    key_options,
    note,
)
from tallystick.provisioning.custody import ceremony, keyfile
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.custody.store import FileStore, KeyStore
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.rekey import rekey as rekey_card

protocol_option = click.option("--protocol", type=FILE, help="Write a record to print and sign.")


@keys_group.command()
@key_options
@journal_option
@json_option
def rotate(*, ring: KeyOptions, journal: Path, as_json: bool) -> None:
    """Make a new firm master; cards get keys from it with `tally station rekey`."""
    store = ring.store()
    version = store.rotate(ring.passphrase())
    note(journal, "firm master rotated", store.name, f"version {version:02X}")
    if as_json:
        print_json({"firm_version": f"{version:02X}"})
    else:
        out().print(f"firm master version {version:02X} is current; back it up now")


@keys_group.command()
@click.argument("output", type=FILE)
@click.option("--person", "people", multiple=True, required=True, help="Twice: who gets a share.")
@click.option(
    "--shares-to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each share into a file of this folder (else shown one after the other).",
)
@protocol_option
@key_options
@journal_option
def backup(
    *,
    output: Path,
    people: tuple[str, ...],
    shares_to: Path | None,
    protocol: Path | None,
    ring: KeyOptions,
    journal: Path,
) -> None:
    """Back the key file up to OUTPUT, so that only two people together can restore it."""
    if len(people) != 2 or people[0] == people[1]:
        raise click.UsageError("Name two different people with --person.")
    if output.exists():
        raise BadInputError(f"{output} exists already.", kept="It was not touched.")
    kept = keyfile.load(_file(ring.store()).path, ring.passphrase())
    made = ceremony.back_up(kept)
    write_durably(output, made.content)
    _hand_out(made.shares, people, shares_to)
    note(journal, "keys backed up", str(output), f"shares: {people[0]}, {people[1]}")
    if protocol is not None:
        notes = [f"File: {output.name}", f"SHA-256: {made.digest}", "Both shares are needed."]
        _write_protocol(protocol, "backup", people, kept, notes)
    err().print(f"[dim]{output}: SHA-256 {made.digest}[/]")


@keys_group.command()
@click.argument("backup_file", metavar="BACKUP", type=FILE)
@click.option("--share-file", "share_files", type=FILE, multiple=True, help="Twice; else asked.")
@key_options
@journal_option
def restore(
    *,
    backup_file: Path,
    share_files: tuple[Path, ...],
    ring: KeyOptions,
    journal: Path,
) -> None:
    """Make a key file from BACKUP and the shares of two people."""
    store = _file(ring.store())
    if share_files and len(share_files) != 2:
        raise click.UsageError("Give --share-file twice, or not at all.")
    if not backup_file.exists():
        raise BadInputError(f"There is no backup {backup_file}.")
    texts = [path.read_text(encoding="utf-8") for path in share_files] or [
        click.prompt(f"Share {number}", hide_input=True, err=True) for number in (1, 2)
    ]
    restored = ceremony.restore(backup_file.read_bytes(), (texts[0], texts[1]))
    secret = ring.passphrase(confirm=True)
    keyfile.save(store.path, restored, secret, replace=False)
    note(journal, "keys restored", store.name, str(backup_file))
    out().print(f"{store.name} was restored", markup=False)


@click.command()
@click.option("--port", required=True, metavar="DEV", help="Port of the card's dock.")
@key_options
@journal_option
@json_option
def rekey(*, port: str, ring: KeyOptions, journal: Path, as_json: bool) -> None:
    """Give a card the firm's current keys after `keys rotate`; its seed stays."""
    told = err()
    with ring.open() as custody, CardConnection.open(port) as connection:
        waiting = Waiting(keepalive=lambda: told.print("press the button now"))
        done = rekey_card(connection, custody, waiting)
    if done.before != done.after:
        note(journal, "card rekeyed", done.serial, f"{done.before:02X} to {done.after:02X}")
    if as_json:
        print_json(asdict(done))
    else:
        out().print(f"card {done.serial}: key version {done.before:02X} to {done.after:02X}")


def _file(store: KeyStore) -> FileStore:
    if not isinstance(store, FileStore):
        raise BadInputError(
            "The keys are in a module, which gives none away.",
            todo="Back the token up with its maker's tool.",
        )
    return store


def _hand_out(shares: tuple[str, str], people: tuple[str, ...], folder: Path | None) -> None:
    for person, share in zip(people, shares, strict=True):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(folder / f"share-{share[0]}.txt", f"{share}\n".encode())
            continue
        click.confirm(f"{person} alone in front of the screen?", abort=True, err=True)
        click.echo(f"\n  {share}\n", err=True)
        click.pause("Written down? Any key clears the screen.", err=True)
        click.clear()


def _write_protocol(
    path: Path, act: str, people: tuple[str, ...], ring: keyfile.KeyRing, notes: list[str]
) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S %z")
    text = ceremony.protocol(act, when, people, SoftwareCustody(ring).describe(), notes)
    path.write_text(text, encoding="utf-8")
