"""`tally server directory`: a firm's LDAP directory, read now and tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import db_option, firm_option, key_option, table
from tallystick.server.operating.commands.people_lists import show_plan, ways_at_console
from tallystick.server.settings import settings_from

if TYPE_CHECKING:
    from tallystick.server.directory.ldap_directory import LdapDirectory


@click.group(cls=Group)
def directory() -> None:
    """Firms' LDAP directories, which the file in TALLY_SERVER_DIRECTORIES names."""


@directory.command("read")
@firm_option("The firm whose directory is read.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@db_option
@key_option
@json_option
def directory_read(
    *, firm_name: str, dry_run: bool, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Take over what the directory says of people, as the server does again and again.

    Whoever the directory kept and has no more leaves, and loses everything at once.
    """
    from tallystick.server.joining import reading

    with ways_at_console(firm_name, db, key_file) as (parts, ways):
        taken = reading.read_one(
            parts.database,
            parts.ring,
            ways.firm,
            _of(firm_name, db, key_file),
            ways.now,
            dry_run=dry_run,
        )
    if as_json:
        print_json(vars(taken.planned) | {"left_alone": taken.left_alone, "dry_run": dry_run})
        return
    if taken.left_alone:
        table(["left alone", "why"], [[login, why] for login, why in taken.left_alone.items()])
    show_plan(taken.planned, dry_run=dry_run)


@directory.command("check")
@firm_option("The firm whose directory is tried.")
@db_option
@key_option
@json_option
def directory_check(
    *, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Ask the directory who is in it, and change nothing."""
    one = _of(firm_name, db, key_file)
    found = one.everybody()
    groups = sorted({group for entry in found for group in entry.groups})
    barred = sum(not entry.active for entry in found)
    if as_json:
        print_json({"people": len(found), "barred": barred, "groups": groups})
        return
    out().print(
        f"{one.settings.url} answers: {len(found)} people, {barred} of them barred, in "
        f"{len(groups)} groups",
        markup=False,
    )


def _of(firm_name: str, db: str | None, key_file: Path | None) -> LdapDirectory:
    from tallystick.server.state import directories_of

    found = directories_of(settings_from(db, key_file)).get(firm_name)
    if found is None:
        raise BadInputError(
            f"No directory is named for the firm {firm_name!r}.",
            todo="Name it in the file of TALLY_SERVER_DIRECTORIES (docs/reference/people.md).",
        )
    return found
