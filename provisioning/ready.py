"""A station ready for work: its keys opened, its server and its journal at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from tallystick.common.errors import BadInputError
from tallystick.common.server_url import checked_url
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.custody.trial import need_tried
from tallystick.provisioning.jobs import ticket
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registries.choose import registry_for
from tallystick.provisioning.registry import Registry, TallyServer
from tallystick.provisioning.settings import read_container_passphrase, read_passphrase
from tallystick.provisioning.steps import Plan, Provisioner

SERVER = "server"


@dataclass(frozen=True)
class ReadyStation:
    """The parts that the commands work with."""

    custody: Custody
    registry: Registry
    journal: StationJournal
    server_url: str

    def provisioner(self, plan: Plan) -> Provisioner:
        return Provisioner(self.custody, self.registry, self.journal, plan, self.server_url)


@contextmanager
def open_station(
    url: str | None,
    keys: str,
    passphrase_file: Path | None,
    journal_path: Path,
    registry_text: str = SERVER,
    registry_passphrase_file: Path | None = None,
    ticket_path: Path | None = None,
) -> Iterator[ReadyStation]:
    """Open the keys (the slow part: once a run) and the journal.

    Raises BadInputError, also when `url` is not the server that the station is enrolled with;
    RefusedError while no restore of the firm's master was tried.
    """
    with closing(key_store(keys).open(read_passphrase(passphrase_file))) as custody:
        need_tried(custody)
        if registry_text == SERVER:
            credential = custody.server()
            if url is not None and checked_url(url) != credential.url:
                raise BadInputError(
                    f"This station is enrolled with {credential.url}, not with {url}.",
                    todo="Leave --server out, or run `tally station enroll` for that server.",
                )
            server = TallyServer(credential)
            server.ticket = None if ticket_path is None else ticket.read(ticket_path)
            working: Custody = custody
            place, registry = credential.url, cast(Registry, server)
        else:
            if url is not None:
                raise BadInputError(
                    f"With --registry {registry_text} there is no server.",
                    todo="Leave --server out.",
                )
            if ticket_path is not None:
                raise BadInputError(
                    f"With --registry {registry_text} nobody counts the cards of a ticket.",
                    todo="Leave --ticket out, or use the server.",
                )
            key_file = journal_path.with_name(f"{journal_path.stem}.registry-key.json")
            ask = partial(read_container_passphrase, registry_passphrase_file)
            working, registry = registry_for(registry_text, custody, key_file, ask)
            place, server = registry_text, None
        with closing(registry), closing(StationJournal(journal_path)) as journal:
            if server is not None:
                server.heard_of_firm = journal.keep_firm
            yield ReadyStation(working, registry, journal, place)
