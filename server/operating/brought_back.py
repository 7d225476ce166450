"""What a backup brings back, and how that differs from a later copy of the same database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, text

from tallystick.server.store.models_login import (
    Attempt,
    HelpRequest,
    MessageRow,
    OidcAgain,
    OidcCode,
    OidcGrant,
    OidcLogout,
    OidcRequest,
    RememberedDevice,
    SentCode,
    SessionRow,
)

MOST_NAMES = 500  # of a kind, in a report

# What was good for a while, from when the backup was made. In this order: some name others.
UNDER_WAY = {
    "codes for services": OidcCode,
    "tokens of services": OidcGrant,
    "requests of services": OidcRequest,
    "sign-outs that services wait for": OidcLogout,
    "sessions": SessionRow,
    "remembered browsers": RememberedDevice,
    "codes that were sent": SentCode,
    "sign-ins and recoveries under way": Attempt,
    "requests to the help desk": HelpRequest,
    "new sign-ins that services asked for": OidcAgain,
    "messages not sent yet": MessageRow,
}

# The same in the restored database and in the later copy, of whatever version that is: who or what
# it is, and what is said of it.
COMPARED = {
    "person": "SELECT f.name || '/' || p.login, CASE WHEN p.disabled_at IS NULL THEN 'may sign in' "
    "ELSE 'barred' END || ', ' || p.role FROM person p JOIN firm f ON f.id = p.firm_id",
    "password": "SELECT f.name || '/' || p.login, COALESCE(p.password_hash, 'none') "
    "FROM person p JOIN firm f ON f.id = p.firm_id",
    "credential": "SELECT c.role || ' ' || c.name || ' (' || c.id || ')', "
    "CASE WHEN c.revoked_at IS NULL THEN 'valid' ELSE 'revoked' END FROM credential c",
    "card": "SELECT f.name || '/' || c.serial, c.status FROM card c "
    "JOIN firm f ON f.id = c.firm_id",
    "holder of card": "SELECT f.name || '/' || c.serial, p.login FROM assignment a "
    "JOIN card c ON c.id = a.card_id JOIN person p ON p.id = a.person_id "
    "JOIN firm f ON f.id = c.firm_id",
    "method": "SELECT f.name || '/' || p.login || ': ' || m.kind || ' ' || m.id, 'enrolled' "
    "FROM factor m JOIN person p ON p.id = m.person_id JOIN firm f ON f.id = m.firm_id "
    "WHERE m.confirmed_at IS NOT NULL",
    "policy": "SELECT f.name, f.policy FROM firm f",
    "service": "SELECT f.name || '/' || o.name, o.redirect_uris FROM oidc_client o "
    "JOIN firm f ON f.id = o.firm_id",
}
# What is compared, and not shown.
HIDDEN = {"password": "another one", "policy": "another one"}
ABSENT = "not there"


def drop_what_was_under_way(connection: Connection) -> dict[str, int]:
    """End what the backup knew of as begun: its owners may have ended it since. → how many"""
    return {name: connection.execute(delete(table)).rowcount for name, table in UNDER_WAY.items()}


def contents(connection: Connection) -> dict[str, list[str]]:
    """Who may get in again: people who are not barred, valid credentials, cards that verify."""
    wanted = {
        "people": ("person", lambda state: state.startswith("may")),
        "credentials": ("credential", lambda state: state == "valid"),
        "cards": ("card", lambda state: state == "registered"),
    }
    return {name: _names(connection, *rule) for name, rule in wanted.items()}


def _names(connection: Connection, kind: str, counts: Callable[[str], bool]) -> list[str]:
    rows = connection.execute(text(COMPARED[kind]))
    return sorted(str(name) for name, state in rows if counts(str(state)))


def differences(connection: Connection, newer: Path) -> list[dict[str, str]]:
    """What is otherwise in the later copy. A table of it that cannot be read is said to be so."""
    found: list[dict[str, str]] = []
    with closing(sqlite3.connect(f"file:{newer}?mode=ro", uri=True)) as later:
        for kind, query in COMPARED.items():
            here = {str(name): str(state) for name, state in connection.execute(text(query))}
            try:
                there = {str(name): str(state) for name, state in later.execute(query)}
            except sqlite3.Error as error:
                unread = f"not readable ({type(error).__name__})"
                found.append({"kind": kind, "name": "", "restored": "", "later": unread})
                continue
            found.extend(_different(kind, here, there))
    return found


def _different(
    kind: str, here: Mapping[str, str], there: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    for name in sorted({*here, *there}):
        restored, later = here.get(name, ABSENT), there.get(name, ABSENT)
        if restored == later or (kind in HIDDEN and ABSENT in (restored, later)):
            continue
        if kind in HIDDEN:
            restored, later = "as in the backup", HIDDEN[kind]
        yield {"kind": kind, "name": name, "restored": restored, "later": later}


def report(connection: Connection, newer: Path | None, **facts: Any) -> dict[str, Any]:
    """What an operator has to have seen. Ends what was under way."""
    dropped = drop_what_was_under_way(connection)
    back = contents(connection)
    return {
        **facts,
        "dropped": dropped,
        "counts": {name: len(names) for name, names in back.items()},
        "brought_back": {name: names[:MOST_NAMES] for name, names in back.items()},
        "differs": None if newer is None else differences(connection, newer),
    }
