"""`tally server firm`, `person` and `oidc`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.groups import Group
from tallystick.server.operating.commands import people_lists
from tallystick.server.operating.commands.options import db_option, firm_option, key_option, table
from tallystick.server.settings import settings_from


@click.group(cls=Group)
def firm() -> None:
    """Firms that share this server."""


@firm.command("add")
@click.argument("name")
@db_option
@key_option
@json_option
def firm_add(name: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Make a firm, with the default policy."""
    from tallystick.server.accounts import firms
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        firm_id = firms.add(connection, parts.ring, name, now=moments.now(), actor="console")
    if as_json:
        print_json({"id": firm_id, "name": name})
    else:
        out().print(f"Firm {name} is made; people sign in at /p/{name}/", markup=False)


@firm.command("list")
@db_option
@key_option
@json_option
def firm_list(db: str | None, key_file: Path | None, as_json: bool) -> None:
    """The firms."""
    from tallystick.server.accounts import firms
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        known = firms.list_all(connection)
    if as_json:
        print_json([{"id": one.id, "name": one.name} for one in known])
    else:
        table(["id", "name"], [[str(one.id), one.name] for one in known])


@firm.command("policy")
@click.argument("name")
@click.option(
    "--set", "file", type=click.File("r"), help="Put the policy of this JSON file (or -) in force."
)
@db_option
@key_option
def firm_policy(name: str, file: Any, db: str | None, key_file: Path | None) -> None:
    """Print a firm's policy as JSON, or put another in force."""
    from tallystick.server.accounts import firms
    from tallystick.server.messages import notices
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = firms.by_name(connection, name)
        if file is not None:
            policy = firms.policy_from(file.read())
            firms.set_policy(
                connection, parts.ring, known.id, policy, now=moments.now(), actor="console"
            )
            notices.policy_changed(
                connection, parts.ring, firm=known, policy=policy, by="the console",
                now=moments.now(),
            )  # fmt: skip
        else:
            policy = known.policy
    click.echo(policy.model_dump_json(indent=2))


@firm.command("face")
@click.argument("name")
@click.option("--called", help="What people call the firm.")
@click.option("--colour", help='As #0b5cad; "" for the colour of the software.')
@click.option("--contact", help="Where people find help.")
@click.option(
    "--logo",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A PNG or JPEG of at most a million bytes.",
)
@click.option("--no-logo", is_flag=True, help="Take the logo down.")
@db_option
@key_option
@json_option
def firm_face(
    name: str,
    called: str | None,
    colour: str | None,
    contact: str | None,
    logo: Path | None,
    no_logo: bool,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Show or change what pages and mails show of a firm: name, colour, help desk and logo."""
    from tallystick.server.accounts import faces, firms
    from tallystick.server.store.opened import opened

    drawn = faces.read_logo(logo.read_bytes()) if logo is not None else None
    now = moments.now()
    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = faces.change(
            connection, parts.ring, firms.by_name(connection, name), now=now, actor="console",
            name=called, colour=colour, contact=contact,
        )  # fmt: skip
        if drawn is not None or no_logo:
            faces.set_logo(connection, parts.ring, known.id, drawn, now=now, actor="console")
        face = faces.of(connection, known)
    used = face.accents
    if as_json:
        print_json(
            {
                "name": face.name, "colour": face.colour, "contact": face.contact,
                "on_light": used.light if used else "", "on_dark": used.dark if used else "",
                "logo": [face.logo.width, face.logo.height] if face.logo else None,
            }
        )  # fmt: skip
        return
    size = f"{face.logo.width} × {face.logo.height} pixels" if face.logo else "none"
    rows = {"name": face.name, "colour": face.colour or "the software's", "logo": size}
    table(["", ""], [[key, value] for key, value in (rows | {"help": face.contact}).items()])
    if face.adapted:
        out().print(face.adapted, markup=False)


@click.group(cls=Group)
def person() -> None:
    """People who sign in to the portal."""


for command in people_lists.COMMANDS:
    person.add_command(command)


@person.command("add")
@click.argument("login")
@firm_option("The person's firm.")
@click.option(
    "--role",
    type=click.Choice(["user", "support", "administrator", "auditor"]),
    default="user",
    show_default=True,
    help="What the person may do.",
)
@click.option("--email", help="For notices of changes in the account.")
@db_option
@key_option
@json_option
def person_add(
    *,
    login: str,
    firm_name: str,
    role: str,
    email: str | None,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Make a person. Prints a code, good for a day, to set the first password with."""
    from tallystick.server.accounts import firms, people
    from tallystick.server.accounts.policy import PersonRole
    from tallystick.server.signing_in import recovery
    from tallystick.server.store.audit import Act, record
    from tallystick.server.store.opened import opened

    now = moments.now()
    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = firms.by_name(connection, firm_name)
        people.add(
            connection,
            firm_id=known.id,
            login=login,
            role=PersonRole(role),
            email=email,
            now=now,
        )
        act = Act(int(now * 1000), known.id, "console", "person-added", login, {"role": role})
        record(connection, parts.ring, [act])
        made = people.by_login(connection, known.id, login)
        code = recovery.console_help(parts, connection, made, now)
    _show_code(firm_name, login, code, as_json=as_json)


@person.command("code")
@click.argument("login")
@firm_option("The person's firm.")
@click.option(
    "--void",
    "voids",
    multiple=True,
    type=click.Choice(["card", "totp", "sms", "email", "webauthn", "codes"]),
    help="What is lost: void once the code was used; again for another.",
)
@db_option
@key_option
@json_option
def person_code(
    *,
    login: str,
    firm_name: str,
    voids: tuple[str, ...],
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Print a code for someone who cannot sign in, good for a day.

    What is not named as lost is asked for as before. Where nothing is left, the code leads to one
    session that can only enrol.
    """
    from tallystick.server.accounts import firms, people
    from tallystick.server.signing_in import recovery
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = people.meant(connection, firms.by_name(connection, firm_name).id, login)
        named = [(kind, "*") for kind in voids]
        code = recovery.console_help(parts, connection, known, moments.now(), named)
    _show_code(firm_name, login, code, as_json=as_json)


def _show_code(firm_name: str, login: str, code: str, *, as_json: bool) -> None:
    path = f"/p/{firm_name}/recover/help"
    if as_json:
        print_json({"login": login, "firm": firm_name, "code": code, "path": path})
        return
    out().print(f"code  {code}", markup=False)
    err().print(f"[dim]{login} sets a password with it at {path}, within a day.[/]")


@person.command("set")
@click.argument("login")
@firm_option("The person's firm.")
@click.option("--name", help="The full name, for services.")
@click.option("--group", "groups", multiple=True, help="A group, for services; again for another.")
@click.option("--no-groups", is_flag=True, help="The person is in no group.")
@click.option("--email", help="The address; services are told that the firm vouches for it.")
@click.option(
    "--kept-by",
    type=click.Choice(["here", "scim", "ldap"]),
    help="Who says all this: the server, or the firm's directory, by SCIM or LDAP.",
)
@db_option
@key_option
def person_set(
    *,
    login: str,
    firm_name: str,
    name: str | None,
    groups: tuple[str, ...],
    no_groups: bool,
    email: str | None,
    kept_by: str | None,
    db: str | None,
    key_file: Path | None,
) -> None:
    """Change what services are told of a person: name, groups, address."""
    from tallystick.server.accounts import people
    from tallystick.server.accounts.people import Keeper
    from tallystick.server.joining import keeping, merging
    from tallystick.server.joining.keeping import PersonWish

    if no_groups:
        groups = ()
    wanted = PersonWish(name=name, groups=groups if groups or no_groups else None, email=email)
    if wanted == PersonWish() and kept_by is None:
        raise click.UsageError("Say what to change: --name, --group, --no-groups or --email.")
    with (
        people_lists.ways_at_console(firm_name, db, key_file) as (parts, ways),
        parts.database.write() as connection,
    ):
        known = people.meant(connection, ways.firm.id, login)
        if kept_by is not None:
            to = Keeper("" if kept_by == "here" else kept_by)
            merging.release(connection, ways, known, to)
        keeping.change(connection, ways, known.id, wanted)
    out().print(f"{known.login} is changed", markup=False)
