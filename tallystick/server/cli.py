"""`tally server`: run and manage the verification server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.server.settings import Settings, settings_from

db_option = click.option(
    "--db",
    metavar="URL",
    help="Database: sqlite:///FILE or postgresql+psycopg://… (default: $TALLY_SERVER_DB, "
    "else a file in your data folder).",
)
key_option = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The server's own keys (default: beside an SQLite database). Made at the first start.",
)


@click.group()
def server() -> None:
    """Run and manage the verification server."""


@server.command()
@db_option
@key_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="0 chooses a free port.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))
@json_option
def run(
    *, db: str | None, key_file: Path | None, host: str, port: int, workers: int, as_json: bool
) -> None:
    """Serve the API until interrupted. Prints the URL when it is ready to be used."""
    from tallystick.server.running import listen, serve, url_of

    settings = settings_from(db, key_file)
    sock = listen(host, port)
    sock.listen(128)
    url = url_of(sock)
    if as_json:
        print_json({"url": url, "db": _shown(settings), "key_file": str(settings.key_file)})
    else:
        out().print(url)
        err().print(f"[dim]database {_shown(settings)}, keys {settings.key_file}; Ctrl-C stops[/]")
    serve(settings, sock, workers=workers)


@server.group()
def credential() -> None:
    """Tokens of stations, services and administrators."""


@credential.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["station", "service", "admin"]), required=True)
@click.option("--firm", "firm_name", default="default", show_default=True)
@db_option
@key_option
@json_option
def credential_add(
    *, name: str, role: str, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Make a credential. Its token (and a station's pre-shared key) is shown this once."""
    from tallystick.server.running import add_credential

    made = add_credential(settings_from(db, key_file), role, name, firm=firm_name)
    shown = {"id": made.id, "role": made.role.value, "token": made.token.reveal().decode()}
    if made.psk is not None:
        shown["psk"] = made.psk.reveal().hex()
    if as_json:
        print_json(shown)
        return
    for label, value in shown.items():
        out().print(f"{label:>6}  {value}", markup=False)
    err().print("[dim]Keep the token now: it is not shown again.[/]")


@credential.command("list")
@db_option
@key_option
@json_option
def credential_list(db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Credentials, without their secrets."""
    from tallystick.server import credentials
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        rows = credentials.list_all(connection)
    if as_json:
        print_json(rows)
        return
    _table(
        ["id", "role", "name", "made", "revoked"],
        [
            [
                row["id"],
                row["role"],
                row["name"],
                _date(row["created_at"]),
                _date(row["revoked_at"]),
            ]
            for row in rows
        ],
    )


@credential.command("revoke")
@click.argument("credential_id", metavar="ID")
@db_option
@key_option
@json_option
def credential_revoke(
    credential_id: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Refuse a credential from now on."""
    from tallystick.server import credentials
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        credentials.revoke(connection, parts.ring, credential_id, now=time.time(), actor="console")
    if as_json:
        print_json({"id": credential_id, "revoked": True})
    else:
        out().print(f"{credential_id} is revoked")


@server.group()
def firm() -> None:
    """Firms that share this server."""


@firm.command("add")
@click.argument("name")
@db_option
@key_option
@json_option
def firm_add(name: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Make a firm, with the default policy."""
    from tallystick.server import firms
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        firm_id = firms.add(connection, parts.ring, name, now=time.time(), actor="console")
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
    from tallystick.server import firms
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        known = firms.list_all(connection)
    if as_json:
        print_json([{"id": one.id, "name": one.name} for one in known])
    else:
        _table(["id", "name"], [[str(one.id), one.name] for one in known])


@firm.command("policy")
@click.argument("name")
@click.option(
    "--set", "file", type=click.File("r"), help="Put the policy of this JSON file (or -) in force."
)
@db_option
@key_option
def firm_policy(name: str, file: Any, db: str | None, key_file: Path | None) -> None:
    """Print a firm's policy as JSON, or put another in force."""
    from tallystick.server import firms
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = firms.by_name(connection, name)
        if file is not None:
            policy = firms.policy_from(file.read())
            firms.set_policy(
                connection, parts.ring, known.id, policy, now=time.time(), actor="console"
            )
        else:
            policy = known.policy
    click.echo(policy.model_dump_json(indent=2))


@server.group()
def person() -> None:
    """People who sign in to the portal."""


@person.command("add")
@click.argument("login")
@click.option("--firm", "firm_name", default="default", show_default=True)
@click.option(
    "--role",
    type=click.Choice(["user", "support", "administrator", "auditor"]),
    default="user",
    show_default=True,
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
    from tallystick.server import firms, people, recovery
    from tallystick.server.audit import Act, record
    from tallystick.server.console import opened
    from tallystick.server.policy import PersonRole

    now = time.time()
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
@click.option("--firm", "firm_name", default="default", show_default=True)
@db_option
@key_option
@json_option
def person_code(
    *, login: str, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Print a code for someone who cannot sign in, good for a day."""
    from tallystick.server import firms, people, recovery
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        known = people.by_login(connection, firms.by_name(connection, firm_name).id, login)
        code = recovery.console_help(parts, connection, known, time.time())
    _show_code(firm_name, login, code, as_json=as_json)


def _show_code(firm_name: str, login: str, code: str, *, as_json: bool) -> None:
    path = f"/p/{firm_name}/recover/help"
    if as_json:
        print_json({"login": login, "firm": firm_name, "code": code, "path": path})
        return
    out().print(f"code  {code}", markup=False)
    err().print(f"[dim]{login} sets a password with it at {path}, within a day.[/]")


@server.group()
def oidc() -> None:
    """Services that log people in through OpenID Connect."""


@oidc.command("add")
@click.argument("name")
@click.option("--redirect-uri", "redirect_uris", multiple=True, required=True)
@click.option("--firm", "firm_name", default="default", show_default=True)
@db_option
@key_option
@json_option
def oidc_add(
    *,
    name: str,
    redirect_uris: tuple[str, ...],
    firm_name: str,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Register a service. Its secret is shown this once."""
    from tallystick.server import firms
    from tallystick.server import oidc as provider
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        client_id, secret = provider.add_client(
            connection,
            parts.ring,
            firm_id=firms.by_name(connection, firm_name).id,
            name=name,
            redirect_uris=list(redirect_uris),
            now=time.time(),
            actor="console",
        )
    path = f"/p/{firm_name}"
    if as_json:
        print_json({"client_id": client_id, "client_secret": secret, "issuer_path": path})
        return
    for label, value in (("client id", client_id), ("secret", secret), ("issuer", f"…{path}")):
        out().print(f"{label:>9}  {value}", markup=False)


@oidc.command("rotate")
@db_option
@key_option
def oidc_rotate(db: str | None, key_file: Path | None) -> None:
    """Sign with a new key; the old one stays published for a day."""
    from tallystick.server import oidc as provider
    from tallystick.server.console import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        key_id = provider.rotate(connection, parts.ring, now=time.time(), actor="console")
    out().print(f"{key_id} signs from now on", markup=False)


@server.command()
@click.option("--firm", "firm_name", default="default", show_default=True)
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="File with the secret shared with the clients (at least 16 characters).",
)
@click.option("--client", "clients", multiple=True, default=["127.0.0.1/32"], show_default=True)
@click.option("--mode", type=click.Choice(["challenge", "append"]), default="challenge")
@click.option("--code-digits", default=6, show_default=True, type=click.IntRange(6, 8))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=1812, show_default=True, help="0 chooses a free port.")
@db_option
@key_option
def radius(
    *,
    firm_name: str,
    secret_file: Path,
    clients: tuple[str, ...],
    mode: str,
    code_digits: int,
    host: str,
    port: int,
    db: str | None,
    key_file: Path | None,
) -> None:
    """Answer RADIUS requests (PAP) of VPNs until interrupted."""
    import signal
    import socket

    from tallystick.common.errors import BadInputError
    from tallystick.common.secret import Secret
    from tallystick.server.radius import Mode, RadiusServer, RadiusSettings
    from tallystick.server.state import open_state

    secret = secret_file.read_bytes().strip()
    if len(secret) < 16:
        raise BadInputError(
            "The shared secret has fewer than 16 characters.",
            todo="Make one: openssl rand -base64 24.",
        )
    settings = RadiusSettings(firm_name, Secret(secret), clients, Mode(mode), code_digits)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        state = open_state(settings_from(db, key_file))
        try:
            answering = RadiusServer(state, settings, sock)
            signal.signal(signal.SIGTERM, lambda *_: answering.close())
            signal.signal(signal.SIGINT, lambda *_: answering.close())
            out().print(f"radius://{host}:{sock.getsockname()[1]}", markup=False)
            answering.serve()
        finally:
            state.close()


def _shown(settings: Settings) -> str:
    from sqlalchemy import make_url

    return make_url(settings.db_url).render_as_string(hide_password=True)


def _table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    out().print(table)


def _date(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""
