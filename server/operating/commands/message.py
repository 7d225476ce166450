"""`tally server message`: whether messages go out."""

from __future__ import annotations

import re
from pathlib import Path

import click

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import db_option, key_option
from tallystick.server.settings import settings_from

NUMBER = re.compile(r"\+[0-9][0-9 ]{5,20}")


@click.group(cls=Group)
def message() -> None:
    """E-mails and text messages."""


@message.command("test")
@click.option("--to", "to", required=True, help="An e-mail address, or a number with its +.")
@db_option
@key_option
@json_option
def message_test(*, to: str, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Send one message now, and show what the mail server or the provider answers."""
    from tallystick.server.messages.gateways import Letter, gateway_from
    from tallystick.server.methods.sent import EMAIL

    settings = settings_from(db, key_file)
    to = to.strip()
    if EMAIL.fullmatch(to):
        name, url = "TALLY_SERVER_SMTP", settings.smtp
    elif NUMBER.fullmatch(to):
        name, url, to = "TALLY_SERVER_SMS", settings.sms, to.replace(" ", "")
    else:
        raise BadInputError(
            f"{to!r} is neither an e-mail address nor a number such as +47 400 00 000.",
            kept="Nothing was sent.",
        )
    if not url:
        raise BadInputError(
            f"{name} is not set: there is no way out for this.",
            kept="Nothing was sent.",
            todo="Set it as docs/reference/server.md has it.",
        )
    text = "This is a test. If you can read it, messages of Tallystick arrive."
    gateway = gateway_from(url, sender=settings.mail_from)
    try:
        answer = gateway.send(Letter(to, "A test", text))
    except TallyError as error:
        # What is said of a message that waits in the database is not so of this one.
        error.kept = "It was not sent, and nothing tries it again."
        error.todo = "Correct what the answer is about, and try once more."
        raise
    if as_json:
        print_json({"to": to, "answer": answer})
    else:
        out().print(f"sent; the other end answered: {answer}", markup=False)
