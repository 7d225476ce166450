"""`tally verify`: one code, asked of a server, for scripts and for `pam_exec`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.common.console import out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.common.private_files import others_may_read
from tallystick.common.ranges import RealRange
from tallystick.common.secret import Secret

if TYPE_CHECKING:
    from tallystick.client import CheckedCode

MOST_TYPED = 512  # bytes: what PAM hands over at most
MAKE = "tally server credential add --role service NAME --json"


@click.command("verify")
@click.option("--server", "url", envvar="TALLY_URL", required=True, help="URL of the server.")
@click.option(
    "--credential",
    "credential",
    envvar="TALLY_CREDENTIAL",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"What `{MAKE}` printed, or the token alone; nobody else may read it.",
)
@click.option("--user", help="Whose code.")
@click.option("--serial", help="Of which card, in place of a user.")
@click.option(
    "--pam", is_flag=True, help="Called by pam_exec with expose_authtok: it names the user."
)
@click.option("--ca-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Certificates (PEM) to believe in place of the public ones.")  # fmt: skip
@click.option(
    "--wait",
    "wait_s",
    type=RealRange(0.1, 300),
    default=10.0,
    show_default=True,
    help="Seconds to try for when no answer comes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    *,
    url: str,
    credential: Path,
    user: str | None,
    serial: str | None,
    pam: bool,
    ca_file: Path | None,
    wait_s: float,
    as_json: bool,
) -> None:
    """Ask a server whether a code is right.

    The code is read from standard input, or asked for without showing it: on a command line others
    could read it. Exit code 0 only when the server accepts it.
    """
    from tallystick.client import Patience, VerifyClient  # noqa: PLC0415  (--help does not wait)

    if pam and (user or serial):
        raise click.UsageError("With --pam the user is the one who signs in: leave --user out.")
    if pam:
        user = _pam_user()
    if (user is None) == (serial is None):
        raise click.UsageError("Give --user, --serial or --pam.")
    token = token_from(credential)
    patience = Patience(total_s=wait_s, answer_s=min(3.0, wait_s))
    with VerifyClient(url, token, patience=patience, ca_file=ca_file) as client:
        said = client.verify(_typed(), user=user, serial=serial)
    _say(said, as_json=as_json)
    sys.exit(ExitCode.OK if said.accepted else ExitCode.FAILED)


def token_from(path: Path) -> Secret:
    """Of a credential file. Raises BadInputError when others may read it, or it is none."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    if others_may_read(path):
        raise BadInputError(
            f"Others may read {path}, which holds a credential.",
            kept="It was not used.",
            todo=f"Have the credential revoked if others did; else `chmod 600 {path}`.",
        )
    token, role = text, "service"
    if text.startswith("{"):
        try:
            value = json.loads(text)
            token, role = str(value["token"]), str(value["role"])
        except (ValueError, KeyError):
            token = ""
    if role != "service":
        raise BadInputError(
            f"A {role} credential may not verify codes.",
            todo=f"Make one of role service: `{MAKE}`.",
        )
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadInputError(f"{path} holds no credential.", todo=f"Take what `{MAKE}` printed.")
    return Secret(token.encode())


def _pam_user() -> str:
    """Who signs in, as pam_exec says. Raises BadInputError when it is not that which asks."""
    user, kind = os.environ.get("PAM_USER", ""), os.environ.get("PAM_TYPE", "")
    if not user or kind != "auth":
        raise BadInputError(
            "--pam is for `auth` lines of pam_exec, which sets PAM_USER and PAM_TYPE.",
            kept="No code was asked about.",
            todo="See docs/guides/services/pam-exec.md.",
        )
    return user


def _typed() -> str:
    """The code. pam_exec hands it over with a NUL at its end, or without."""
    if sys.stdin is not None and sys.stdin.isatty():
        return str(click.prompt("Code", hide_input=True, err=True)).strip()
    data = sys.stdin.buffer.read(MOST_TYPED) if sys.stdin is not None else b""
    return data.split(b"\0")[0].decode("utf-8", errors="replace").strip()


def _say(said: CheckedCode, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "accepted": said.accepted,
                "reason": said.reason,
                "method": said.method,
                "serial": said.serial,
                "retry_after_s": said.retry_after_s,
            }
        )
        return
    wait = f": try again in {said.retry_after_s} s" if said.retry_after_s else ""
    out().print(
        "accepted" if said.accepted else f"not accepted ({said.reason}{wait})", markup=False
    )
