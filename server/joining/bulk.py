"""Many people at once: what a file says is planned as a whole first, and done as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from tallystick.server.accounts import credentials, people
from tallystick.server.accounts.people import KnownPerson, canonical
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.joining import keeping, leaving
from tallystick.server.joining.keeping import DryRunError, PersonWish, Ways
from tallystick.server.joining.people_files import (
    NOBODY,
    PeopleFile,
    PersonLine,
    Told,
    problem,
    refused,
)
from tallystick.server.store.audit import OwnChain, record
from tallystick.server.store.batches import batched
from tallystick.server.store.database import Database, is_in_the_way, patient
from tallystick.server.store.models import PersonRow
from tallystick.server.wording.worded import worded

FEW_LEAVE = 5  # so many may always go
FEW = 1000  # people: of more, the entries of the audit log are a chain of their own
MOST_NAMED = 50_000  # in one answer
MOST_TRIES = 5
ADDED, CHANGED, SAME = "added", "changed", "same"


@dataclass(frozen=True)
class ImportWish:
    """dry_run: nothing is kept. complete: the list has everybody, so who is not on it leaves (users
    that are kept here; staff has to be named). leavers_at_most: percent of those who are active: a
    list that was cut off is not taken for a firm that shrank."""

    dry_run: bool = False
    complete: bool = False
    leavers_at_most: int = 10


@dataclass(frozen=True)
class Planned:
    """What is done, or would be. changed: with what differs. Of each, the first MOST_NAMED; the
    counts are of all. unread: headings of the file that say nothing here."""

    added: list[str] = field(default_factory=list)
    changed: dict[str, dict[str, str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    unchanged: int = 0
    added_count: int = 0
    changed_count: int = 0
    left_count: int = 0
    unread: tuple[str, ...] = ()


def take_in(
    database: Database,
    ways: Ways,
    people_file: PeopleFile,
    wish: ImportWish,
    tell: Told = lambda *_: None,
) -> Planned:
    """All of it, or nothing. tell: may end it all by an exception. Raises ApiError: 422 with every
    line that is wrong; 409 where too many would leave, or the last administrator."""
    with patient():
        for _ in range(MOST_TRIES - 1):
            try:
                return _once(database, ways, people_file, wish, tell)
            except DBAPIError as error:  # somebody else adds one of them just now
                if not (isinstance(error, IntegrityError) or is_in_the_way(error)):
                    raise
        return _once(database, ways, people_file, wish, tell)


def _once(
    database: Database, ways: Ways, people_file: PeopleFile, wish: ImportWish, tell: Told
) -> Planned:
    """Whatever takes long is done before the transaction: others wait for that alone."""
    with database.read() as connection:
        leavers, unchanged = _look(connection, ways, people_file, wish, tell)
        must_not_be_many(leavers, _active(connection, ways.firm.id), wish.leavers_at_most)
    new = people_file.count(ADDED)
    chain = OwnChain(ways.ring, ways.act("person-added", ""))
    many = new > FEW
    if many and not wish.dry_run and not people_file.problems:
        people_file.link(ADDED, lambda line: chain.link(line.login, _said(line)))
    tell("done", 0, 0)
    come = keeping.gathered(ways, (line.wanted for line in people_file.that(ADDED)))
    linked = (
        (*chain.row(number, line.login, _said(line)), mac)
        for number, mac, line in people_file.linked()
    )
    entries = chain.gathered(linked)
    done: list[Planned] = []
    try:
        with database.write(come, entries) as connection:
            credentials.must_still_be(connection, ways.caller)
            changed, same = _change_all(connection, ways, people_file)
            people.insert_many(connection, come)
            _tell_of_staff(connection, ways)
            leaving.leave(connection, ways, leavers)
            planned = Planned(
                [line.login for line in islice(people_file.that(ADDED), MOST_NAMED)],
                dict(islice(changed.items(), MOST_NAMED)),
                [person.login for person in leavers[:MOST_NAMED]],
                unchanged + same,
                new,
                len(changed),
                len(leavers),
                people_file.unread,
            )
            done.append(planned)
            if wish.dry_run:
                raise DryRunError
            if many:
                chain.write(connection, entries)
            elif new:
                lines = people_file.that(ADDED)
                acts = [ways.act("person-added", line.login, **_said(line)) for line in lines]
                record(connection, ways.ring, acts)
            counts: dict[str, str | int] = {
                "added": new,
                "changed": len(changed),
                "left": len(leavers),
                "unchanged": planned.unchanged,
            }
            record(connection, ways.ring, [ways.act("people-imported", "people", **counts)])
    except DryRunError:
        pass
    return done[0]


def _tell_of_staff(connection: Connection, ways: Ways) -> None:
    """Of those who have just come."""
    new = (PersonRow.created_at == int(ways.now)) & (PersonRow.role != PersonRole.USER.value)
    for person in people.pages(connection, ways.firm.id, new):
        keeping.tell_of_staff(connection, ways, person)


def _said(line: PersonLine) -> dict[str, str]:
    return {"role": (line.wanted.role or PersonRole.USER).value}


def _look(
    connection: Connection, ways: Ways, people_file: PeopleFile, wish: ImportWish, tell: Told
) -> tuple[list[KnownPerson], int]:
    """Note what each line is to do. → who leaves, and of how many lines nothing comes"""
    leavers: list[KnownPerson] = []
    seen = unchanged = 0
    for lines in batched(people_file.lines):
        known = people.of_logins(connection, ways.firm.id, [line.login for line in lines])
        becomes: list[tuple[str, int]] = []
        for line in lines:
            person = known.get(canonical(line.login))
            what = SAME
            if line.left:
                if person is not None and not _has_left(person):
                    try:
                        _may_leave(ways, person)
                        leavers.append(person)
                    except ApiError as error:
                        people_file.complain(line.number, line.login, error)
            elif person is None:
                what = ADDED
            elif replace(line.wanted, login=_as_written(line.wanted, person)).differs(person):
                what = CHANGED
            unchanged += what == SAME
            becomes.append((what, line.number))
        people_file.become(becomes)
        seen += len(lines)
        tell("planned", seen, 0)
    unchanged -= len(leavers)
    if wish.complete:
        leavers += [
            person
            for person in people.pages(connection, ways.firm.id)
            if not person.disabled
            and not person.source
            and person.role is PersonRole.USER
            and not ways.is_own(person)
            and not people_file.names(person.login)
        ]
    return leavers, unchanged


def _change_all(
    connection: Connection, ways: Ways, people_file: PeopleFile
) -> tuple[dict[str, dict[str, str]], int]:
    """→ whom, with what differs; and how many are as they should be by now. Raises ApiError (422)
    with all that is wrong with the file."""
    changed: dict[str, dict[str, str]] = {}
    problems, same = list(people_file.problems), 0
    for line in people_file.that(CHANGED):
        try:
            person = people.meant(connection, ways.firm.id, line.login)
            changes = _change(connection, ways, line, person)
        except ApiError as error:
            problems.append(problem(line.number, line.login, error))
            continue
        if changes:
            changed[person.login] = changes
        else:
            same += 1
    if problems:
        raise refused(problems)
    return changed, same


def _active(connection: Connection, firm_id: int) -> int:
    query = select(func.count()).select_from(PersonRow)
    here = (PersonRow.firm_id == firm_id) & PersonRow.disabled_at.is_(None)
    return int(connection.scalar(query.where(here)) or 0)


def _has_left(person: KnownPerson) -> bool:
    return person.disabled and person.left


def _may_leave(ways: Ways, person: KnownPerson) -> None:
    if ways.is_own(person):
        raise keeping.own_account()
    if person.source is not ways.by and person.source:
        raise keeping.kept_elsewhere(person)


def _change(
    connection: Connection, ways: Ways, line: PersonLine, person: KnownPerson
) -> dict[str, str]:
    wanted = replace(line.wanted, login=_as_written(line.wanted, person))
    after = keeping.change(connection, ways, person.id, wanted)
    return keeping.changes(person, after)


def _as_written(wanted: PersonWish, person: KnownPerson) -> str | None:
    """A file that writes Ann where ann is known changes nothing."""
    return None if canonical(wanted.login or "") == canonical(person.login) else wanted.login


def must_not_be_many(gone: Sequence[KnownPerson], active: int, percent: int) -> None:
    """active: how many there are. Raises ApiError (409)."""
    if len(gone) <= max(FEW_LEAVE, active * percent // 100):
        return
    names = ", ".join(one.login for one in gone[:5])
    raise ApiError(
        409,
        "too-many-leave",
        worded(
            "{gone} of {active} people would leave at once: {names} and others.",
            gone=len(gone),
            active=active,
            names=names,
        ),
        kept=NOBODY,
        todo=worded(
            "See whether the list is whole. If it is, allow more than {percent} per cent.",
            percent=percent,
        ),
    )
