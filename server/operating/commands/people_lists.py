"""`tally server person import`, `export`, `list`, `leave`, `delete`, `merge`: many, or for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.server.operating.commands.options import db_option, firm_option, key_option, table
from tallystick.server.settings import settings_from

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tallystick.server.accounts.people import KnownPerson
    from tallystick.server.errors import ApiError
    from tallystick.server.joining.bulk import Planned
    from tallystick.server.joining.keeping import Ways
    from tallystick.server.store.opened import Opened

SHOWN = 20


@contextmanager
def ways_at_console(
    firm_name: str, db: str | None, key_file: Path | None
) -> Iterator[tuple[Opened, Ways]]:
    """As whoever could write the database anyway. Raises ApiError (404)."""
    from tallystick.server.accounts import firms
    from tallystick.server.accounts.credentials import Caller, Role
    from tallystick.server.joining.keeping import Ways
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts:
        with parts.database.read() as connection:
            firm = firms.by_name(connection, firm_name)
        caller = Caller("console", firm.id, Role.ADMIN, "console", "")
        yield parts, Ways(parts.ring, firm, caller, time.time())


@click.command("import")
@click.argument("file", type=click.File("rb"))
@firm_option("The firm whose people they are.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--complete", is_flag=True, help="The list has everybody: other users leave.")
@click.option(
    "--leavers-at-most",
    default=10,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Refuse a list by which more leave, in per cent: it may be cut off.",
)
@db_option
@key_option
@json_option
def person_import(
    *,
    file: BinaryIO,
    firm_name: str,
    dry_run: bool,
    complete: bool,
    leavers_at_most: int,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Add, change and bar people as a CSV file says: all of it, or nothing.

    The file has a line of headings: login, and name, email, role, groups, active as far as it
    wants. An empty cell leaves what is known, - takes it away. Whoever is not active leaves, and
    loses everything at once. Every line that is wrong is told.
    """
    from tallystick.server.errors import ApiError
    from tallystick.server.joining import bulk, people_files

    wish = bulk.ImportWish(dry_run, complete, leavers_at_most)
    content = file.read(people_files.MAX_BYTES + 1)
    with ways_at_console(firm_name, db, key_file) as (parts, ways):
        try:
            planned = bulk.take_in(parts.database, ways, people_files.read(content), wish)
        except ApiError as error:
            _show_lines(error, as_json=as_json)
            raise
    if as_json:
        print_json(vars(planned) | {"dry_run": dry_run})
        return
    show_plan(planned, dry_run=dry_run)


def _show_lines(error: ApiError, *, as_json: bool) -> None:
    if as_json or not error.entries:
        return
    table(
        ["line", "login", "what is wrong", "what to do"],
        [[str(one.number or ""), one.serial or "", one.what, one.todo] for one in error.entries],
    )


def show_plan(planned: Planned, *, dry_run: bool) -> None:
    rows = [[login, "leaves: loses everything"] for login in planned.left]
    for login, changes in planned.changed.items():
        rows.append([login, "; ".join(f"{name}: {change}" for name, change in changes.items())])
    rows += [[login, "is added"] for login in planned.added]
    if rows:
        table(["login", "what"], rows[:SHOWN])
    if len(rows) > SHOWN:
        out().print(f"… and {len(rows) - SHOWN} more (--json has all)", markup=False)
    out().print(
        f"{len(planned.added)} added, {len(planned.changed)} changed, {len(planned.left)} left, "
        f"{planned.unchanged} as before",
        markup=False,
    )
    if dry_run:
        err().print("[dim]A dry run: nothing was done. Leave --dry-run away to do it.[/]")


@click.command("export")
@firm_option("The firm whose people they are.")
@db_option
@key_option
def person_export(*, firm_name: str, db: str | None, key_file: Path | None) -> None:
    """Print everybody of a firm as CSV, as `import` takes it."""
    from tallystick.server.joining import people_files
    from tallystick.server.store.audit import record

    with (
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.write() as connection,
    ):
        text = "".join(people_files.written(connection, ways.firm.id))
        act = ways.act("people-exported", "people", people=text.count("\n") - 1)
        record(connection, parts.ring, [act])
    click.echo(text, nl=False)


@click.command("list")
@click.argument("text", default="")
@firm_option("The firm whose people they are.")
@db_option
@key_option
@json_option
def person_list(
    *, text: str, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """People whose login, name or address contains TEXT; everybody without it."""
    from tallystick.server.accounts import people

    with (
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.read() as connection,
    ):
        found = people.search(connection, ways.firm.id, text, limit=None)
    if as_json:
        print_json([_facts(one) for one in found])
        return
    table(
        ["login", "name", "e-mail", "role", "state"],
        [[one.login, one.full_name, one.email or "", one.role.value, _state(one)] for one in found],
    )


def _facts(person: KnownPerson) -> dict[str, Any]:
    return {
        "login": person.login,
        "name": person.full_name,
        "email": person.email,
        "role": person.role.value,
        "groups": list(person.groups),
        "kept_by": person.source.value,
        "state": _state(person),
    }


def _state(person: KnownPerson) -> str:
    if person.disabled:
        return "disabled"
    if not person.has_password and not person.source:
        return "no password yet"
    return "active" if person.enrolled else "no second factor yet"


@click.command("leave")
@click.argument("login")
@firm_option("The person's firm.")
@db_option
@key_option
def person_leave(*, login: str, firm_name: str, db: str | None, key_file: Path | None) -> None:
    """Take everything away from somebody who leaves; the account stays, barred.

    Password, ways to sign in, sessions, remembered browsers and what services were let do end at
    once. Cards verify nothing until a desk has them back.
    """
    from tallystick.server.joining import leaving

    def work(connection: Connection, ways: Ways, person: KnownPerson) -> None:
        leaving.leave(connection, ways, [person])

    _with_one(login, firm_name, db, key_file, work)
    out().print(f"{login} has left: nothing is good any more", markup=False)


@click.command("delete")
@click.argument("login")
@firm_option("The person's firm.")
@db_option
@key_option
def person_delete(*, login: str, firm_name: str, db: str | None, key_file: Path | None) -> None:
    """As `leave`, and the account goes. The audit log keeps the login, and what was done."""
    from tallystick.server.joining import leaving

    _with_one(login, firm_name, db, key_file, leaving.remove)
    out().print(f"{login} is deleted", markup=False)


@click.command("merge")
@click.argument("stays")
@click.argument("goes")
@firm_option("The firm of both.")
@db_option
@key_option
def person_merge(
    *, stays: str, goes: str, firm_name: str, db: str | None, key_file: Path | None
) -> None:
    """Make one account of two: cards, loans and groups of GOES come to STAYS, and GOES is deleted.

    Ways to sign in that GOES enrolled go with it.
    """
    from tallystick.server.accounts import people
    from tallystick.server.joining import merging

    def work(connection: Connection, ways: Ways, person: KnownPerson) -> None:
        merging.merge(connection, ways, person, people.meant(connection, ways.firm.id, goes))

    _with_one(stays, firm_name, db, key_file, work)
    out().print(f"{goes} is merged into {stays}", markup=False)


def _with_one(login: str, firm_name: str, db: str | None, key_file: Path | None, work: Any) -> None:
    from tallystick.server.accounts import people

    with (
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.write() as connection,
    ):
        work(connection, ways, people.meant(connection, ways.firm.id, login))


COMMANDS = (person_import, person_export, person_list, person_leave, person_delete, person_merge)
