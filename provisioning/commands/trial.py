"""`tally station keys try|prove|pages|rehearse`: a ceremony's pages, and the trial of what it has
made, before the masters are used."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from tallystick.common import chance, moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.moments import in_words
from tallystick.provisioning.commands.keys import keys as keys_group
from tallystick.provisioning.commands.options import (
    FILE,
    KeyOptions,
    firm_zone,
    journal_option,
    key_options,
    language_option,
    note,
)
from tallystick.provisioning.custody import ceremony, keyfile, trial
from tallystick.provisioning.custody.interface import KeyDescription
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.custody.store import FileStore, KeyStore, TokenStore
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.ceremony_page import CeremonyPage
from tallystick.provisioning.labels.ceremony_page import write as write_pages

TRIES = 3  # of typing a share

people_option = click.option(
    "--person", "people", multiple=True, required=True, help="Twice: who gets a share."
)
share_file_option = click.option(
    "--share-file", "share_files", type=FILE, multiple=True, help="Twice; else asked."
)


def two_people(people: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if len(people) != 2 or people[0].strip().lower() == people[1].strip().lower():
        raise click.UsageError("Name two different people with --person.")


def now_in_words(journal: Path) -> str:
    """In the firm's zone, if this station has heard of it."""
    return in_words(moments.now(), firm_zone(journal), exact=True)


@keys_group.command("try")
@click.argument("backup_file", metavar="[BACKUP]", type=FILE, required=False)
@share_file_option
@click.option("--question", metavar="TEXT", help="Of a copy that has answered it already.")
@click.option("--answer", metavar="TEXT", help="What `keys prove` said on the copy.")
@key_options
@journal_option
def try_restore(
    *,
    backup_file: Path | None,
    share_files: tuple[Path, ...],
    question: str | None,
    answer: str | None,
    ring: KeyOptions,
    journal: Path,
) -> None:
    """Try a restore, which comes before the masters are used; nothing is written but that it was.

    With BACKUP, two people give their shares. Without, a copy is asked: of a module, made with its
    maker's own backup, or a restored key file. `keys prove` answers there.
    """
    if (question is None) != (answer is None) or (backup_file and question):
        raise click.UsageError("Give --question and --answer together, and no BACKUP with them.")
    store, secret = ring.store(), ring.passphrase()
    if backup_file is not None:
        if not isinstance(store, FileStore):
            raise BadInputError(
                "The keys are in a module, of which no such backup is made.",
                todo="Leave BACKUP out: a copy of the module is asked.",
            )
        try_backup(store, secret, backup_file, share_files)
        how = str(backup_file)
    else:
        _ask_copy(store, secret, question, answer)
        how = "a copy answered"
    note(journal, "restore tried", store.name, how)
    out().print("restore tried: the masters can be used", markup=False)


def try_backup(
    store: FileStore,
    secret: str,
    backup_file: Path,
    share_files: Sequence[Path],
    names: Sequence[str] = (),
) -> None:
    """As a restore would, into memory alone. Raises BadInputError, also for a backup of other keys
    than the store's."""
    if share_files and len(share_files) != 2:
        raise click.UsageError("Give --share-file twice, or not at all.")
    if not backup_file.exists():
        raise BadInputError(f"There is no backup {backup_file}.")
    if share_files:
        texts = [path.read_text(encoding="utf-8") for path in share_files]
    else:
        texts = [_typed(number, names[number - 1] if names else "") for number in (1, 2)]
    restored = ceremony.restore(backup_file.read_bytes(), (texts[0], texts[1]))
    kept = keyfile.load(store.path, secret)
    same = keyfile.same_masters(restored, kept)
    restored.wipe()
    kept.wipe()
    if not same:
        raise BadInputError(
            f"{backup_file} holds other keys than {store.name}.",
            kept="Nothing was written.",
            todo="Make a new backup: after each `keys rotate` there is a master more.",
        )
    store.note_tried(secret)


def _typed(number: int, name: str) -> str:
    """A share, checked as soon as it is typed. Raises BadInputError."""
    whose = f"{name}: share {number}, from the slip" if name else f"Share {number}"
    for left in reversed(range(TRIES)):
        text: str = click.prompt(whose, hide_input=True, err=True)
        try:
            ceremony.read_share(text)
        except BadInputError as error:
            if not left:
                raise
            err().print(f"{error.what} {error.todo}", markup=False)
        else:
            return text
    raise AssertionError


def _ask_copy(store: KeyStore, secret: str, question: str | None, answer: str | None) -> None:
    asked = question or trial.question()
    if answer is None:
        err().print(
            f"On the copy: tally station keys prove {asked} --keys …", markup=False, highlight=False
        )
        answer = str(click.prompt("Its answer", err=True))
    with closing(store.open(secret)) as custody:
        right = trial.is_right(custody, asked, answer)
    if not right:
        raise RefusedError(
            "The copy does not hold the same masters, or cannot derive from them.",
            kept="The masters here are as they were, and not to be used yet.",
            todo="Look at `keys show` on both. Copy them again with the maker's tool.",
        )
    store.note_tried(secret)


@keys_group.command()
@click.argument("question")
@key_options
def prove(*, question: str, ring: KeyOptions) -> None:
    """Answer `keys try` with a copy: a module's, made with its maker's backup, or a key file."""
    with ring.open() as custody:
        out().print(trial.answer(custody, question), markup=False, highlight=False)


@keys_group.command()
@click.argument("output", type=FILE)
@people_option
@click.option("--backup", "backup_file", type=FILE, help="Of a key file.")
@language_option
@key_options
@journal_option
def pages(
    *,
    output: Path,
    people: tuple[str, ...],
    backup_file: Path | None,
    languages: tuple[str, ...],
    ring: KeyOptions,
    journal: Path,
) -> None:
    """Write a page (PDF) for each of the two people at a ceremony: what to check, what to sign,
    where it goes. No secret is on it; `keys backup --pages` writes the same."""
    two_people(people)
    store = ring.store()
    if isinstance(store, FileStore) and backup_file is None:
        raise BadInputError("The pages are for a backup.", todo="Name it with --backup.")
    with closing(store.open(ring.passphrase())) as custody:
        described = custody.describe()
    content = None if backup_file is None else backup_file.read_bytes()
    name = "" if backup_file is None else backup_file.name
    write_out(output, people, described, store, name, content, languages, journal)
    err().print(f"{output}: a page each for {' and '.join(people)}", markup=False)


def write_out(
    output: Path,
    people: Sequence[str],
    described: list[KeyDescription],
    store: KeyStore,
    file: str,
    content: bytes | None,
    languages: Sequence[str],
    journal: Path,
    *,
    rehearsal: bool = False,
) -> None:
    """content: of the backup; None at a module. Raises BadInputError."""
    if output.suffix.lower() != ".pdf":
        raise BadInputError(f"{output} is no PDF.", todo="End its name in .pdf.")
    when = now_in_words(journal)
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    made = [
        CeremonyPage(
            language, person, 0 if content is None else number, described, when, store.name, file,
            digest, rehearsal,
        )
        for number, person in enumerate(people, 1)
        for language in languages or _languages(journal)
    ]  # fmt: skip
    output.write_bytes(write_pages(made))


def _languages(journal: Path) -> tuple[str, ...]:
    if not journal.exists():
        return ("en",)
    with closing(StationJournal(journal)) as book:
        return book.firm().languages[:1]


def hand_out(shares: tuple[str, str], people: Sequence[str], folder: Path | None) -> list[Path]:
    """Each share to its person: → into files of a folder, or none, shown one after the other"""
    written = []
    for person, share in zip(people, shares, strict=True):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            written.append(folder / f"share-{share[0]}.txt")
            write_durably(written[-1], f"{share}\n".encode())
            continue
        click.confirm(f"{person} alone in front of the screen?", abort=True, err=True)
        click.echo(f"\n  {share}\n", err=True)
        click.pause("Written down? Any key clears the screen.", err=True)
        click.clear()
    return written


@keys_group.command()
@people_option
@click.option("--pages", "pages_file", type=FILE, help="Write the pages, marked as a rehearsal.")
@language_option
@click.option(
    "--shares-to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each share into a file of this folder (else shown one after the other).",
)
@key_options
@journal_option
@json_option
def rehearse(
    *,
    people: tuple[str, ...],
    pages_file: Path | None,
    languages: tuple[str, ...],
    shares_to: Path | None,
    ring: KeyOptions,
    journal: Path,
    as_json: bool,
) -> None:
    """Go through a whole ceremony with keys that are worth nothing, and of which nothing is left.

    With --keys pkcs11:… on a token that was initialised for it, and is empty; else with a key file
    in a temporary folder.
    """
    two_people(people)
    store: KeyStore = ring.store()
    if isinstance(store, TokenStore):
        steps = _on_token(store, ring.passphrase(), people, pages_file, languages, journal)
    else:
        steps = _in_folder(people, pages_file, languages, shares_to, journal)
    note(journal, "ceremony rehearsed", ", ".join(people))
    if as_json:
        print_json({"steps": steps})
        return
    for step in steps:
        out().print(f"[green]✓[/] {step}")
    out().print("Rehearsed. These keys are gone; pages and shares of it are worth nothing.")


def _in_folder(
    people: Sequence[str],
    pages_file: Path | None,
    languages: Sequence[str],
    shares_to: Path | None,
    journal: Path,
) -> list[str]:
    secret = chance.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        store = FileStore(Path(name) / "keys.json")
        store.create(secret, chance.token_bytes(keyfile.MASTER_SIZE))
        kept = keyfile.load(store.path, secret)
        made, file = ceremony.back_up(kept), Path(name) / "rehearsal.backup"
        write_durably(file, made.content)
        described = SoftwareCustody(kept).describe()
        if pages_file is not None:
            write_out(
                pages_file, people, described, store, file.name, made.content, languages, journal,
                rehearsal=True,
            )  # fmt: skip
        files = hand_out(made.shares, people, shares_to)
        try_backup(store, secret, file, files, people)
        restored = FileStore(Path(name) / "restored.json")
        keyfile.save(
            restored.path, ceremony.restore(file.read_bytes(), made.shares), secret, replace=False
        )
        _prove(store, restored, secret)
        version = store.rotate(secret)
    return [
        "keys made, and backed up for two people",
        "restore tried with both shares",
        "restored, and the copy has proved itself",
        f"rotated to version {version:02X}, which would need a backup of its own",
    ]


def _on_token(
    store: TokenStore,
    secret: str,
    people: Sequence[str],
    pages_file: Path | None,
    languages: Sequence[str],
    journal: Path,
) -> list[str]:
    store.need_empty(secret)
    try:
        store.create(secret, chance.token_bytes(keyfile.MASTER_SIZE))
        with closing(store.open(secret)) as custody:
            described = custody.describe()
        if pages_file is not None:
            write_out(
                pages_file, people, described, store, "", None, languages, journal, rehearsal=True
            )
        _prove(store, store, secret)
        version = store.rotate(secret)
    finally:
        store.clear(secret)
    return [
        "keys made in the token",
        "the question of `keys try` answered; of a copy only where the maker's tool has made one",
        f"rotated to version {version:02X}",
        "all objects destroyed",
    ]


def _prove(store: KeyStore, copy: KeyStore, secret: str) -> None:
    asked = trial.question()
    with closing(copy.open(secret)) as custody:
        answered = trial.answer(custody, asked)
    with closing(store.open(secret)) as custody:
        assert trial.is_right(custody, asked, answered)
    store.note_tried(secret)
