"""`tally server card`: cards of other makers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import TallyError
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import table
from tallystick.server.operating.key_files import (
    certificate_of,
    key_of,
    passphrase_of,
    token_of,
)
from tallystick.server.operating.sending import send_file

a_file = click.Path(exists=True, dir_okay=False, path_type=Path)

SHOWN = 100
PSKC = "PSKC"
NOTHING = "Nothing was registered."


@click.group(cls=Group)
def card() -> None:
    """Cards of other makers."""


@card.command("import")
@click.argument("container", metavar="FILE", type=a_file)
@click.option(
    "--server",
    "--url",
    "url",
    default="http://127.0.0.1:8080",
    show_default=True,
    metavar="URL",
    help="The server's address.",
)
@click.option("--token-file", type=a_file, required=True, help="Token of an admin credential.")
@click.option("--psk-file", type=a_file, help="The key that it is encrypted under.")
@click.option("--passphrase-file", type=a_file, help="Or the passphrase.")
@click.option("--certificate", type=a_file, help="PEM or DER: who must have signed it.")
@click.option(
    "--take",
    "takes",
    multiple=True,
    type=click.Choice(["plain", "unauthenticated", "old", "mac-over-plaintext", "no-counter"]),
    help="A weakness to put up with: keys in clear, no MACs, ciphers out of use, MACs of a draft, "
    "HOTP keys without a counter (they count from 0).",
)
@click.option(
    "--skip-unusable", is_flag=True, help="Leave out what cannot be used, and list it with reasons."
)
@click.option(
    "--rewrite-serials", is_flag=True, help="Blanks, slashes and the like become hyphens."
)
@click.option("--dry-run", is_flag=True, help="Show what would be taken, and take nothing.")
@click.option("--no-assign", is_flag=True, help="Give no card to the user that the file names.")
@click.option("--new-users", is_flag=True, help="Make users known that the file names.")
@click.option("--yes", is_flag=True, help="Do not ask before seeds in clear are taken.")
@json_option
def import_(
    *,
    container: Path,
    url: str,
    token_file: Path,
    psk_file: Path | None,
    passphrase_file: Path | None,
    certificate: Path | None,
    takes: tuple[str, ...],
    skip_unusable: bool,
    rewrite_serials: bool,
    dry_run: bool,
    no_assign: bool,
    new_users: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Register every card of a token file, HOTP or TOTP, or none of them.

    Taken are PSKC (RFC 6030) and, with --take plain, seeds in clear: CSV of OATH, Entra ID,
    Token2, multiOTP, privacyIDEA and Yubico, XML of SafeNet. The content tells which it is.
    """
    body: dict[str, Any] = {
        "takes": list(takes),
        "skip_unusable": skip_unusable,
        "rewrite_serials": rewrite_serials,
        "assign": not no_assign,
        "new_users": new_users,
    }
    if psk_file is not None:
        body["psk"] = key_of(psk_file).reveal().hex()
    if passphrase_file is not None:
        body["passphrase"] = passphrase_of(passphrase_file).reveal().decode()
    if certificate is not None:
        body["certificate"] = certificate_of(certificate)
    token = token_of(token_file)
    address = f"{url.rstrip('/')}/v1/cards/imports"
    asks = not (dry_run or yes or as_json) and sys.stdin.isatty()

    def post(*, dry: bool) -> dict[str, Any]:
        result, lines = send_file(
            address, token, container, body | {"dry_run": dry}, quiet=as_json, nothing=NOTHING
        )
        return result | {"cards": [line["card"] for line in lines]}

    if dry_run or asks:
        would = post(dry=True)
        if asks and would["kind"].startswith(PSKC):
            asks = False
        elif as_json:
            print_json(would)
        else:
            _show(would)
        if dry_run:
            return
        if asks and not click.confirm(f"Take these {len(would['cards'])} cards?"):
            raise TallyError("Nothing was taken.", kept="The server is as it was.")
    answer = post(dry=False)
    if as_json:
        print_json(answer)
        return
    _show(answer)


def _show(answer: dict[str, Any]) -> None:
    from rich.markup import escape

    named = any(one["user"] for one in answer["cards"])
    table(
        ["serial", "state", "kind", "digits", "next", *(["user"] if named else [])],
        [
            [
                one["serial"],
                one["status"],
                _kind(one),
                str(one["digits"]),
                "clock" if one["step_s"] else str(one["moving_factor"]),
                *([escape(one["user"] or "")] if named else []),
            ]
            for one in answer["cards"][:SHOWN]
        ],
    )
    if len(answer["cards"]) > SHOWN:
        out().print(f"… and {len(answer['cards']) - SHOWN} more (--json has all)", markup=False)
    for one in answer["cards"][:SHOWN]:
        if one["user"] and not one["assigned"]:
            said = f"{one['serial']} is not given to {one['user']}"
            err().print(f"{said}.", markup=False, highlight=False, soft_wrap=True)
    if any(one["user"] and not one["assigned"] for one in answer["cards"]):
        err().print("Users that are not known here: --new-users makes them known.")
    for one in answer["left_out"]:
        err().print(f"left out: {one['what']}", markup=False, highlight=False, soft_wrap=True)
    what = (
        "would be taken" if answer["dry_run"] else "cards" if len(answer["cards"]) != 1 else "card"
    )
    left = f"; {len(answer['left_out'])} left out" if answer["left_out"] else ""
    said = f"{answer['kind']}: {len(answer['cards'])} {what}{left}"
    out().print(
        f"{said}; signature: {answer['signature']}", markup=False, highlight=False, soft_wrap=True
    )


def _kind(one: dict[str, Any]) -> str:
    step = f", {one['step_s']} s" if one["step_s"] else ""
    return f"{one['type']} {one['algorithm']}{step}"
