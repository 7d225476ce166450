"""People of a firm: find, make, list, change. Every function runs in its caller's transaction."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.common import chance
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store import numbers
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.database import AnyRow
from tallystick.server.store.models import Departed, PersonRow
from tallystick.server.store.searching import containing, escaped
from tallystick.server.wording.worded import worded

MAX_LOGIN = 255
NEAR = 0.6  # of `difflib`: how like another a login is
NEAR_COMPARED = 5000
PAGE = 1000
# Whoever makes an account, raises its role and opens it himself would be two members of staff. The
# others read of it, in their mail, before the new one counts.
NEW_COLLEAGUE_S = 3 * 86400


class Keeper(StrEnum):
    """Who keeps what is said of a person: what a directory keeps is not changed here."""

    HERE = ""
    SCIM = "scim"
    LDAP = "ldap"


@dataclass(frozen=True)
class KnownPerson:
    """A person, without the password's hash. enrolled: has, or had, a second factor.
    recovered_by: what recovered the password, until something else has signed in with it.
    password_at: when it was set. source: the directory that keeps the rest (`Keeper`).
    language: that the person has chosen, or "". colleague_from: from when on a member of staff
    counts as the second one of two; None: since ever. left: everything was taken from a leaver."""

    id: int
    firm_id: int
    login: str
    role: PersonRole
    email: str | None
    disabled: bool
    has_password: bool
    enrolled: bool
    created_at: int
    recovered_by: str | None = None
    password_at: int | None = None
    full_name: str = ""
    groups: tuple[str, ...] = ()
    source: Keeper = Keeper.HERE
    external_id: str = ""
    handle: str = ""
    language: str = ""
    colleague_from: int | None = None
    left: bool = False


def canonical(login: str) -> str:
    """How a login is looked up and told apart: whatever its case and its Unicode form."""
    if login.isascii():
        return login.lower()
    folded = unicodedata.normalize("NFKC", login).casefold()
    return unicodedata.normalize("NFKC", folded)


def ensure(connection: Connection, firm_id: int, login: str, now: float) -> int:
    """The id of the person with this login, made known if new."""
    query = select(PersonRow.id).where(_named(firm_id, login))
    known = connection.scalar(query)
    if known is not None:
        return known
    try:
        with connection.begin_nested():
            row = _new_row(connection, firm_id, login, PersonRole.USER, now)
            connection.execute(insert(PersonRow), row)
    except IntegrityError:  # another worker was first
        pass
    return connection.execute(query).scalar_one()


def add(
    connection: Connection,
    *,
    firm_id: int,
    login: str,
    role: PersonRole,
    email: str | None,
    now: float,
    **more: Any,
) -> int:
    """Make a person. more: further columns. → the id. Raises ApiError: 409 when the login is
    taken, 422 if too long."""
    if len(canonical(login)) > MAX_LOGIN:
        raise ApiError(
            422,
            "bad-login",
            "This login name is too long.",
            kept=NOTHING_CHANGED,
            todo="Choose a shorter one.",
        )
    row = _new_row(connection, firm_id, login, role, now) | {
        "email": email,
        "email_verified": int(bool(email)),
        **more,
    }
    try:
        made = connection.execute(insert(PersonRow).returning(PersonRow.id), row)
    except IntegrityError:
        raise ApiError(
            409,
            "duplicate-login",
            worded("{login!r} is known already.", login=login),
            kept=NOTHING_CHANGED,
            todo="Choose another login name.",
        ) from None
    return int(made.scalar_one())


def by_login(connection: Connection, firm_id: int, login: str) -> KnownPerson:
    """Raises ApiError (404)."""
    found = find(connection, firm_id, login)
    if found is None:
        raise no_such_person()
    return found


def login_of(connection: Connection, firm_id: int, typed: str) -> str:
    """The login of what somebody typed to sign in: a login, or an e-mail address that the firm
    vouches for and one person has. What is neither stays as it is."""
    if "@" not in typed or find(connection, firm_id, typed) is not None:
        return typed
    query = select(PersonRow.login).where(
        PersonRow.firm_id == firm_id,
        func.lower(func.coalesce(PersonRow.email, "")) == typed.lower(),
        PersonRow.email_verified == 1,
    )
    found = connection.scalars(query.limit(2)).all()
    return found[0] if len(found) == 1 else typed


def meant(connection: Connection, firm_id: int, login: str) -> KnownPerson:
    """As `by_login`, for staff, who may see logins. Raises ApiError (404) with the nearest ones."""
    found = find(connection, firm_id, login)
    if found is None:
        raise not_meant(login, nearest(connection, firm_id, login))
    return found


def nearest(connection: Connection, firm_id: int, login: str, limit: int = 3) -> list[str]:
    """Logins that somebody who wrote this one may have meant, the likeliest first. Compared are
    those that begin or end as it does, or contain a part of it: not a whole large firm."""
    key = canonical(login)
    begins, ends, within = escaped(key[:1]), escaped(key[-3:]), escaped(key[1:4])
    parts = (f"{begins}%", f"%{ends}", f"%{within}%")
    like = or_(*(PersonRow.login_key.like(part, escape="\\") for part in parts))
    query = (
        select(PersonRow.login, PersonRow.login_key)
        .where(PersonRow.firm_id == firm_id, PersonRow.disabled_at.is_(None), like)
        .limit(NEAR_COMPARED)
    )
    logins = {row.login_key: row.login for row in connection.execute(query)}
    return [logins[near] for near in get_close_matches(key, logins, limit, NEAR)]


def find(
    connection: Connection, firm_id: int, login: str, *, lock: bool = False
) -> KnownPerson | None:
    query = _query().where(_named(firm_id, login))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return _known(row) if row is not None else None


def get(connection: Connection, firm_id: int, person_id: int, *, lock: bool = False) -> KnownPerson:
    """Raises ApiError (404) also for a person of another firm."""
    query = _query().where(PersonRow.firm_id == firm_id, PersonRow.id == person_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise no_such_person()
    return _known(row)


def search(
    connection: Connection, firm_id: int, text: str, *, limit: int | None = 100, after: str = ""
) -> list[KnownPerson]:
    """People whose login, name or address contains the text, by login. limit: None: all. after:
    those whose logins come after this one."""
    found = containing(text, PersonRow.login, PersonRow.email, PersonRow.full_name)
    query = (
        _query()
        .where(PersonRow.firm_id == firm_id, found if text else True)
        .where(PersonRow.login_key > canonical(after) if after else True)
        .order_by(PersonRow.login_key)
        .limit(limit)
    )
    return [_known(row) for row in connection.execute(query)]


def count(connection: Connection, firm_id: int) -> int:
    query = select(func.count()).select_from(PersonRow).where(PersonRow.firm_id == firm_id)
    return connection.scalar(query) or 0


def everybody(connection: Connection, firm_id: int) -> list[KnownPerson]:
    """By login."""
    query = _query().where(PersonRow.firm_id == firm_id).order_by(PersonRow.login_key)
    return [_known(row) for row in connection.execute(query)]


def of_logins(
    connection: Connection, firm_id: int, logins: Sequence[str]
) -> dict[str, KnownPerson]:
    """Those who are known by one of these, by how it is looked up. logins: as many as a statement
    takes (`batches`)."""
    keys = [canonical(login) for login in logins]
    query = _query().where(PersonRow.firm_id == firm_id, PersonRow.login_key.in_(keys))
    return {row.login_key: _known(row) for row in connection.execute(query)}


def pages(
    connection: Connection, firm_id: int, condition: Any = True, *, after: str = ""
) -> Iterator[KnownPerson]:
    """Everybody of whose row this is so, by login, read as it goes: of a firm of any size. after:
    those whose logins come after this one."""
    key = canonical(after)
    while True:
        query = (
            _query()
            .where(PersonRow.firm_id == firm_id, PersonRow.login_key > key, condition)
            .order_by(PersonRow.login_key)
            .limit(PAGE)
        )
        rows = connection.execute(query).all()
        yield from map(_known, rows)
        if len(rows) < PAGE:
            return
        key = rows[-1].login_key


def gathered(firm_id: int, rows: Iterable[Mapping[str, Any]], now: float) -> GatheredRows:
    """New people, for `insert_many`. rows: login, role, email, full_name, groups; colleague_from
    for staff."""
    names = (
        "firm_id", "login", "login_key", "handle", "role", "email", "email_verified", "full_name",
        "groups", "created_at", "colleague_from",
    )  # fmt: skip
    values = (
        (
            firm_id, row["login"], canonical(row["login"]), chance.token_hex(16), row["role"],
            row["email"], int(bool(row["email"])), row["full_name"], row["groups"], int(now),
            row.get("colleague_from"),
        )
        for row in rows
    )  # fmt: skip
    return GatheredRows(PersonRow.__table__, names, values)


def insert_many(connection: Connection, new: GatheredRows) -> None:
    """Raises IntegrityError for a login that is known."""
    new.insert(connection, first_id=_unused(connection))


def known_of(person: KnownPerson) -> tuple[str, ...]:
    """What others know, besides the login, and no password should be made of."""
    return tuple(text for text in (person.email, person.full_name) if text)


def change(connection: Connection, firm_id: int, person_id: int, **values: Any) -> None:
    """Set columns. Raises ApiError (404)."""
    changed = connection.execute(
        update(PersonRow)
        .where(PersonRow.firm_id == firm_id, PersonRow.id == person_id)
        .values(**values)
    )
    if changed.rowcount != 1:
        raise no_such_person()


def new_colleague(role: PersonRole, now: float) -> dict[str, int]:
    """Columns of somebody who is of the staff from now on, or can be for the first time."""
    if role is PersonRole.USER:
        return {}
    return {"colleague_from": int(now) + NEW_COLLEAGUE_S}


def note_enrolment(connection: Connection, person_id: int, now: float) -> None:
    """From now on a password alone does not sign this person in."""
    connection.execute(
        update(PersonRow)
        .where(PersonRow.id == person_id, PersonRow.enrolled_at.is_(None))
        .values(enrolled_at=int(now))
    )


def not_meant(login: str, near: Sequence[str]) -> ApiError:
    """A login that nobody has, and those that may be meant."""
    names = near[0] if near else ""
    if len(near) > 1:
        names = worded("{some} or {last}", some=", ".join(near[:-1]), last=near[-1])
    return ApiError(
        404,
        "no-such-user",
        worded("There is no user {login!r} in this firm.", login=login),
        kept=NOTHING_CHANGED,
        todo=worded("Did you mean {names}?", names=names) if near else "Check the login name.",
    )


def no_such_person() -> ApiError:
    return ApiError(
        404,
        "no-such-user",
        "There is no such user in this firm.",
        kept=NOTHING_CHANGED,
        todo="Check the login name.",
    )


def _named(firm_id: int, login: str) -> Any:
    return (PersonRow.firm_id == firm_id) & (PersonRow.login_key == canonical(login))


def _query() -> Any:
    return select(*PersonRow.__table__.columns)


def _known(row: AnyRow) -> KnownPerson:
    return KnownPerson(
        id=row.id,
        firm_id=row.firm_id,
        login=row.login,
        role=PersonRole(row.role),
        email=row.email,
        disabled=row.disabled_at is not None,
        has_password=row.password_hash is not None,
        enrolled=row.enrolled_at is not None,
        created_at=row.created_at,
        recovered_by=row.recovered_by,
        password_at=row.password_at,
        full_name=row.full_name,
        groups=tuple(row.groups.split("\n")) if row.groups else (),
        source=Keeper(row.source),
        external_id=row.external_id,
        handle=row.handle or "",
        language=row.language,
        colleague_from=row.colleague_from,
        left=row.left_at is not None,
    )


def _new_row(
    connection: Connection, firm_id: int, login: str, role: PersonRole, now: float
) -> dict[str, Any]:
    number = _unused(connection)
    return {
        **({} if number is None else {"id": number}),
        "handle": chance.token_hex(16),
        "firm_id": firm_id,
        "login": login,
        "login_key": canonical(login),
        "role": role.value,
        "created_at": int(now),
    }


def _unused(connection: Connection) -> int | None:
    """A number that nobody has or had: SQLite would give that of whoever was deleted last again,
    and with it that person's entries in the audit log. None: the database sees to it."""
    if connection.dialect.name != "sqlite":
        return None
    there, gone = (numbers.highest(connection, one) for one in (PersonRow.id, Departed.person_id))
    return max(there, gone) + 1
