"""What is said of one person is changed: by staff, by a file, by the directory that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from tallystick.server.accounts import people, sessions
from tallystick.server.accounts.changes import changed, in_entries, masked
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import MAX_LOGIN, Keeper, KnownPerson, canonical
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.accounts.rights import RightsTakenError, covers
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages.notices import notify, to_administrators
from tallystick.server.methods.sent import EMAIL
from tallystick.server.signing_in import inviting, recovery
from tallystick.server.store.audit import Act, record
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import PersonRow
from tallystick.server.wording.worded import Worded, worded

CONSOLE = "console"
MAX_TEXT = 255
MOST_GROUPS = 200
# Of several roles that groups give, the one with the most rights.
ORDER = (PersonRole.ADMINISTRATOR, PersonRole.SUPPORT, PersonRole.AUDITOR, PersonRole.USER)


class DryRunError(Exception):
    """Ends the transaction of a dry run."""


@dataclass(frozen=True)
class Ways:
    """What a change needs besides a connection. caller: who does it. by: for which directory."""

    ring: ServerKeyRing
    firm: KnownFirm
    caller: Caller
    now: float
    by: Keeper = Keeper.HERE

    def act(self, action: str, subject: str, **detail: str | int) -> Act:
        now_ms = int(self.now * 1000)
        return Act(now_ms, self.firm.id, self.caller.id, action, subject, detail)

    def new_colleague(self, role: PersonRole) -> dict[str, int]:
        """Columns of somebody who is given a role. The console needs nobody's consent."""
        return {} if self.caller.id == CONSOLE else people.new_colleague(role, self.now)

    def is_own(self, person: KnownPerson) -> bool:
        return self.caller.id == f"person:{person.id}"


@dataclass(frozen=True)
class PersonWish:
    """What shall be said of a person; None: what is said now. email "": none."""

    login: str | None = None
    name: str | None = None
    email: str | None = None
    role: PersonRole | None = None
    groups: tuple[str, ...] | None = None
    disabled: bool | None = None

    def checked(self) -> PersonWish:
        """Without blanks around. Raises ApiError (422) for what cannot be kept."""
        login = None if self.login is None else login_name(self.login)
        name = None if self.name is None else one_line(self.name, "name")
        email = None if self.email is None else address(self.email)
        groups = None
        if self.groups is not None:
            groups = tuple(dict.fromkeys(one_line(one, "group") for one in self.groups if one))
            if len(groups) > MOST_GROUPS:
                raise _bad(
                    "groups", worded("Somebody is in at most {most} groups.", most=MOST_GROUPS)
                )
        return replace(self, login=login, name=name, email=email, groups=groups)

    def differs(self, person: KnownPerson) -> bool:
        return any(
            wish is not None and wish != has
            for wish, has in (
                (self.login, person.login),
                (self.name, person.full_name),
                (self.email, person.email or ""),
                (self.role, person.role),
                (self.groups, person.groups),
                (self.disabled, person.disabled),
            )
        )


def login_name(text: str) -> str:
    """Raises ApiError (422)."""
    name = text.strip()
    if not 0 < len(name) <= MAX_LOGIN or not name.isprintable() or len(canonical(name)) > MAX_LOGIN:
        raise _bad(
            "login", worded("A login name has 1 to {most} printable characters.", most=MAX_LOGIN)
        )
    return name


def address(text: str) -> str:
    """An e-mail address, or "". Raises ApiError (422)."""
    text = text.strip()
    if text and not EMAIL.fullmatch(text):
        raise _bad("address", worded("This is not an e-mail address."))
    return text


def one_line(text: str, what: str) -> str:
    """Raises ApiError (422)."""
    text = text.strip()
    if len(text) > MAX_TEXT or not text.isprintable():
        raise _bad(
            what,
            worded("A {what} is one line of at most {most} characters.", what=what, most=MAX_TEXT),
        )
    return text


def role_named(text: str) -> PersonRole:
    """Raises ApiError (422)."""
    try:
        return PersonRole(text.strip().lower())
    except ValueError:
        roles = ", ".join(PersonRole)
        raise _bad(
            "role",
            worded("There is no role {role!r}.", role=text[:40]),
            worded("Use one of {roles}.", roles=roles),
        ) from None


def role_by_groups(policy: FirmPolicy, groups: Sequence[str]) -> PersonRole | None:
    """The role that a directory's groups give; None where policy leaves roles to us."""
    if not policy.group_roles:
        return None
    given = {canonical(group): role for group, role in policy.group_roles.items()}
    roles = {given.get(canonical(group), PersonRole.USER) for group in groups} | {PersonRole.USER}
    return next(role for role in ORDER if role in roles)


def add(
    connection: Connection, ways: Ways, wanted: PersonWish, *, external_id: str = "", **facts: str
) -> KnownPerson:
    """A new person, who has no password yet. facts: more for the audit log. Raises ApiError: 409
    for a login that is known, 422."""
    wanted = wanted.checked()
    if wanted.login is None:
        raise _bad("login", worded("A person needs a login name."))
    groups = wanted.groups or ()
    role = wanted.role or PersonRole.USER
    if ways.by:
        role = role_by_groups(ways.firm.policy, groups) or role
    number = people.add(
        connection,
        firm_id=ways.firm.id,
        login=wanted.login,
        role=role,
        email=wanted.email or None,
        now=ways.now,
        full_name=wanted.name or "",
        groups="\n".join(groups),
        source=ways.by.value,
        external_id=external_id,
        disabled_at=int(ways.now) if wanted.disabled else None,
        **ways.new_colleague(role),
    )
    detail = {"role": role.value, **facts}
    if ways.by:
        detail["by"] = ways.by.value
    record(connection, ways.ring, [ways.act("person-added", wanted.login, **detail)])
    made = people.get(connection, ways.firm.id, number)
    if made.role is not PersonRole.USER:
        tell_of_staff(connection, ways, made)
    return made


def gathered(ways: Ways, wanted: Iterable[PersonWish]) -> GatheredRows:
    """Many that were checked, and that nobody's directory keeps, for `people.insert_many`; the
    entries of the audit log are the caller's."""
    rows = (
        {
            "login": one.login,
            "role": (one.role or PersonRole.USER).value,
            "email": one.email or None,
            "full_name": one.name or "",
            "groups": "\n".join(one.groups or ()),
            "colleague_from": ways.new_colleague(one.role or PersonRole.USER).get("colleague_from"),
        }
        for one in wanted
    )
    return people.gathered(ways.firm.id, rows, ways.now)


def change(
    connection: Connection,
    ways: Ways,
    person_id: int,
    wanted: PersonWish,
    *,
    quiet: bool = False,
) -> KnownPerson:
    """Change what differs; tell the person. quiet: tell nobody. → as it is now

    Raises ApiError: 403 for one's own role; 404; 409 for what a directory keeps, a login that is
    taken, and the last administrator; 422.
    """
    wanted = wanted.checked()
    if wanted.disabled or wanted.role not in (None, PersonRole.ADMINISTRATOR):
        administrators_first(connection, ways, [person_id])
    person = people.get(connection, ways.firm.id, person_id, lock=True)
    must_be_ours(ways, person, wanted)
    if ways.is_own(person) and (
        wanted.role not in (None, person.role) or wanted.disabled not in (None, person.disabled)
    ):
        raise own_account()
    if not wanted.differs(person):
        return person
    role = person.role if wanted.role is None else wanted.role
    disabled = person.disabled if wanted.disabled is None else wanted.disabled
    if role is not PersonRole.ADMINISTRATOR or disabled:
        must_leave_an_administrator(connection, ways, [person])
    people.change(connection, ways.firm.id, person.id, **_columns(connection, ways, person, wanted))
    if disabled and not person.disabled:
        sessions.end_all(connection, person.id)
    if role is not person.role:
        recovery.void_help(connection, person.id)
    after = people.get(connection, ways.firm.id, person.id)
    entries = in_entries(changes(person, after))
    acts = [ways.act("person-changed", after.login, **entry) for entry in entries]
    if after.email != person.email and inviting.forget_mailed(connection, person.id):
        acts.append(ways.act("invitation-withdrawn", after.login))
    record(connection, ways.ring, acts)
    if not quiet:
        _tell_of_changes(connection, ways, person, after)
    if raised(person.role, after.role):
        tell_of_staff(connection, ways, after)
    return after


def administrators_first(connection: Connection, ways: Ways, numbers: Sequence[int]) -> None:
    """Where one of these people is an administrator who may be lost, all administrators are locked
    before anybody else is: two who bar each other do not wait for one another then. Raises
    RightsTakenError."""
    query = select(PersonRow.id).where(
        PersonRow.firm_id == ways.firm.id,
        PersonRow.id.in_(numbers),
        PersonRow.role == PersonRole.ADMINISTRATOR.value,
    )
    if connection.scalar(query.limit(1)) is not None:
        _lock_administrators(connection, ways)


def raised(before: PersonRole, after: PersonRole) -> bool:
    """Whether the one role has rights that the other has not."""
    return not covers(before, other=after)


def _columns(
    connection: Connection, ways: Ways, person: KnownPerson, wanted: PersonWish
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if wanted.login not in (None, person.login):
        assert wanted.login is not None
        known = people.find(connection, ways.firm.id, wanted.login)
        if known is not None and known.id != person.id:
            raise login_taken(wanted.login)
        columns |= {"login": wanted.login, "login_key": canonical(wanted.login)}
    if wanted.name is not None:
        columns["full_name"] = wanted.name
    if wanted.email is not None and wanted.email != (person.email or ""):
        # Whoever of the staff changes it vouches for it; who saves the rest does not.
        columns |= {"email": wanted.email or None, "email_verified": int(bool(wanted.email))}
    if wanted.groups is not None:
        columns["groups"] = "\n".join(wanted.groups)
    if wanted.role is not None:
        columns["role"] = wanted.role.value
        if raised(person.role, wanted.role):
            columns |= ways.new_colleague(wanted.role)
    if wanted.disabled is not None and wanted.disabled != person.disabled:
        columns |= {"disabled_at": int(ways.now) if wanted.disabled else None, "left_at": None}
    return columns or {"full_name": person.full_name}


def changes(old: KnownPerson, new: KnownPerson) -> dict[str, str]:
    """For the audit log: addresses only so far that people recognise them."""

    def facts(person: KnownPerson) -> dict[str, Any]:
        return {
            "login": person.login,
            "name": person.full_name or None,
            "role": person.role.value,
            "groups": person.groups,
            "email": masked(person.email),
            "disabled": person.disabled,
        }

    said = changed(facts(old), facts(new))
    if old.email != new.email:
        said["email"] = f"{masked(old.email)} → {masked(new.email)}"
    return said


def must_be_ours(ways: Ways, person: KnownPerson, wanted: PersonWish) -> None:
    """Raises ApiError (409) for what another keeps. A role is, where policy names groups for it."""
    if person.source is ways.by or not person.source:
        return
    by_groups = bool(ways.firm.policy.group_roles)
    ours = replace(wanted, role=wanted.role if by_groups else None)
    if ours.differs(person):
        raise kept_elsewhere(person)


def kept_elsewhere(person: KnownPerson) -> ApiError:
    return ApiError(
        409,
        "kept-by-directory",
        worded(
            "The firm's directory ({kind}) keeps what is said of {login}.",
            kind=person.source.value.upper(),
            login=person.login,
        ),
        kept=NOTHING_CHANGED,
        todo="Change it in the directory, or have an administrator of this server take the person "
        "out of its keeping.",
    )


def must_leave_an_administrator(
    connection: Connection, ways: Ways, losing: Sequence[KnownPerson]
) -> None:
    """Raises ApiError (409) where a firm would have nobody left who can change anything;
    RightsTakenError."""
    if not any(one.role is PersonRole.ADMINISTRATOR and not one.disabled for one in losing):
        return
    # Locked, all of them: two of whom each takes the other's rights away cannot both be first.
    if _lock_administrators(connection, ways) - {one.id for one in losing}:
        return
    names = ", ".join(one.login for one in losing if one.role is PersonRole.ADMINISTRATOR)
    raise ApiError(
        409,
        "last-administrator",
        worded("{names} is the last administrator of this firm.", names=names),
        kept=NOTHING_CHANGED,
        todo="Make somebody else an administrator first.",
    )


def _lock_administrators(connection: Connection, ways: Ways) -> set[int]:
    """→ those who are not barred. Raises RightsTakenError where one of them acts, and is none any
    more when it is his turn: of two who take each other's rights, one does."""
    active = select(PersonRow.id).where(
        PersonRow.firm_id == ways.firm.id,
        PersonRow.role == PersonRole.ADMINISTRATOR.value,
        PersonRow.disabled_at.is_(None),
    )
    found = set(connection.scalars(active.order_by(PersonRow.id).with_for_update()))
    caller = ways.caller
    acts = caller.person_role is PersonRole.ADMINISTRATOR
    if acts and caller.id not in {f"person:{number}" for number in found}:
        raise RightsTakenError
    return found


def own_account() -> ApiError:
    return ApiError(
        403,
        "own-account",
        "Nobody changes his own role, or disables himself.",
        kept=NOTHING_CHANGED,
        todo="Ask another administrator.",
    )


def login_taken(login: str) -> ApiError:
    return ApiError(
        409,
        "duplicate-login",
        worded("{login!r} is known already.", login=login),
        kept=NOTHING_CHANGED,
        todo="Choose another login name.",
    )


def _tell_of_changes(
    connection: Connection, ways: Ways, old: KnownPerson, new: KnownPerson
) -> None:
    """A notice for each change, to the address before and the one after."""
    tell = teller(connection, ways)
    for so, words in (
        (old.role is not new.role, worded("your role was changed to {role}", role=new.role)),
        (old.login != new.login, worded("your login name was changed to {login}", login=new.login)),
        (old.email != new.email, worded("the address for such notices was changed")),
        (new.disabled and not old.disabled, worded("you were barred from signing in")),
        (old.disabled and not new.disabled, worded("you may sign in again")),
    ):
        if so:
            tell(new, words)
            if old.email and old.email != new.email:
                tell(replace(new, email=old.email), words)


def tell_of_staff(connection: Connection, ways: Ways, new: KnownPerson) -> None:
    """To all administrators: whoever has such a role may soon decide with one of them."""
    actor = ways.caller.name
    what = worded(
        "{actor} gave {login} the role {role}", actor=actor, login=new.login, role=new.role
    )
    if new.role is PersonRole.ADMINISTRATOR:
        what = worded("{actor} made {login} an administrator", actor=actor, login=new.login)
    to_administrators(connection, ways.ring, firm=ways.firm, what=what, now=ways.now, but=new.id)


def teller(connection: Connection, ways: Ways) -> Callable[[KnownPerson, Worded], None]:
    def tell(person: KnownPerson, what: Worded) -> None:
        notify(
            connection,
            ways.ring,
            firm=ways.firm.name,
            policy=ways.firm.policy,
            person=person,
            what=what,
            now=ways.now,
        )

    return tell


def _bad(field: str, what: str, todo: str = worded("Correct it and send it again.")) -> ApiError:
    return ApiError(422, f"bad-{field}", what, kept=NOTHING_CHANGED, todo=todo)
