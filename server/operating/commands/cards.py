"""`tally server card`: cards of other makers."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, RefusedError, TallyError, UnreachableError
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import table
from tallystick.server.operating.key_files import (
    certificate_of,
    key_of,
    passphrase_of,
    token_of,
)

a_file = click.Path(exists=True, dir_okay=False, path_type=Path)

MAX_FILE = 4 * 1024 * 1024
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
        "container_base64": _file(container),
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
    address = f"{url.rstrip('/')}/v1/cards/import"
    asks = not (dry_run or yes or as_json) and sys.stdin.isatty()
    if dry_run or asks:
        would = _post(address, token, body | {"dry_run": True})
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
    answer = _post(address, token, body)
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
            for one in answer["cards"]
        ],
    )
    for one in answer["cards"]:
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


def _file(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise BadInputError(
            f"{file} has more than {MAX_FILE // 2**20} MiB.",
            kept=NOTHING,
            todo="Have the maker send it in parts.",
        )
    if not content:
        raise BadInputError(f"{file} is empty.", kept=NOTHING, todo="Give the token file.")
    return base64.b64encode(content).decode()


def _post(url: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    import httpx

    try:
        answer = httpx.post(
            url, json=body, headers={"authorization": f"Bearer {token}"}, timeout=120
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnreachableError(
            f"The server at {url} does not answer ({type(error).__name__}).",
            kept="Nothing was registered, or all of it: importing again is safe.",
            todo="Start it, or name it with --server.",
        ) from None
    if answer.is_success:
        return dict(answer.json())
    error_body = answer.json()["error"]
    entries = error_body.get("entries") or []
    # A single one is what the error says already.
    lines = [f"{one['number']:>5}  {one['what']}" for one in entries if len(entries) > 1]
    todos = dict.fromkeys(one["todo"] for one in entries if one.get("todo"))
    raise RefusedError(
        "\n".join([error_body["what"], *lines]),
        kept=error_body["kept"],
        todo="\n".join(todos) or error_body["todo"],
    )
