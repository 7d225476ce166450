"""Invitations: a link in a mail, or a code on a letter, with which a new person sets the first
password and is signed in at once, to enrol. One is good once, until its end, and until another
one is made or it is withdrawn. For whoever has had a password there are none: that is recovery,
and takes two."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select

from tallystick.server.accounts import firms, passwords, people, sessions
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages import letters
from tallystick.server.messages.letters import Sender
from tallystick.server.signing_in import limits, recovery
from tallystick.server.signing_in.login import Browser, asked_of_directory
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import HelpRequest
from tallystick.server.wording.worded import Worded, worded

INVITATION = recovery.INVITATION
BY_MAIL, BY_LETTER = "mail", "letter"
PER_DAY = 10  # of one person: nobody's mailbox is filled
LINK = re.compile(r"([0-9]{1,9})-([0-9A-Z]{12})")
Maker = recovery.CodeMaker


@dataclass(frozen=True)
class OpenInvitation:
    """by: mail or letter. Times in seconds since 1970."""

    person_id: int
    login: str
    name: str
    email: str | None
    by: str
    made_at: int
    expires_at: int
    over: bool


@dataclass(frozen=True)
class Printed:
    """What stands on one letter."""

    login: str
    name: str
    code: str
    expires_at: int


def invite(
    state: Maker,
    connection: Connection,
    firm: KnownFirm,
    person: KnownPerson,
    *,
    public_url: str,
    actor: str,
    now: float,
) -> None:
    """Mail a link. An older invitation is void. Raises ApiError: 409 for whoever has no address, is
    barred, or has a password or a method; 429."""
    _may_be_invited(firm, person)
    if not person.email:
        raise _not_invited(
            worded("{login} has no e-mail address.", login=person.login),
            worded("Print a letter, or add an address."),
        )
    rates.take(
        connection,
        f"invite|{person.id}",
        limit=PER_DAY,
        window_s=86400,
        now=now,
        what=worded("invitations of this person in a day"),
    )
    expires_at = _end(firm, now)
    if asked_of_directory(person, firm.policy):
        link = f"{public_url}/p/{firm.name}/sign-in"  # the password is known; there is none to set
    else:
        number, code = _make(state, connection, firm, person, BY_MAIL, now)
        link = f"{public_url}/p/{firm.name}/welcome/{number}-{code.replace('-', '')}"
    letters.invited(
        connection, state.ring, Sender(firm.name, firm.policy), person, now,
        link=link, until=expires_at,
    )  # fmt: skip
    _note(state, connection, firm, actor, "person-invited", person.login, now, by=BY_MAIL)


def print_letter(
    state: Maker,
    connection: Connection,
    firm: KnownFirm,
    person: KnownPerson,
    *,
    actor: str,
    now: float,
) -> Printed:
    """→ what to print; the code is shown this once. Raises as `invite`."""
    _may_be_invited(firm, person)
    if asked_of_directory(person, firm.policy):
        raise _not_invited(
            worded("{login} has a password in the directory.", login=person.login),
            worded("Tell where to sign in."),
        )
    _, code = _make(state, connection, firm, person, BY_LETTER, now)
    _note(state, connection, firm, actor, "person-invited", person.login, now, by=BY_LETTER)
    return Printed(person.login, person.full_name, code, _end(firm, now))


def withdraw(
    state: Maker,
    connection: Connection,
    firm: KnownFirm,
    person: KnownPerson,
    *,
    actor: str,
    now: float,
) -> None:
    """Raises ApiError (404) where there is none."""
    gone = connection.execute(
        delete(HelpRequest).where(
            HelpRequest.person_id == person.id, HelpRequest.kind == INVITATION
        )
    )
    if not gone.rowcount:
        raise ApiError(
            404,
            "no-invitation",
            worded("{login} has no invitation.", login=person.login),
            kept=NOTHING_CHANGED,
        )
    _note(state, connection, firm, actor, "invitation-withdrawn", person.login, now)


def forget_mailed(connection: Connection, person_id: int) -> bool:
    """A link that went to an address which is not the person's any more opens nothing: it may be
    somebody else's. → whether there was one"""
    gone = connection.execute(
        delete(HelpRequest).where(
            HelpRequest.person_id == person_id,
            HelpRequest.kind == INVITATION,
            HelpRequest.reason == BY_MAIL,
        )
    )
    return bool(gone.rowcount)


def listed(
    connection: Connection, firm_id: int, now: float, *, most: int | None = None
) -> list[OpenInvitation]:
    """Those that were not used, the oldest first; also those that are over, to be made anew."""
    query = _open().where(HelpRequest.firm_id == firm_id)
    ordered = query.order_by(HelpRequest.asked_at, PersonRow.login_key).limit(most)
    rows = connection.execute(ordered)
    return [_open_invitation(row, now) for row in rows]


def of_people(
    connection: Connection, person_ids: Sequence[int], now: float
) -> list[OpenInvitation]:
    """Theirs, as `listed`. person_ids: as many as a statement takes (`batches`)."""
    rows = connection.execute(_open().where(HelpRequest.person_id.in_(person_ids)))
    return [_open_invitation(row, now) for row in rows]


def _open() -> Any:
    return (
        select(
            HelpRequest.person_id, PersonRow.login, PersonRow.full_name, PersonRow.email,
            HelpRequest.reason, HelpRequest.asked_at, HelpRequest.expires_at,
        )
        .join(PersonRow, PersonRow.id == HelpRequest.person_id)
        .where(HelpRequest.kind == INVITATION)
    )  # fmt: skip


def _open_invitation(row: AnyRow, now: float) -> OpenInvitation:
    over = row.expires_at <= int(now)
    return OpenInvitation(
        row.person_id, row.login, row.full_name, row.email, row.reason, row.asked_at,
        row.expires_at, over,
    )  # fmt: skip


def invitable(firm: KnownFirm, now: float) -> ColumnElement[bool]:
    """Of a person's row: may be invited (`may_be_invited`), and is not."""
    no_password: ColumnElement[bool] = PersonRow.password_hash.is_(None)
    no_password &= PersonRow.password_at.is_(None)
    if firm.policy.directory_passwords:
        no_password |= PersonRow.source == people.Keeper.LDAP.value
    invited = exists(
        select(HelpRequest.person_id).where(
            HelpRequest.person_id == PersonRow.id,
            HelpRequest.kind == INVITATION,
            HelpRequest.expires_at > int(now),
        )
    )
    lacking = PersonRow.disabled_at.is_(None) & PersonRow.enrolled_at.is_(None)
    return lacking & no_password & ~invited


def may_be_invited(firm: KnownFirm, person: KnownPerson) -> bool:
    elsewhere = asked_of_directory(person, firm.policy)
    had_one = person.has_password or person.password_at is not None
    return not (person.disabled or person.enrolled or (had_one and not elsewhere))


def welcomed(state: ServerState, firm_name: str, link: str, browser: Browser) -> KnownPerson:
    """Who is invited by a link; it stays good: programs look at links in mails before people do.
    Raises ApiError (401, 429)."""

    def work(connection: Connection) -> KnownPerson | None:
        firm = firms.by_name(connection, firm_name)
        limits.before_help_code(connection, firm.policy, firm.id, browser.source, state.now())
        row = _find(state, connection, firm, link)
        if row is None:
            limits.help_code_failed(connection, firm.id, browser.source, state.now())
            _note(state, connection, firm, "unknown", "help-code-wrong", "unknown", state.now())
            return None
        return people.get(connection, firm.id, row.person_id)

    person = state.database.run(work)
    if person is None:
        raise _no_good()
    return person


def accept(state: ServerState, firm_name: str, link: str, password: str, browser: Browser) -> str:
    """Set the first password. The link is used up. → the token of a session. Raises ApiError: 401,
    422 for a password that is not good enough (then the link stays good)."""
    person = welcomed(state, firm_name, link, browser)
    with state.database.read() as connection:
        firm = firms.by_name(connection, firm_name)
    about = people.known_of(person)
    passwords.check_new(password, person.login, firm.policy, state.breached, state.now(), about)
    hashed = passwords.hash_new(password)

    def work(connection: Connection) -> str:
        firm = firms.by_name(connection, firm_name)
        row = _find(state, connection, firm, link, lock=True)
        if row is None:
            raise _no_good()  # somebody else was first
        invited = people.get(connection, firm.id, row.person_id, lock=True)
        if not may_be_invited(firm, invited):
            raise _no_good()
        # It takes the invitation away, too.
        recovery.set_password(state, connection, firm.name, firm.policy, invited, hashed)
        recovery.note_first(connection, invited, state.now())
        _note(
            state, connection, firm, f"person:{invited.id}", "invitation-used", invited.login,
            state.now(),
        )  # fmt: skip
        return sessions.open_session(
            connection,
            person=people.get(connection, firm.id, invited.id),
            policy=firm.policy,
            amr=("pwd",),
            browser=browser.agent,
            source=browser.source,
            now=state.now(),
        )

    token = state.database.run(work)
    state.outbox.wake()
    return token


def _find(
    state: ServerState, connection: Connection, firm: KnownFirm, link: str, *, lock: bool = False
) -> AnyRow | None:
    found = LINK.fullmatch(link)
    if found is None:
        return None
    query = select(HelpRequest.id, HelpRequest.person_id, HelpRequest.code_tag).where(
        HelpRequest.id == int(found.group(1)),
        HelpRequest.firm_id == firm.id,
        HelpRequest.kind == INVITATION,
        HelpRequest.expires_at > int(state.now()),
    )
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    wanted = recovery.code_tag(state, int(found.group(1)), found.group(2))
    if row is None or not hmac.compare_digest(row.code_tag or b"", wanted):
        return None
    person = people.get(connection, firm.id, row.person_id)
    return row if may_be_invited(firm, person) else None


def _make(
    state: Maker, connection: Connection, firm: KnownFirm, person: KnownPerson, by: str, now: float
) -> tuple[int, str]:
    connection.execute(
        delete(HelpRequest).where(
            HelpRequest.person_id == person.id, HelpRequest.kind == INVITATION
        )
    )
    number = recovery.new_number()
    connection.execute(
        insert(HelpRequest),
        {
            "id": number,
            "firm_id": firm.id,
            "person_id": person.id,
            "asked_by": person.id,
            "tries": 0,
            "expires_at": _end(firm, now),
            "kind": INVITATION,
            "reason": by,
            "detail": json.dumps({}),
            "asked_at": int(now),
        },
    )
    return number, recovery.make_code(state, connection, number)


def _end(firm: KnownFirm, now: float) -> int:
    return int(now) + firm.policy.invitation_days * 86400


def _may_be_invited(firm: KnownFirm, person: KnownPerson) -> None:
    if person.disabled:
        raise _not_invited(
            worded("{login} is barred.", login=person.login), worded("Enable the account first.")
        )
    if not may_be_invited(firm, person):
        raise _not_invited(
            worded("{login} has a password already.", login=person.login)
            if person.has_password
            else worded("{login} has had this account before.", login=person.login),
            worded("Whoever has lost it recovers the account."),
        )


def _not_invited(what: Worded, todo: Worded) -> ApiError:
    return ApiError(
        409,
        "not-invited",
        what,
        kept="Nobody was invited.",
        todo=todo,
    )


def _no_good() -> ApiError:
    return ApiError(
        401,
        "invitation-over",
        "This invitation is not good any more: it was used, replaced or withdrawn, or is too old.",
        kept=NOTHING_CHANGED,
        todo="If you have set your password already, sign in with it. If not, ask your help desk "
        "for another invitation.",
    )


def _note(
    state: Maker,
    connection: Connection,
    firm: KnownFirm,
    actor: str,
    action: str,
    login: str,
    now: float,
    **detail: str,
) -> None:
    act = Act(int(now * 1000), firm.id, actor, action, login, detail)
    record(connection, state.ring, [act])
