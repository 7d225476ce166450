"""What a firm's LDAP directory says of people is taken over: at once, and again and again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tallystick.common.errors import TallyError
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import Keeper, KnownPerson, canonical
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.directory.ldap_directory import DirectoryEntry, LdapDirectory
from tallystick.server.errors import ApiError
from tallystick.server.joining import keeping, leaving
from tallystick.server.joining.bulk import Planned, must_not_be_many
from tallystick.server.joining.keeping import DryRunError, PersonWish, Ways
from tallystick.server.joining.reminding import remind_due
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.periodic import PeriodicThread
from tallystick.server.wording.worded import worded

EVERY_S = 30.0
ACTOR = "directory"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TakenOver:
    """planned: what was done, or would be. left_alone: login → why nothing was."""

    planned: Planned = field(default_factory=Planned)
    left_alone: dict[str, str] = field(default_factory=dict)


def take_over(
    database: Database,
    ring: ServerKeyRing,
    firm: KnownFirm,
    entries: list[DirectoryEntry],
    *,
    leavers_at_most: int,
    now: float,
    dry_run: bool = False,
) -> TakenOver:
    """One transaction. Whoever the directory kept and has no more, or bars, leaves. An entry that
    cannot be used is left alone, and named; its person does not leave for that.

    Raises ApiError (409) where too many would leave, or the last administrator: then nothing was
    done.
    """
    caller = Caller(ACTOR, firm.id, Role.SCIM, ACTOR, "")
    ways = Ways(ring, firm, caller, now, Keeper.LDAP)
    done: list[TakenOver] = []
    try:
        with database.write() as connection:
            done.append(_take_over(connection, ways, entries, leavers_at_most))
            if dry_run:
                raise DryRunError
    except DryRunError:
        pass
    return done[0]


def _take_over(
    connection: Connection, ways: Ways, entries: list[DirectoryEntry], percent: int
) -> TakenOver:
    everybody = people.everybody(connection, ways.firm.id)
    by_id = {one.external_id: one for one in everybody if one.source is Keeper.LDAP}
    by_login = {canonical(one.login): one for one in everybody}
    taken = TakenOver()
    seen: set[str] = set()
    gone: list[KnownPerson] = []
    unchanged = 0
    for entry in entries:
        try:
            if not entry.id or entry.id in seen:
                raise ApiError(409, "no-id", "The entry has no id, or that of another entry.")
            seen.add(entry.id)
            person = by_id.get(entry.id) or _adopted(connection, ways, entry, by_login)
            if not entry.active:
                unchanged += person is None or person.disabled
                if person is not None and not person.disabled:
                    gone.append(person)
                continue
            wanted = _wanted(ways, entry, person)
            if person is not None and not wanted.differs(person):
                unchanged += 1  # nearly everybody, each time: no statement is spent on them
                continue
            with connection.begin_nested():
                unchanged += not _come_or_change(
                    connection, ways, entry.id, wanted, person, taken.planned
                )
        except ApiError as error:
            taken.left_alone[entry.login or entry.id or "?"] = error.what
    gone += [one for key, one in by_id.items() if key not in seen and not one.disabled]
    must_not_be_many(gone, sum(not one.disabled for one in everybody), percent)
    leaving.leave(connection, ways, gone)
    taken.planned.left.extend(one.login for one in gone)
    planned = replace(
        taken.planned,
        unchanged=unchanged,
        added_count=len(taken.planned.added),
        changed_count=len(taken.planned.changed),
        left_count=len(taken.planned.left),
    )
    return replace(taken, planned=planned)


def _adopted(
    connection: Connection,
    ways: Ways,
    entry: DirectoryEntry,
    by_login: dict[str, KnownPerson],
) -> KnownPerson | None:
    """A user of that name whom nobody keeps is the directory's from now on. Staff is not: whoever
    writes the directory is not to become whoever runs this server. Raises ApiError (409)."""
    person = by_login.get(canonical(entry.login))
    if person is None:
        return None
    if person.source or person.role is not PersonRole.USER:
        keeper = person.source.value.upper() if person.source else worded("this server's staff")
        if person.source is Keeper.LDAP:
            keeper = worded("another entry of the directory")
        raise ApiError(
            409,
            "kept-elsewhere",
            worded("{login} is {keeper}, and not taken over.", login=person.login, keeper=keeper),
        )
    people.change(
        connection, ways.firm.id, person.id, source=Keeper.LDAP.value, external_id=entry.id
    )
    said = "here → ldap"
    record(connection, ways.ring, [ways.act("person-changed", person.login, kept=said)])
    # Another entry of that login finds the person taken.
    taken = replace(person, source=Keeper.LDAP, external_id=entry.id)
    by_login[canonical(entry.login)] = taken
    return taken


def _wanted(ways: Ways, entry: DirectoryEntry, person: KnownPerson | None) -> PersonWish:
    """Raises ApiError (422) for what cannot be kept."""
    groups = _kept(ways.firm.policy, entry.groups)
    wanted = PersonWish(entry.login, entry.name, entry.email, groups=groups).checked()
    if person is None:
        return wanted
    role = keeping.role_by_groups(ways.firm.policy, groups)
    return replace(wanted, role=role, disabled=False)


def _come_or_change(
    connection: Connection,
    ways: Ways,
    entry_id: str,
    wanted: PersonWish,
    person: KnownPerson | None,
    planned: Planned,
) -> bool:
    """→ whether anything is different now"""
    if person is None:
        made = keeping.add(connection, ways, wanted, external_id=entry_id)
        planned.added.append(made.login)
        return True
    after = keeping.change(connection, ways, person.id, wanted)
    changes = keeping.changes(person, after)
    if changes:
        planned.changed[person.login] = changes
    return bool(changes)


def _kept(policy: FirmPolicy, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Of more groups than are kept, those that give a role are not left out."""
    giving = {canonical(name) for name in policy.group_roles}
    first = sorted(groups, key=lambda name: canonical(name) not in giving)
    return tuple(sorted(first[: keeping.MOST_GROUPS]))


class Rounds:
    """Reads directories and reminds people when their time has come; of several workers one does,
    each time."""

    def __init__(self, state: ServerState, *, background: bool = True) -> None:
        self._state = state
        # A directory is read at once; the rest can wait until the server has started.
        first_s = 0.0 if state.directories else EVERY_S
        self._thread = PeriodicThread(
            "rounds", self._round, EVERY_S, first_s=first_s, background=background
        )

    def close(self) -> None:
        self._thread.close()

    def _round(self) -> None:
        for work in (read_due, remind_due):
            try:
                if work(self._state):
                    self._state.outbox.wake()
            except (DBAPIError, TallyError) as error:
                log.warning("%s was not done: %s", work.__name__, type(error).__name__)


def read_due(state: ServerState) -> dict[str, TakenOver]:
    """Read each directory whose time has come. → firm → what was done. One that does not answer
    changes nobody, and is said in the log."""
    done = {}
    for name, directory in state.directories.items():
        every_s = directory.settings.every_minutes * 60
        now = state.now()
        slot = int(now) // every_s
        bucket = f"directory-read|{name}|{slot}"[:120]
        if not state.database.run(
            lambda c, b=bucket, u=(slot + 2) * every_s: rates.once(c, b, until=u)  # type: ignore[misc]
        ):
            continue
        try:
            with state.database.read() as connection:
                firm = firms.by_name(connection, name)
            done[name] = read_one(state.database, state.ring, firm, directory, now)
        except (DBAPIError, TallyError) as error:
            what = error.what if isinstance(error, TallyError) else type(error).__name__
            log.warning("the directory of %s was not taken over: %s", name, what)
            _note_failure(state, name, what)
    return done


def read_one(
    database: Database,
    ring: ServerKeyRing,
    firm: KnownFirm,
    directory: LdapDirectory,
    now: float,
    *,
    dry_run: bool = False,
) -> TakenOver:
    """Raises UnreachableError, RefusedError (also ApiError): then nothing was done."""
    entries = directory.everybody()
    taken = take_over(
        database,
        ring,
        firm,
        entries,
        leavers_at_most=directory.settings.leavers_at_most,
        now=now,
        dry_run=dry_run,
    )
    for login, why in taken.left_alone.items():
        log.warning("the directory of %s: %r is left alone: %s", firm.name, login, why)
    return taken


def _note_failure(state: ServerState, name: str, what: str) -> None:
    """Once an hour: whoever looks for why a leaver is still here finds it."""

    def work(connection: Connection) -> None:
        firm = firms.by_name(connection, name)
        hour = int(state.now()) // 3600
        bucket = f"directory-failed|{firm.id}|{hour}"
        if rates.once(connection, bucket, until=(hour + 2) * 3600):
            detail = {"why": what[:300]}
            at_ms = int(state.now() * 1000)
            act = Act(at_ms, firm.id, ACTOR, "directory-not-read", name, detail)
            record(connection, state.ring, [act])

    try:
        state.database.run(work)
    except (DBAPIError, TallyError) as error:
        log.warning("that was not noted: %s", type(error).__name__)
