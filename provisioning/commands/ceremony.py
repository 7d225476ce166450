"""`tally station keys backup|restore`."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common.console import err, out
from tallystick.common.errors import BadInputError
from tallystick.provisioning.commands.keys import keys as keys_group
from tallystick.provisioning.commands.options import (
    FILE,
    KeyOptions,
    journal_option,
    key_options,
    language_option,
    note,
)
from tallystick.provisioning.commands.trial import (
    hand_out,
    now_in_words,
    people_option,
    share_file_option,
    try_backup,
    two_people,
    write_out,
)
from tallystick.provisioning.custody import ceremony, keyfile
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.custody.store import FileStore, KeyStore
from tallystick.provisioning.durable import write_durably

protocol_option = click.option("--protocol", type=FILE, help="Write a record to print and sign.")


@keys_group.command()
@click.argument("output", type=FILE)
@people_option
@click.option(
    "--shares-to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each share into a file of this folder (else shown one after the other).",
)
@protocol_option
@click.option("--pages", "pages_file", type=FILE, help="Write a page (PDF) for each person.")
@language_option
@key_options
@journal_option
def backup(
    *,
    output: Path,
    people: tuple[str, ...],
    shares_to: Path | None,
    protocol: Path | None,
    pages_file: Path | None,
    languages: tuple[str, ...],
    ring: KeyOptions,
    journal: Path,
) -> None:
    """Back the key file up to OUTPUT, so that only two people together can restore it; then a
    restore is tried with what they have written down, and the masters can be used.
    """
    two_people(people)
    if output.exists():
        raise BadInputError(
            f"{output} exists already.",
            kept="It was not touched.",
            todo="Name another file. A backup whose shares nobody wrote down is worth nothing.",
        )
    store, secret = _file(ring.store()), ring.passphrase()
    kept = keyfile.load(store.path, secret)
    made, described = ceremony.back_up(kept), SoftwareCustody(kept).describe()
    kept.wipe()
    write_durably(output, made.content)
    if pages_file is not None:
        write_out(
            pages_file, people, described, store, output.name, made.content, languages, journal
        )
        err().print(f"{pages_file}: print it, and give each her page", markup=False)
        if shares_to is None:
            click.pause("Printed? Any key goes on.", err=True)
    files = hand_out(made.shares, people, shares_to)
    note(journal, "keys backed up", str(output), f"shares: {people[0]}, {people[1]}")
    err().print(f"[dim]{output}: SHA-256 {made.digest}[/]")
    try_backup(store, secret, output, files, people)
    note(journal, "restore tried", store.name, str(output))
    out().print("restore tried: the masters can be used", markup=False)
    if protocol is not None:
        notes = [
            f"File: {output.name}", f"SHA-256: {made.digest}", "Both shares are needed.",
            "A restore was tried with both.",
        ]  # fmt: skip
        text = ceremony.protocol("backup", now_in_words(journal), people, described, notes)
        protocol.write_text(text, encoding="utf-8")


@keys_group.command()
@click.argument("backup_file", metavar="BACKUP", type=FILE)
@share_file_option
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
    restored.tried = frozenset(restored.firm)  # by this
    secret = ring.passphrase(new=True)
    keyfile.save(store.path, restored, secret, replace=False)
    note(journal, "keys restored", store.name, str(backup_file))
    out().print(f"{store.name} was restored", markup=False)


def _file(store: KeyStore) -> FileStore:
    if not isinstance(store, FileStore):
        raise BadInputError(
            "The keys are in a module, which gives none away.",
            kept="Nothing was written.",
            todo="Copy the token with its maker's own backup, then run `tally station keys try`: "
            "the copy proves itself with `keys prove`. `keys pages` writes the pages for it.",
        )
    return store
