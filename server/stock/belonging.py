"""Does the key file belong to the database? Of another server's, nothing that is stored opens."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from tallystick.server.accounts.credentials import psk_binding
from tallystick.server.stock.cards import seed_binding
from tallystick.server.store.keys import Box, BoxError, KeyFileError, ServerKeyRing
from tallystick.server.store.models import CardRow, CredentialRow

TRIED = 3  # of each kind: one that somebody has damaged does not stop the start


def belongs(connection: Connection, ring: ServerKeyRing) -> bool:
    """Whether something that is stored opens; also true where nothing is stored."""
    tried = False
    for box, binding in _some(connection):
        tried = True
        try:
            ring.decrypt(box, binding)
        except BoxError:
            continue
        return True
    return not tried


def must_belong(connection: Connection, ring: ServerKeyRing) -> None:
    """Raises KeyFileError before anything is stored under keys that are not this server's."""
    if not belongs(connection, ring):
        raise KeyFileError(
            "The key file opens nothing of what the database holds: it is of another server.",
            kept="The server did not start, and nothing was stored.",
            todo="Name the key file that belongs to this database with --key-file.",
        )


def _some(connection: Connection) -> Iterator[tuple[Box, str]]:
    cards = connection.execute(
        select(CardRow.seed_key_id, CardRow.seed_box, CardRow.firm_id, CardRow.serial)
        .order_by(CardRow.id.desc())
        .where(CardRow.seed_key_id.is_not(None))
        .limit(TRIED)
    )
    for card in cards:
        box = Box(str(card.seed_key_id), bytes(card.seed_box or b""))
        yield box, seed_binding(card.firm_id, card.serial)
    credentials = connection.execute(
        select(CredentialRow.psk_key_id, CredentialRow.psk_box, CredentialRow.id)
        .where(CredentialRow.psk_key_id.is_not(None))
        .limit(TRIED)
    )
    for row in credentials:
        yield Box(str(row.psk_key_id), bytes(row.psk_box or b"")), psk_binding(row.id)
