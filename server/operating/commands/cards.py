"""`tally server card`: cards of other makers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import BadInputError, RefusedError, UnreachableError
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import table

a_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def card() -> None:
    """Cards of other makers."""


@card.command("import")
@click.argument("container", type=a_file)
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
@click.option("--psk-file", type=a_file, help="The key that it is encrypted under, in hex.")
@click.option("--passphrase-file", type=a_file, help="Or the passphrase.")
@click.option("--certificate", type=a_file, help="PEM: who must have signed it.")
@click.option(
    "--take",
    "takes",
    multiple=True,
    type=click.Choice(["plain", "unauthenticated", "old"]),
    help="A weakness to put up with: keys in clear, no MACs, ciphers out of use.",
)
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
    as_json: bool,
) -> None:
    """Register every card of a PSKC file (RFC 6030), HOTP or TOTP, or none of them."""
    body: dict[str, Any] = {"container": _text(container), "takes": list(takes)}
    for name, file in (
        ("psk", psk_file),
        ("passphrase", passphrase_file),
        ("certificate", certificate),
    ):
        if file is not None:
            body[name] = _text(file).strip()
    answer = _post(f"{url.rstrip('/')}/v1/cards/import", _text(token_file).strip(), body)
    if as_json:
        print_json(answer)
        return
    table(
        ["serial", "state", "digits", "next"],
        [
            [one["serial"], one["status"], str(one["digits"]), str(one["moving_factor"])]
            for one in answer["cards"]
        ],
    )
    out().print(f"{len(answer['cards'])} cards; signature: {answer['signature']}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInputError(f"{file} is not text.", kept="Nothing was registered.") from None


def _post(url: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    import httpx

    try:
        answer = httpx.post(
            url, json=body, headers={"authorization": f"Bearer {token}"}, timeout=120
        )
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"The server at {url} does not answer ({type(error).__name__}).",
            kept="Nothing was registered, or all of it: importing again is safe.",
            todo="Start it, or name it with --server.",
        ) from None
    if answer.is_success:
        return dict(answer.json())
    error_body = answer.json()["error"]
    lines = [f"{one['number']:>5}  {one['what']}" for one in error_body.get("entries") or []]
    raise RefusedError(
        "\n".join([error_body["what"], *lines]), kept=error_body["kept"], todo=error_body["todo"]
    )
