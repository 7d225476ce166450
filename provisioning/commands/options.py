"""Options that commands of `tally station` share. Those that always go together are decorators
that give the command one value instead of many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, fields
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click

from tallystick.common.errors import BadInputError
from tallystick.provisioning.commands.passphrase import passphrase_option
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.custody.store import FileStore, KeyStore, key_store
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.leaflet import LANGUAGES
from tallystick.provisioning.ready import SERVER, ReadyStation, open_station
from tallystick.provisioning.settings import (
    default_journal,
    default_keys,
    default_operator,
    read_passphrase,
)

Command = Callable[..., Any]
FILE = click.Path(dir_okay=False, path_type=Path)

journal_option = click.option(
    "--journal",
    type=FILE,
    default=default_journal,
    envvar="TALLY_STATION_JOURNAL",
    show_envvar=True,
    help="The station's journal.",
)
keys_option = click.option(
    "--keys",
    metavar="FILE|URI",
    default=default_keys,
    envvar="TALLY_STATION_KEYS",
    show_envvar=True,
    help="The station's key file, or pkcs11:token=LABEL?module-path=FILE.",
)
operator_option = click.option(
    "--operator",
    "operator_file",
    type=FILE,
    default=default_operator,
    envvar="TALLY_STATION_OPERATOR",
    show_envvar=True,
    help="File with the credential of whoever acts.",
)
server_option = click.option(
    "--server", "url", metavar="URL", help="The server's address, if not as enrolled."
)
registry_option = click.option(
    "--registry",
    default=SERVER,
    show_default=True,
    metavar="WHERE",
    help="Where cards are registered: server, pskc:FOLDER, privacyidea:URL, or DIALECT:FILE.",
)
registry_passphrase_option = click.option(
    "--registry-passphrase-file",
    type=FILE,
    help="File with the passphrase of pskc:FOLDER (else $TALLY_REGISTRY_PASSPHRASE, else asked).",
)
ticket_option = click.option(
    "--ticket",
    type=FILE,
    envvar="TALLY_STATION_TICKET",
    show_envvar=True,
    help="The job's ticket, which two people have signed.",
)
user_option = click.option(
    "--user", metavar="NAME", help="Assign it to this user, who must be known."
)
new_user_option = click.option(
    "--new-user",
    is_flag=True,
    help="Make the --user known to the server if not yet so.",
)


users_option = click.option(
    "--users",
    "users_file",
    type=FILE,
    help="The CSV file of the batch: with names (column `name`) and addresses.",
)


language_option = click.option(
    "--language",
    "languages",
    multiple=True,
    type=click.Choice(list(LANGUAGES)),
    help="Of the text; again for another (default: the firm's).",
)


def must_name_a_user(user: str | None, *, new_user: bool) -> None:
    """Raises BadInputError."""
    if new_user and user is None:
        raise BadInputError(
            "--new-user names nobody.",
            kept="Nothing was written to any card.",
            todo="Give the name with --user.",
        )


digits_option = click.option(
    "--digits", type=click.IntRange(6, 8), default=6, show_default=True, help="Digits of a code."
)


def credential_option(role: str) -> Callable[[Command], Command]:
    """A credential that the server has just printed, and the address of that server."""

    def decorate(command: Command) -> Command:
        command = click.option(
            "--credential",
            type=click.File("r"),
            required=True,
            help=f"What `tally server credential add --role {role} NAME --json` printed; "
            "- is stdin.",
        )(command)
        return click.option(
            "--server", "url", required=True, metavar="URL", help="The server's address."
        )(command)

    return decorate


def together(
    kind: type[Any], name: str, *options: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """A decorator with these options. Their values are the fields of `kind`, and the command gets
    them as one argument, called `name`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(*args: Any, **values: Any) -> Any:
            ours = {field.name: values.pop(field.name) for field in fields(kind)}
            return command(*args, **values, **{name: kind(**ours)})

        decorated: Command = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class KeyOptions:
    """The station's keys, and the passphrase that opens them."""

    keys: str
    passphrase_file: Path | None

    def store(self) -> KeyStore:
        return key_store(self.keys)

    def passphrase(self, *, new: bool = False) -> str:
        """new: of a key file that is made now. A token has its PIN already, and counts wrong ones
        itself."""
        new = new and isinstance(self.store(), FileStore)
        return read_passphrase(self.passphrase_file, new=new)

    @contextmanager
    def open(self) -> Iterator[Custody]:
        with closing(self.store().open(self.passphrase())) as custody:
            yield custody


@dataclass(frozen=True)
class BenchOptions:
    """All that a station needs to work on cards."""

    url: str | None
    registry: str
    registry_passphrase_file: Path | None
    keys: str
    passphrase_file: Path | None
    journal: Path
    ticket: Path | None

    def open(self) -> AbstractContextManager[ReadyStation]:
        return open_station(
            self.url,
            self.keys,
            self.passphrase_file,
            self.journal,
            self.registry,
            self.registry_passphrase_file,
            self.ticket,
        )


key_options = together(KeyOptions, "ring", keys_option, passphrase_option)
bench_options = together(
    BenchOptions,
    "station",
    server_option,
    registry_option,
    registry_passphrase_option,
    keys_option,
    passphrase_option,
    journal_option,
    ticket_option,
)


def firm_zone(journal: Path) -> tzinfo | None:
    """The firm's, as its server last said; None: this computer's own. Makes no journal."""
    if not journal.exists():
        return None
    with closing(StationJournal(journal)) as book:
        return book.firm().zone


def note(path: Path, act: str, subject: str, detail: str = "") -> None:
    """Put an act into the audit log of the journal."""
    with closing(StationJournal(path)) as journal:
        journal.note(act, subject, detail)
