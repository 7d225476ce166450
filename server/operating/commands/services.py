"""`tally server oidc`: services that log people in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import db_option, firm_option, key_option, table
from tallystick.server.settings import settings_from

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tallystick.server.services.oidc_clients import Client
    from tallystick.server.store.keys import ServerKeyRing

a_file = click.Path(exists=True, dir_okay=False, path_type=Path)
public_url_option = click.option(
    "--public-url",
    envvar="TALLY_SERVER_PUBLIC_URL",
    help="Where browsers find the server: the issuer is below it.",
)

logout_option = click.option(
    "--backchannel-logout-uri",
    help='Where the service is told that somebody has signed out; "" for nowhere.',
)


@click.group(cls=Group)
def oidc() -> None:
    """Services that log people in through OpenID Connect."""


@oidc.command("add")
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    multiple=True,
    required=True,
    help="Where people are sent back to; again for another.",
)
@click.option(
    "--post-logout-uri",
    "post_logout_uris",
    multiple=True,
    help="Where people may be sent to when they have signed out; again for another.",
)
@logout_option
@click.option("--jwks", type=a_file, help="The service signs with these keys, and has no secret.")
@public_url_option
@firm_option("The firm whose people log in.")
@db_option
@key_option
@json_option
def oidc_add(
    *,
    name: str,
    redirect_uris: tuple[str, ...],
    post_logout_uris: tuple[str, ...],
    backchannel_logout_uri: str | None,
    jwks: Path | None,
    public_url: str | None,
    firm_name: str,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Register a service. Its secret is shown this once."""
    from tallystick.server.accounts import firms
    from tallystick.server.services import oidc_clients
    from tallystick.server.store.opened import opened

    if public_url:
        oidc_clients.check_public_url(public_url)
    keys = oidc_clients.checked_jwks(jwks.read_text(encoding="utf-8-sig")) if jwks else ""
    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        client_id, secret = oidc_clients.add_client(
            connection,
            parts.ring,
            firm_id=firms.by_name(connection, firm_name).id,
            name=name,
            redirect_uris=list(redirect_uris),
            now=moments.now(),
            actor="console",
            post_logout_uris=post_logout_uris,
            jwks=keys,
            backchannel_logout_uri=backchannel_logout_uri or "",
        )
    path = f"/p/{firm_name}"
    issuer = f"{public_url.rstrip('/')}{path}" if public_url else None
    if as_json:
        said = {"client_id": client_id, "client_secret": secret or None, "issuer_path": path}
        print_json(said | {"issuer": issuer})
        return
    lines = [("client id", client_id), ("issuer", issuer or f"…{path}")]
    if secret:
        lines.insert(1, ("secret", secret))
    for label, value in lines:
        out().print(f"{label:>9}  {value}", markup=False, soft_wrap=True)
    if issuer is None:
        err().print("The issuer begins with the server's public URL: name it with --public-url.")


@oidc.command("list")
@firm_option("The firm whose people log in.")
@db_option
@key_option
@json_option
def oidc_list(firm_name: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """The registered services."""
    from tallystick.server.accounts import firms
    from tallystick.server.services import oidc_clients
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        known = oidc_clients.listed(connection, firms.by_name(connection, firm_name).id)
    if as_json:
        print_json([_described(one) for one in known])
        return
    table(
        ["client id", "name", "shows who it is by", "redirect URIs"],
        [
            [one.id, one.name, "its keys" if one.jwks else "a secret", "\n".join(one.redirect_uris)]
            for one in known
        ],
    )


@oidc.command("set")
@click.argument("service")
@click.option("--name", help="Another name.")
@click.option("--redirect-uri", "redirect_uris", multiple=True, help="In place of those before.")
@click.option(
    "--post-logout-uri",
    "post_logout_uris",
    multiple=True,
    help='In place of those before; "" for none.',
)
@logout_option
@click.option("--jwks", type=a_file, help="It signs with these keys; its secret is void.")
@firm_option("The firm whose people log in.")
@db_option
@key_option
def oidc_set(
    *,
    service: str,
    name: str | None,
    redirect_uris: tuple[str, ...],
    post_logout_uris: tuple[str, ...],
    backchannel_logout_uri: str | None,
    jwks: Path | None,
    firm_name: str,
    db: str | None,
    key_file: Path | None,
) -> None:
    """Change a service, by its client id or its name."""
    from tallystick.server.services import oidc_clients

    values: dict[str, Any] = {
        "name": name,
        "redirect_uris": redirect_uris,
        "post_logout_uris": post_logout_uris,
        "backchannel_logout_uri": backchannel_logout_uri,
        "jwks": oidc_clients.checked_jwks(jwks.read_text(encoding="utf-8-sig")) if jwks else None,
    }
    given = {key: value for key, value in values.items() if value}
    if post_logout_uris == ("",):
        given["post_logout_uris"] = ()
    if name == "":
        given["name"] = name  # which is refused, and not left alone
    if backchannel_logout_uri == "":
        given["backchannel_logout_uri"] = ""
    if not given:
        raise click.UsageError("Say what to change.")
    with _client(service, firm_name, db, key_file) as (connection, ring, client):
        oidc_clients.change(connection, ring, client, now=moments.now(), actor="console", **given)
    out().print(f"{client.name} is changed", markup=False)


@oidc.command("secret")
@click.argument("service")
@firm_option("The firm whose people log in.")
@db_option
@key_option
@json_option
def oidc_secret(
    service: str, firm_name: str, db: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Give a service a new secret, shown this once. The old one is void at once."""
    from tallystick.server.services import oidc_clients

    with _client(service, firm_name, db, key_file) as (connection, ring, client):
        secret = oidc_clients.new_secret(
            connection, ring, client, now=moments.now(), actor="console"
        )
    if as_json:
        print_json({"client_id": client.id, "client_secret": secret})
    else:
        out().print(f"secret  {secret}", markup=False, soft_wrap=True)


@oidc.command("remove")
@click.argument("service")
@firm_option("The firm whose people log in.")
@db_option
@key_option
def oidc_remove(service: str, firm_name: str, db: str | None, key_file: Path | None) -> None:
    """Forget a service, its codes and its tokens."""
    from tallystick.server.services import oidc_clients

    with _client(service, firm_name, db, key_file) as (connection, ring, client):
        oidc_clients.remove(connection, ring, client, now=moments.now(), actor="console")
    out().print(f"{client.name} is removed", markup=False)


@oidc.command("rotate")
@db_option
@key_option
def oidc_rotate(db: str | None, key_file: Path | None) -> None:
    """Sign with a new key; the old one stays published for a day."""
    from tallystick.server.store import signing_keys
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        key_id = signing_keys.rotate(connection, parts.ring, now=moments.now(), actor="console")
    out().print(f"{key_id} signs from now on", markup=False)


@contextmanager
def _client(
    service: str, firm_name: str, db: str | None, key_file: Path | None
) -> Iterator[tuple[Connection, ServerKeyRing, Client]]:
    from tallystick.server.accounts import firms
    from tallystick.server.services import oidc_clients
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.write() as connection:
        firm_id = firms.by_name(connection, firm_name).id
        yield connection, parts.ring, oidc_clients.named(connection, firm_id, service)


def _described(client: Client) -> dict[str, Any]:
    return {
        "client_id": client.id,
        "name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_uris": list(client.post_logout_uris),
        "backchannel_logout_uri": client.backchannel_logout_uri or None,
        "auth_method": "private_key_jwt" if client.jwks else "client_secret",
    }
