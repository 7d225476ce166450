"""What a backup brings back, and how that differs from a later copy of the same database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, select, text, update

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.operating.later_copy import Ask, UnreadableError
from tallystick.server.store.models import CheckAnswer
from tallystick.server.store.models_login import (
    Attempt,
    Factor,
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
    "answers to checks that are asked again": CheckAnswer,
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
    # One that was lost and found recovers nothing before it is confirmed anew.
    "terms of holder": "SELECT f.name || '/' || c.serial, CASE WHEN a.confirmed_at IS NULL "
    "THEN 'not confirmed' ELSE 'confirmed' END || COALESCE(', lent until ' || a.expires_at, '') "
    "FROM assignment a "
    "JOIN card c ON c.id = a.card_id JOIN firm f ON f.id = c.firm_id",
    # SQLite gives numbers again: the stolen telephone and the one in its place may have the same.
    "method": "SELECT f.name || '/' || p.login || ': ' || m.kind || ' ' || m.id, m.created_at "
    "FROM factor m JOIN person p ON p.id = m.person_id JOIN firm f ON f.id = m.firm_id "
    "WHERE m.confirmed_at IS NOT NULL",
    "policy": "SELECT f.name, f.policy FROM firm f",
    "service": "SELECT f.name || '/' || o.name, o.redirect_uris FROM oidc_client o "
    "JOIN firm f ON f.id = o.firm_id",
    "keys of service": "SELECT f.name || '/' || o.name, {secret} || o.jwks FROM oidc_client o "
    "JOIN firm f ON f.id = o.firm_id",
    "address": "SELECT f.name || '/' || p.login, COALESCE(p.email, '') || ' ' || p.email_verified "
    "FROM person p JOIN firm f ON f.id = p.firm_id",
    "groups": "SELECT f.name || '/' || p.login, p.groups FROM person p "
    "JOIN firm f ON f.id = p.firm_id",
    "signer of tickets": "SELECT f.name || '/' || s.name, CASE WHEN s.revoked_at IS NULL "
    "THEN 'valid' ELSE 'revoked' END FROM signer s JOIN firm f ON f.id = s.firm_id",
    "ticket": "SELECT f.name || '/' || t.id, t.used || ' of ' || t.cards || ' cards, ' || "
    "CASE WHEN t.account IS NULL THEN 'open' ELSE 'ended' END "
    "FROM ticket t JOIN firm f ON f.id = t.firm_id",
    "signing key": "SELECT s.id, CASE WHEN s.retired_at IS NULL THEN 'signs' ELSE 'retired' END "
    "FROM signing_key s",
}
# What is compared, and not shown.
_UNTOLD = ("password", "policy", "keys of service", "address", "groups")
HIDDEN = dict.fromkeys(_UNTOLD, "another one")
# Where it is not there at all, another kind says so.
WITH_ITS_OWNER = {*_UNTOLD, "terms of holder"}
SECRET = {"sqlite": "hex(o.secret_hash)", "postgresql": "upper(encode(o.secret_hash, 'hex'))"}
ABSENT = "not there"


def drop_what_was_under_way(connection: Connection) -> dict[str, int]:
    """End what the backup knew of as begun: its owners may have ended it since. → how many"""
    return {name: connection.execute(delete(table)).rowcount for name, table in UNDER_WAY.items()}


def void_sheets(connection: Connection, later: Ask | None) -> int:
    """Codes of a sheet of paper that were used since the backup would be good again. What the later
    copy has not of a sheet is void; of one that it does not know, all. → how many are gone"""
    left: dict[str, set[str]] = {}
    query = "SELECT facts FROM factor WHERE kind = 'codes' AND confirmed_at IS NOT NULL"
    with suppress(UnreadableError):
        for (facts,) in later(query) if later is not None else ():
            known = json.loads(facts)
            left[known["salt"]] = set(known["tags"])
    gone = 0
    of_paper = select(Factor.id, Factor.facts).where(Factor.kind == MethodKind.CODES.value)
    for row in connection.execute(of_paper).all():
        facts = json.loads(row.facts)
        tags = [tag for tag in facts["tags"] if tag in left.get(facts["salt"], ())]
        if tags:
            kept = json.dumps(facts | {"tags": tags})
            connection.execute(update(Factor).where(Factor.id == row.id).values(facts=kept))
        else:
            gone += connection.execute(delete(Factor).where(Factor.id == row.id)).rowcount
    return gone


def contents(connection: Connection) -> dict[str, list[str]]:
    """Who may get in again: people who are not barred, valid credentials, services, cards that
    verify; and whose signature lets stations register cards."""
    wanted = {
        "people": ("person", lambda state: state.startswith("may")),
        "credentials": ("credential", lambda state: state == "valid"),
        "services": ("service", bool),
        "signers of tickets": ("signer of tickets", lambda state: state == "valid"),
        "cards": ("card", lambda state: state == "registered"),
    }
    return {name: _names(connection, *rule) for name, rule in wanted.items()}


def _names(connection: Connection, kind: str, counts: Callable[[str], bool]) -> list[str]:
    rows = connection.execute(text(COMPARED[kind]))
    return sorted(str(name) for name, state in rows if counts(str(state)))


def differences(connection: Connection, later: Ask, dialect: str) -> list[dict[str, str]]:
    """What is otherwise in the later copy, a database of this dialect. A table of it that cannot be
    read is said to be so."""
    found: list[dict[str, str]] = []
    for kind, query in COMPARED.items():
        ours = query.replace("{secret}", SECRET[connection.dialect.name])
        here = {str(name): _said(kind, state) for name, state in connection.execute(text(ours))}
        try:
            rows = later(query.replace("{secret}", SECRET[dialect]))
        except UnreadableError as error:
            unread = f"not readable ({error})"
            found.append({"kind": kind, "name": "", "restored": "", "later": unread})
            continue
        there = {str(name): _said(kind, state) for name, state in rows}
        found.extend(_different(kind, here, there))
    return found


def _said(kind: str, state: object) -> str:
    if kind == "method":
        return f"enrolled {_when(str(state))}"
    if kind == "terms of holder":
        said, lent, until = str(state).partition(", lent until ")
        return f"{said}{lent}{_when(until)}" if lent else said
    return str(state)


def _when(seconds: str) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} UTC"


def _different(
    kind: str, here: Mapping[str, str], there: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    for name in sorted({*here, *there}):
        restored, later = here.get(name, ABSENT), there.get(name, ABSENT)
        if restored == later or (kind in WITH_ITS_OWNER and ABSENT in (restored, later)):
            continue
        if kind in HIDDEN:
            restored, later = "as in the backup", HIDDEN[kind]
        yield {"kind": kind, "name": name, "restored": restored, "later": later}


def report(connection: Connection, later: Ask | None, dialect: str, **facts: Any) -> dict[str, Any]:
    """What an operator has to have seen. Ends what was under way. later: a later copy, a database
    of this dialect."""
    dropped = drop_what_was_under_way(connection)
    dropped["sheets of backup codes"] = void_sheets(connection, later)
    back = contents(connection)
    return {
        **facts,
        "dropped": dropped,
        "counts": {name: len(names) for name, names in back.items()},
        "brought_back": {name: names[:MOST_NAMES] for name, names in back.items()},
        "differs": None if later is None else differences(connection, later, dialect),
    }
