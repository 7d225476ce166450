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
@db_option
@key_option
@json_option
def credential_add(
    name: str, role: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Make a credential. Its token (and a station's pre-shared key) is shown this once."""
    from tallystick.server.running import add_credential

    made = add_credential(settings_from(db, key_file), role, name)
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
