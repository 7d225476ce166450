"""Many people at once: what a file says is planned as a whole first, and done as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from tallystick.server.accounts import people
from tallystick.server.accounts.people import KnownPerson, canonical
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError, EntryProblem
from tallystick.server.joining import keeping, leaving
from tallystick.server.joining.keeping import DryRunError, PersonWish, Ways
from tallystick.server.joining.people_files import NOBODY, PeopleFile, PersonLine, problem
from tallystick.server.store.audit import record
from tallystick.server.store.database import Database
from tallystick.server.wording.worded import counted, worded

MOST_TOLD = 1000  # problems in one answer
FEW = 5  # so many may always go


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
    """What is done, or would be. changed: with what differs."""

    added: list[str] = field(default_factory=list)
    changed: dict[str, dict[str, str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    unchanged: int = 0


def take_in(database: Database, ways: Ways, people_file: PeopleFile, wish: ImportWish) -> Planned:
    """All of it, or nothing. Raises ApiError: 422 with every line that is wrong; 409 where too many
    would leave, or the last administrator."""
    done: list[Planned] = []
    try:
        with database.write() as connection:
            planned = _take_in(connection, ways, people_file, wish)
            done.append(planned)
            if wish.dry_run:
                raise DryRunError
            counts: dict[str, str | int] = {
                "added": len(planned.added),
                "changed": len(planned.changed),
                "left": len(planned.left),
                "unchanged": planned.unchanged,
            }
            record(connection, ways.ring, [ways.act("people-imported", "people", **counts)])
    except DryRunError:
        pass
    return done[0]


def _take_in(
    connection: Connection, ways: Ways, people_file: PeopleFile, wish: ImportWish
) -> Planned:
    known = {canonical(one.login): one for one in people.everybody(connection, ways.firm.id)}
    problems = list(people_file.problems)
    planned = Planned()
    unchanged = 0
    leavers: list[tuple[int, KnownPerson]] = []
    for line in people_file.lines:
        person = known.get(canonical(line.login))
        try:
            if line.left:
                if person is not None and not _has_left(person):
                    _may_leave(ways, person)
                    leavers.append((line.number, person))
                else:
                    unchanged += 1
            elif person is None:
                with connection.begin_nested():  # somebody else may have added it just now
                    keeping.add(connection, ways, line.wanted)
                planned.added.append(line.login)
            else:
                changes = _change(connection, ways, line, person)
                if changes:
                    planned.changed[person.login] = changes
                else:
                    unchanged += 1
        except ApiError as error:
            problems.append(problem(line.number, line.login, error))
    if wish.complete:
        named = {canonical(line.login) for line in people_file.lines}
        leavers += [
            (0, person)
            for key, person in known.items()
            if key not in named
            and not person.disabled
            and not person.source
            and person.role is PersonRole.USER
            and not ways.is_own(person)
        ]
    if problems:
        raise refused(problems)
    gone = [person for _, person in leavers]
    must_not_be_many(gone, list(known.values()), wish.leavers_at_most)
    leaving.leave(connection, ways, gone)
    planned.left.extend(person.login for person in gone)
    return replace(planned, unchanged=unchanged)


def _has_left(person: KnownPerson) -> bool:
    return person.disabled and not person.has_password and not person.enrolled


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


def must_not_be_many(gone: list[KnownPerson], everybody: list[KnownPerson], percent: int) -> None:
    """Raises ApiError (409)."""
    active = sum(not one.disabled for one in everybody)
    if len(gone) <= max(FEW, active * percent // 100):
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


def refused(problems: list[EntryProblem]) -> ApiError:
    """One error that names every line."""
    problems = sorted(problems, key=lambda one: one.number)
    first = problems[0]
    left = len(problems) - 1
    more = counted(" {count} more line is wrong.", " {count} more lines are wrong.", left)
    return ApiError(
        422,
        "bad-people",
        worded(
            "Line {number}: {what}{more}",
            number=first.number,
            what=first.what,
            more=more if left else "",
        ),
        kept=NOBODY,
        todo="Correct the lines named, and send the file again.",
        entries=problems[:MOST_TOLD],
    )
