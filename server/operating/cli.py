"""`tally server`: run and manage the verification server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.groups import LateGroup
from tallystick.common.tidying import nothing_to_tidy
from tallystick.common.visible import visible
from tallystick.server.operating.commands.options import (
    date,
    db_option,
    environment,
    firm_option,
    key_option,
    table,
)
from tallystick.server.settings import Settings, settings_from

_COMMANDS = "tallystick.server.operating.commands"
LATE = {
    "init": (f"{_COMMANDS}.init", "init"),
    "card": (f"{_COMMANDS}.cards", "card"),
    "firm": (f"{_COMMANDS}.people", "firm"),
    "person": (f"{_COMMANDS}.people", "person"),
    "directory": (f"{_COMMANDS}.directory", "directory"),
    "message": (f"{_COMMANDS}.message", "message"),
    "oidc": (f"{_COMMANDS}.services", "oidc"),
    "backup": (f"{_COMMANDS}.operations", "backup"),
    "restore": (f"{_COMMANDS}.operations", "restore"),
    "confirm-restore": (f"{_COMMANDS}.operations", "confirm_restore"),
    "keys": (f"{_COMMANDS}.operations", "keys"),
    "audit": (f"{_COMMANDS}.operations", "audit"),
    "doctor": (f"{_COMMANDS}.operations", "doctor"),
}


class _Commands(LateGroup):
    """Whatever the database does to one of them is told in words."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (TallyError, click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            # Late: `--help` carries no database.
            from sqlalchemy.exc import DBAPIError

            from tallystick.server.store.trouble import on_the_console

            words = on_the_console(error) if isinstance(error, DBAPIError) else None
            if words is None:
                raise
            raise words from None


@click.group(cls=_Commands, late=LATE, path="server")
@click.option(
    "--environment",
    "environment_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of settings, as a service has it: TALLY_SERVER_… lines. They go before those of "
    "your shell.",
)
def server(environment_file: Path | None) -> None:
    """Run and manage the verification server."""
    if environment_file is not None:
        environment(environment_file)


@server.command()
@db_option
@key_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="0 chooses a free port.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that answer.",
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@json_option
def run(
    *,
    db: str | None,
    key_file: Path | None,
    host: str,
    port: int,
    workers: int,
    log_json: bool,
    as_json: bool,
) -> None:
    """Serve the API until interrupted. Prints the URL when it is ready to be used."""
    with nothing_to_tidy():
        from tallystick.server.serving import logs
        from tallystick.server.serving.running import listen, serve, url_of

    logs.set_up(as_json=log_json)
    settings = settings_from(db, key_file)
    with listen(host, port) as sock:
        sock.listen(128)
        url = url_of(sock)

        def tell() -> None:
            if as_json:
                print_json({"url": url, "db": _shown(settings), "key_file": str(settings.key_file)})
                return
            where = f"database {_shown(settings)}, keys {settings.key_file}"
            click.echo(url)
            click.secho(visible(f"{where}; Ctrl-C stops"), dim=True, err=True)

        serve(settings, sock, workers=workers, ready=tell)


@server.group()
def signer() -> None:
    """Who signs job tickets: from the first one on, stations register cards on tickets only."""


@signer.command("add")
@click.argument("name")
@click.option(
    "--key",
    "public_file",
    type=click.File("r"),
    required=True,
    help="What `tally station job key` wrote for the server, or - for stdin.",
)
@firm_option("The firm whose tickets are signed.")
@db_option
@key_option
def signer_add(
    *, name: str, public_file: TextIO, firm_name: str, db: str | None, key_file: Path | None
) -> None:
    """Let somebody sign the firm's job tickets."""
    from tallystick.common.signed import from_jwk
    from tallystick.server.accounts import firms
    from tallystick.server.stock import tickets
    from tallystick.server.store.opened import opened

    try:
        public = from_jwk(json.load(public_file))
    except ValueError:
        raise BadInputError("The key file is not JSON.") from None
    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        firm_id = firms.by_name(connection, firm_name).id
        tickets.add_signer(
            connection, parts.ring, firm_id, name, public, now=moments.now(), actor="console"
        )
    out().print(f"{name} may sign job tickets; two signatures make one good", markup=False)


@signer.command("list")
@firm_option("The firm whose tickets are signed.")
@db_option
@key_option
@json_option
def signer_list(*, firm_name: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Who signs, and who did."""
    from tallystick.common.signed import key_id
    from tallystick.server.accounts import firms
    from tallystick.server.stock import tickets
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        firm = firms.by_name(connection, firm_name)
        rows, zone = tickets.signers(connection, firm.id), firm.policy.time_zone
    if as_json:
        print_json(
            [
                {"name": row.name, "key": key_id(row.public_key), "since": row.created_at,
                 "revoked": row.revoked_at}
                for row in rows
            ]
        )  # fmt: skip
        return
    table(
        ["name", "key", "since", "revoked"],
        [
            [
                row.name,
                key_id(row.public_key),
                date(row.created_at, zone),
                date(row.revoked_at, zone),
            ]
            for row in rows
        ],
    )


@signer.command("revoke")
@click.argument("name")
@firm_option("The firm whose tickets are signed.")
@db_option
@key_option
def signer_revoke(*, name: str, firm_name: str, db: str | None, key_file: Path | None) -> None:
    """Let somebody's signature count no more: open tickets rest until two others have signed."""
    from tallystick.server.accounts import firms
    from tallystick.server.stock import tickets
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        firm_id = firms.by_name(connection, firm_name).id
        tickets.revoke_signer(
            connection, parts.ring, firm_id, name, now=moments.now(), actor="console"
        )
    out().print(f"{name} signs no more", markup=False)


@server.group()
def credential() -> None:
    """Tokens of stations, services and administrators."""


@credential.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["station", "service", "admin", "monitor", "desk", "scim"]),
    required=True,
    help="What it may do; see docs/reference/server.md.",
)
@firm_option("The firm that it is for.")
@db_option
@key_option
@json_option
def credential_add(
    *, name: str, role: str, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Make a credential. Its token (and a station's pre-shared key) is shown this once."""
    from tallystick.server.serving.running import add_credential

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
    from tallystick.server.accounts import credentials, firms
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        rows = credentials.list_all(connection)
        zones = {one.name: one.policy.time_zone for one in firms.list_all(connection)}
    if as_json:
        print_json(rows)
        return
    table(
        ["id", "firm", "role", "name", "made", "revoked"],
        [
            [
                row["id"],
                row["firm"],
                row["role"],
                row["name"],
                date(row["created_at"], zones[row["firm"]]),
                date(row["revoked_at"], zones[row["firm"]]),
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
    from tallystick.server.accounts import credentials
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        credentials.revoke(
            connection, parts.ring, credential_id, now=moments.now(), actor="console"
        )
    if as_json:
        print_json({"id": credential_id, "revoked": True})
    else:
        out().print(f"{credential_id} is revoked")


@server.command()
@firm_option("The firm whose people log in.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the secret shared with the clients (at least 16 characters).",
)
@click.option(
    "--clients-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML: [[client]] with address, secret, firm, mode and so on, for several.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    default=["127.0.0.1/32"],
    show_default=True,
    help="Network whose requests are answered; again for another.",
)
@click.option(
    "--mode",
    type=click.Choice(["challenge", "append"]),
    default="challenge",
    help="Ask for the code after the password, or take it appended to it.",
)
@click.option(
    "--code-digits",
    default=6,
    show_default=True,
    type=click.IntRange(6, 8),
    help="Length of an appended code.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=1812, show_default=True, help="0 chooses a free port.")
@db_option
@key_option
def radius(
    *,
    firm_name: str,
    secret_file: Path | None,
    clients_file: Path | None,
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
    from tallystick.server.services.radius import RadiusServer, check_firms
    from tallystick.server.services.radius_clients import (
        Mode,
        RadiusClient,
        RadiusSettings,
        clients_from,
    )
    from tallystick.server.serving import logs
    from tallystick.server.serving.running import listen
    from tallystick.server.state import open_state

    logs.set_up(as_json=False)
    if (secret_file is None) == (clients_file is None):
        raise click.UsageError("Give --secret-file, or --clients-file.")
    asking: tuple[RadiusClient, ...]
    if clients_file is not None:
        asking = clients_from(clients_file)
    else:
        assert secret_file is not None
        secret = secret_file.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
        if len(secret) < 16:
            raise BadInputError(
                "The shared secret has fewer than 16 characters.",
                todo="Make one: openssl rand -base64 24.",
            )
        asking = RadiusSettings(firm_name, Secret(secret), clients, Mode(mode), code_digits).each()
    with listen(host, port, socket.SOCK_DGRAM) as sock:
        state = open_state(settings_from(db, key_file))
        try:
            check_firms(state, asking)
            answering = RadiusServer(state, asking, sock)
            signal.signal(signal.SIGTERM, lambda *_: answering.close())
            signal.signal(signal.SIGINT, lambda *_: answering.close())
            shown = f"[{host}]" if ":" in host else host
            out().print(f"radius://{shown}:{sock.getsockname()[1]}", markup=False)
            answering.serve()
        finally:
            state.close()


def _shown(settings: Settings) -> str:
    from sqlalchemy import make_url

    return make_url(settings.db_url).render_as_string(hide_password=True)
