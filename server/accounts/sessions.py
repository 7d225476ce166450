"""Who is signed in: sessions that can be listed and ended, and remembered devices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from tallystick.common import chance
from tallystick.server.accounts.people import KnownPerson, get
from tallystick.server.accounts.policy import FirmPolicy, parse
from tallystick.server.store import numbers
from tallystick.server.store.models import Firm, PersonRow
from tallystick.server.store.models_login import (
    Attempt,
    OidcLogout,
    RememberedDevice,
    SentCode,
    SessionRow,
)

SEEN_STEP_S = 60
ENROL_ONLY_S = 900


@dataclass(frozen=True)
class SignedIn:
    """A live session. amr: methods used (RFC 8176). proved_at: when a second factor was last shown
    in it. handle: names it outside the database. enrol_only: it may enrol methods, and nothing
    else. seen_at: when it was used last, to a minute. Times in seconds since 1970."""

    id: int
    person: KnownPerson
    policy: FirmPolicy
    firm: str
    amr: tuple[str, ...]
    created_at: int
    proved_at: int | None
    handle: str
    enrol_only: bool
    seen_at: int


@dataclass(frozen=True)
class Listed:
    """A session as its owner sees it."""

    id: int
    browser: str
    source: str
    amr: str
    created_at: int
    seen_at: int


def new_token() -> str:
    return chance.token_urlsafe(32)


def digest(token: str) -> bytes:
    """How a browser's token is stored."""
    return hashlib.sha256(token.encode()).digest()


def open_session(
    connection: Connection,
    *,
    person: KnownPerson,
    policy: FirmPolicy,
    amr: tuple[str, ...],
    browser: str,
    source: str,
    now: float,
    enrol_only: bool = False,
) -> str:
    """→ the token for the browser's cookie."""
    token = new_token()
    life_s = ENROL_ONLY_S if enrol_only else policy.session_hours * 3600
    connection.execute(
        insert(SessionRow),
        {
            **numbers.unused(connection, SessionRow.id),
            "token_hash": digest(token),
            "firm_id": person.firm_id,
            "person_id": person.id,
            "amr": ",".join(amr),
            "browser": browser[:255],
            "source": source[:64],
            "created_at": int(now),
            "seen_at": int(now),
            "expires_at": int(now) + life_s,
            "proved_at": int(now) if "mfa" in amr else None,
            "handle": chance.token_hex(16),
            "enrol_only": int(enrol_only),
        },
    )
    return token


def current(connection: Connection, token: str, firm_id: int, now: float) -> SignedIn | None:
    """The live session of a token, in this firm only."""
    row = connection.execute(
        select(SessionRow.id, SessionRow.person_id, SessionRow.amr, SessionRow.created_at)
        .add_columns(SessionRow.seen_at, SessionRow.expires_at, SessionRow.proved_at)
        .add_columns(SessionRow.handle, SessionRow.enrol_only)
        .add_columns(Firm.policy, Firm.name)
        .join(Firm, Firm.id == SessionRow.firm_id)
        .where(SessionRow.token_hash == digest(token), SessionRow.firm_id == firm_id)
    ).one_or_none()
    if row is None:
        return None
    policy = parse(row.policy)
    idle_end = row.seen_at + policy.session_idle_minutes * 60
    if int(now) >= min(row.expires_at, idle_end):
        return None
    person = get(connection, firm_id, row.person_id)
    if person.disabled:
        return None
    amr = tuple(row.amr.split(","))
    return SignedIn(
        id=row.id,
        person=person,
        policy=policy,
        firm=row.name,
        amr=amr,
        created_at=row.created_at,
        proved_at=row.proved_at,
        handle=row.handle,
        enrol_only=bool(row.enrol_only),
        seen_at=row.seen_at,
    )


def is_to_be_touched(session: SignedIn, now: float) -> bool:
    """Whether `touch` has something to note: most pages need no transaction that writes."""
    return session.seen_at <= int(now) - SEEN_STEP_S


def touch(connection: Connection, session: SignedIn, now: float) -> None:
    """Note that the session is used (at most once a minute)."""
    connection.execute(
        update(SessionRow)
        .where(SessionRow.handle == session.handle, SessionRow.seen_at <= int(now) - SEEN_STEP_S)
        .values(seen_at=int(now))
    )


def strengthen(connection: Connection, session: SignedIn, amr: tuple[str, ...], now: float) -> None:
    """The user has proved himself by further methods in this session; one that was ended meanwhile
    stays so, and is no other that has its number now."""
    names = ",".join(dict.fromkeys((*session.amr, *amr, "mfa")))
    connection.execute(
        update(SessionRow)
        .where(SessionRow.handle == session.handle)
        .values(amr=names, proved_at=int(now))
    )


def is_open(connection: Connection, session: SignedIn) -> bool:
    """Whether it has not been ended since it was looked up; it is locked until the transaction
    ends."""
    query = select(SessionRow.id).where(SessionRow.handle == session.handle).with_for_update()
    return connection.scalar(query) is not None


def of_person(connection: Connection, person_id: int, now: float) -> list[Listed]:
    rows = connection.execute(
        select(SessionRow.id, SessionRow.browser, SessionRow.source, SessionRow.amr)
        .add_columns(SessionRow.created_at, SessionRow.seen_at)
        .where(SessionRow.person_id == person_id, SessionRow.expires_at > int(now))
        .order_by(SessionRow.seen_at.desc(), SessionRow.id.desc())
    )
    return [Listed(*row) for row in rows]


def end(connection: Connection, person_id: int, session_id: int) -> None:
    """End one session of a person; one that is not there is as good as ended."""
    mine = (SessionRow.id == session_id) & (SessionRow.person_id == person_id)
    _tell_services(connection, mine)
    connection.execute(delete(SessionRow).where(mine))


def end_all(connection: Connection, person_id: int, *, but: int | None = None) -> None:
    """End a person's sessions, and sign-ins and recoveries that are under way; forget his
    devices."""
    # First: whoever has one of these locked may be about to make a session of it.
    _end_under_way(connection, person_id, "login", "radius", "recovery")
    ended = SessionRow.person_id == person_id
    if but is not None:
        ended &= SessionRow.id != but
    _tell_services(connection, ended)
    connection.execute(delete(SessionRow).where(ended))
    connection.execute(delete(RememberedDevice).where(RememberedDevice.person_id == person_id))


def end_recoveries(connection: Connection, person_id: int) -> None:
    """Those of a person that are under way, and sessions that they opened to enrol in."""
    _end_under_way(connection, person_id, "recovery")
    enrolling = (SessionRow.person_id == person_id) & (SessionRow.enrol_only == 1)
    connection.execute(delete(SessionRow).where(enrolling))


def _end_under_way(connection: Connection, person_id: int, *purposes: str) -> None:
    under_way = (Attempt.person_id == person_id) & Attempt.purpose.in_(purposes)
    hashes = select(Attempt.token_hash).where(under_way)
    connection.execute(delete(SentCode).where(SentCode.attempt.in_(hashes)))
    connection.execute(delete(Attempt).where(under_way))


def _tell_services(connection: Connection, ended: ColumnElement[bool]) -> None:
    """Those that such a session signed in to hear that it is over (`messages.logouts`)."""
    # Locked first: a service that gets its tokens now is on the list when the lock is had.
    found = select(SessionRow.handle).where(ended).with_for_update()
    handles = list(connection.scalars(found))
    connection.execute(
        update(OidcLogout)
        .where(OidcLogout.session.in_(handles), OidcLogout.due_at.is_(None))
        .values(due_at=0)
    )


def shorten(
    connection: Connection, firm_id: int, old: FirmPolicy, policy: FirmPolicy, now: float
) -> None:
    """A policy that is stricter than before holds for what was opened under the old one, too. A
    session that was over under the old one, for nobody had used it, stays so."""
    idle_since = int(now) - old.session_idle_minutes * 60
    connection.execute(
        update(SessionRow)
        .where(
            SessionRow.firm_id == firm_id,
            SessionRow.seen_at <= idle_since,
            SessionRow.expires_at > int(now),
        )
        .values(expires_at=int(now))
    )
    longest = policy.session_hours * 3600
    connection.execute(
        update(SessionRow)
        .where(
            SessionRow.firm_id == firm_id, SessionRow.expires_at > SessionRow.created_at + longest
        )
        .values(expires_at=SessionRow.created_at + longest)
    )
    until = int(now) + policy.remember_device_days * 86400
    of_firm = select(PersonRow.id).where(PersonRow.firm_id == firm_id)
    connection.execute(
        update(RememberedDevice)
        .where(RememberedDevice.person_id.in_(of_firm), RememberedDevice.expires_at > until)
        .values(expires_at=until)
    )


@dataclass(frozen=True)
class Remembered:
    """A remembered browser as its owner sees it. Times in seconds since 1970."""

    handle: str
    browser: str
    source: str
    created_at: int
    expires_at: int


def remembered(connection: Connection, person_id: int, now: float) -> list[Remembered]:
    """Those that are not asked for a second factor now, the newest first."""
    rows = connection.execute(
        select(RememberedDevice.handle, RememberedDevice.browser, RememberedDevice.source)
        .add_columns(RememberedDevice.created_at, RememberedDevice.expires_at)
        .where(RememberedDevice.person_id == person_id, RememberedDevice.expires_at > int(now))
        .order_by(RememberedDevice.created_at.desc())
    )
    return [Remembered(*row) for row in rows]


def forget_device(connection: Connection, person_id: int, handle: str) -> bool:
    """→ whether there was one"""
    gone = connection.execute(
        delete(RememberedDevice).where(
            RememberedDevice.person_id == person_id, RememberedDevice.handle == handle
        )
    )
    return gone.rowcount == 1


def remember_device(
    connection: Connection,
    person_id: int,
    policy: FirmPolicy,
    now: float,
    *,
    browser: str = "",
    source: str = "",
) -> str | None:
    """→ a token for the browser's cookie, or None where policy forbids it."""
    if policy.remember_device_days == 0:
        return None
    token = new_token()
    connection.execute(
        insert(RememberedDevice),
        {
            "token_hash": digest(token),
            "person_id": person_id,
            "expires_at": int(now) + policy.remember_device_days * 86400,
            "handle": chance.token_hex(16),
            "browser": browser[:255],
            "source": source[:64],
            "created_at": int(now),
        },
    )
    return token


def is_remembered(
    connection: Connection, person_id: int, policy: FirmPolicy, token: str, now: float
) -> bool:
    if policy.remember_device_days == 0 or not token:
        return False
    expires_at = connection.scalar(
        select(RememberedDevice.expires_at).where(
            RememberedDevice.token_hash == digest(token), RememberedDevice.person_id == person_id
        )
    )
    return expires_at is not None and expires_at > int(now)
