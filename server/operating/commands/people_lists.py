"""`tally server person import`, `export`, `list`, `leave`, `delete`, `merge`: many, or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json, progress
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
        yield parts, Ways(parts.ring, firm, caller, moments.now())


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
    from tallystick.server.operating.sending import DOING
    from tallystick.server.store.sealed_file import PIECE, SealedFile

    wish = bulk.ImportWish(dry_run, complete, leavers_at_most)
    content = SealedFile()
    while piece := file.read(PIECE):
        content.write(piece)
    with (
        content,
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        progress(disable=as_json) as bar,
    ):
        task = bar.add_task("reading", total=None)

        def tell(doing: str, done: int, of: int) -> None:
            bar.update(task, description=DOING[doing], completed=done, total=of or None)

        try:
            read = people_files.read(content, tell)
            planned = bulk.take_in(parts.database, ways, read, wish, tell)
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
    rows = [[login, "leaves: loses everything"] for login in planned.left[:SHOWN]]
    for login, changes in planned.changed.items():
        rows.append([login, "; ".join(f"{name}: {change}" for name, change in changes.items())])
    rows += [[login, "is added"] for login in planned.added]
    if rows:
        table(["login", "what"], rows[:SHOWN])
    every = planned.added_count + planned.changed_count + planned.left_count
    if every > SHOWN:
        out().print(f"… and {every - SHOWN} more (--json has them)", markup=False)
    out().print(
        f"{planned.added_count} added, {planned.changed_count} changed, {planned.left_count} left, "
        f"{planned.unchanged} as before",
        markup=False,
    )
    if planned.unread:
        err().print(
            f"Not read, as no column of this list has such a name, or an earlier one has the same "
            f"meaning: {', '.join(planned.unread)}.",
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
    from tallystick.server.accounts import people
    from tallystick.server.joining import people_files
    from tallystick.server.store.audit import record

    with ways_at_console(firm_name, db, key_file) as (parts, ways):
        with parts.database.write() as connection:
            many = people.count(connection, ways.firm.id)
            act = ways.act("people-exported", "people", people=many)
            record(connection, parts.ring, [act])
        for piece in people_files.written(parts.database, ways.firm.id):
            click.echo(piece, nl=False)


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


@click.command("invite")
@click.argument("logins", nargs=-1)
@firm_option("The firm whose people they are.")
@click.option(
    "--all", "everybody", is_flag=True, help="Everybody with an address, not invited yet."
)
@click.option("--letter", is_flag=True, help="Print a code for a letter, and send no mail.")
@click.option("--withdraw", "takes_back", is_flag=True, help="Take the invitation back.")
@db_option
@key_option
@json_option
def person_invite(
    *,
    logins: tuple[str, ...],
    firm_name: str,
    everybody: bool,
    letter: bool,
    takes_back: bool,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Invite people who have had no password yet: a link by mail, or a code for a letter.

    Either is good once, and for as many days as policy says. A running server sends the mails;
    TALLY_SERVER_PUBLIC_URL has to say where people find it.
    """
    from tallystick.common.errors import BadInputError
    from tallystick.server.accounts import people
    from tallystick.server.signing_in import inviting

    if bool(logins) == everybody:
        raise click.UsageError("Name whom to invite, or give --all.")
    url = settings_from(db, key_file).public_url
    if not (url or letter or takes_back):
        raise BadInputError(
            "TALLY_SERVER_PUBLIC_URL is not set, so that a mail could lead nowhere.",
            kept="Nobody was invited.",
            todo="Set it to where browsers find the server, or give --letter.",
        )
    codes: dict[str, str] = {}
    done = 0
    with (
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.write() as connection,
    ):
        if everybody:
            invited = {one.person_id for one in inviting.listed(connection, ways.firm.id, ways.now)}
            chosen = [
                one
                for one in people.everybody(connection, ways.firm.id)
                if inviting.may_be_invited(ways.firm, one)
                and (takes_back == (one.id in invited))
                and (letter or takes_back or one.email)
            ]
        else:
            chosen = [people.meant(connection, ways.firm.id, login) for login in logins]
        for person in chosen:
            done += 1
            more: dict[str, Any] = {"actor": "console", "now": ways.now}
            if takes_back:
                inviting.withdraw(parts, connection, ways.firm, person, **more)
            elif letter:
                made = inviting.print_letter(parts, connection, ways.firm, person, **more)
                codes[person.login] = made.code
            else:
                inviting.invite(parts, connection, ways.firm, person, public_url=url, **more)
    if as_json:
        print_json({"done": done, "codes": codes, "path": f"/p/{firm_name}/recover/help"})
        return
    if codes:
        table(["login", "code"], [[login, code] for login, code in codes.items()])
        err().print(f"[dim]Each is good once, at /p/{firm_name}/recover/help[/]")
    out().print(f"{done} {'withdrawn' if takes_back else 'invited'}", markup=False)


@click.command("behind")
@firm_option("The firm whose people they are.")
@db_option
@key_option
@json_option
def person_behind(*, firm_name: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Print who has no second factor, as CSV."""
    from tallystick.server.joining import reminding

    with (
        ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.read() as connection,
    ):
        found = reminding.behind(connection, ways.firm, ways.now)
        if as_json:
            print_json([vars(one) for one in found])
            return
        for line in reminding.as_table(found):
            click.echo(line, nl=False)


COMMANDS = (
    person_invite,
    person_behind,
    person_import,
    person_export,
    person_list,
    person_leave,
    person_delete,
    person_merge,
)
