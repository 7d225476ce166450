"""`tally server init`: ask what a deployment needs to know, and write its files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError

# What is asked for on a terminal, in this order, unless an option or the environment says it.
QUESTIONS = (
    ("public_url", "Where will browsers find the server (https://NAME)?"),
    ("kind", "What starts it again when it ends: systemd, container?"),
    ("proxy", "What ends TLS in front of it: nginx, caddy, none?"),
    ("certificate", "The proxy's certificate (a file in PEM; nothing: Caddy gets one)"),
    ("certificate_key", "The key of that certificate"),
    ("db", "The database (SQLite, or postgresql+psycopg://USER@HOST/NAME)"),
    ("smtp", "The mail server (smtp://HOST:PORT, smtps://…; nothing: no e-mail)"),
    ("mail_from", "Whom e-mail comes from"),
    ("sms", "The SMS gateway (a URL; nothing: no text messages)"),
    ("backups", "The folder of the daily copies of the database"),
)


@click.command()
@click.option("--public-url", help="Where browsers will find the server: https://NAME.")
@click.option(
    "--kind", type=click.Choice(["systemd", "container"]), help="What runs it (default: systemd)."
)
@click.option(
    "--proxy",
    type=click.Choice(["nginx", "caddy", "none"]),
    help="What ends TLS in front of it (default: nginx).",
)
@click.option("--certificate", help="The proxy's certificate, a file in PEM.")
@click.option("--certificate-key", help="The key of that certificate.")
@click.option(
    "--db",
    metavar="URL",
    envvar="TALLY_SERVER_DB",
    help="The database. A URL with a password is better given as $TALLY_SERVER_DB.",
)
@click.option(
    "--smtp", metavar="URL", envvar="TALLY_SERVER_SMTP", help="Mail server, or $TALLY_SERVER_SMTP."
)
@click.option("--mail-from", envvar="TALLY_SERVER_MAIL_FROM", help="Whom e-mail comes from.")
@click.option(
    "--sms", metavar="URL", envvar="TALLY_SERVER_SMS", help="SMS gateway, or $TALLY_SERVER_SMS."
)
@click.option("--backups", metavar="FOLDER", help="Where the daily copies of the database go.")
@click.option(
    "--keep", type=click.IntRange(1, 3650), help="How many copies are kept (default: 14)."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where it listens on this machine (8080)."
)
@click.option(
    "--https-port",
    type=click.IntRange(1, 65535),
    help="Where the proxy listens (default: the public URL's port, or 443).",
)
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that answer (default: 1).")
@click.option(
    "--memory", "memory_mb", type=click.IntRange(256), help="Most memory, in MiB (default: 1024)."
)
@click.option("--user", help="The user that it runs as (default: tallystick).")
@click.option("--tally", help="The installed command, by its whole path (default: this one).")
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tallystick-deployment"),
    show_default=True,
    help="Folder for the files.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: what was not given has its default.")
@json_option
def init(*, folder: Path, yes: bool, as_json: bool, **given: Any) -> None:
    """Write units, a proxy's settings and so on for a server. Asks for what was not given.

    Nothing is installed: the commands for that are printed.
    """
    from tallystick.server.operating.deployment import files
    from tallystick.server.operating.deployment.plan import (
        DeploymentKind,
        DeploymentPlan,
        DeploymentProxy,
    )

    said = {name: value for name, value in given.items() if value is not None}
    said.setdefault("tally", shutil.which("tally") or sys.argv[0])
    if not yes and not as_json and sys.stdin.isatty():
        said |= _asked(said)
    if not said.get("public_url"):
        raise BadInputError(
            "Nobody has said where browsers will find the server.",
            kept="No file was written.",
            todo="Give --public-url https://NAME, or run this on a terminal.",
        )
    for name, choice in (("kind", DeploymentKind), ("proxy", DeploymentProxy)):
        if name in said:
            said[name] = choice(said[name])
    plan = DeploymentPlan(**said)
    made = files.made_of(plan)
    files.write(made, folder)
    steps = files.next_steps(plan, made, folder)
    if as_json:
        written = [{"file": str(folder / one.name), "to": one.to} for one in made]
        print_json({"files": written, "next": steps})
        return
    for one in made:
        where = f"  →  {one.to}" if one.to else ""
        out().print(f"{folder / one.name}{where}", markup=False, soft_wrap=True)
    err().print("\nNext, as root:")
    for step in steps:
        out().print(f"  {step}", markup=False, soft_wrap=True)


def _asked(said: dict[str, Any]) -> dict[str, Any]:
    """Answers to what is open yet."""
    from tallystick.server.operating.deployment.plan import DeploymentPlan

    answers: dict[str, Any] = {}
    for name, question in QUESTIONS:
        if name in said:
            continue
        if name.startswith("certificate") and "none" in (said.get("proxy"), answers.get("proxy")):
            continue
        if name == "certificate_key" and not answers.get("certificate"):
            continue
        default = getattr(DeploymentPlan, name, "")
        choice = {"kind": ["systemd", "container"], "proxy": ["nginx", "caddy", "none"]}.get(name)
        known = said | answers
        answers[name] = click.prompt(
            question,
            default=str(default) if name != "public_url" else None,
            type=click.Choice(choice) if choice else str,
            value_proc=None if choice else lambda value, *, n=name, k=known: _usable(n, value, k),
            show_choices=False,
            err=True,
        )
    return answers


def _usable(name: str, value: str, known: dict[str, Any]) -> str:
    """What was answered, if it may be so: whoever mistypes is asked again, and loses no other
    answer. Raises click.UsageError."""
    from tallystick.server.operating.deployment.plan import DeploymentPlan, DeploymentProxy

    value = value.strip()
    tried: dict[str, Any] = {"public_url": "https://otp.example.org", "proxy": DeploymentProxy.NONE}
    if name == "certificate":  # nginx needs one, and its key is asked for next
        tried |= {"proxy": DeploymentProxy(known.get("proxy", "nginx")), "certificate_key": value}
    elif name == "certificate_key":
        tried["certificate"] = known["certificate"]
    elif name == "mail_from":
        tried["smtp"] = known.get("smtp", "")
    try:
        DeploymentPlan(**tried | {name: value})
    except BadInputError as error:
        raise click.UsageError(f"{error.what} {error.todo}") from None
    return value
