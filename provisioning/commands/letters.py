"""`tally station letters`: the letter that each card comes with."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from tallystick.common import moments
from tallystick.common.console import err
from tallystick.common.errors import BadInputError
from tallystick.common.moments import day_in_words
from tallystick.provisioning.commands.labels import names_of
from tallystick.provisioning.commands.options import (
    FILE,
    journal_option,
    language_option,
    users_option,
)
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.layout import by_serial, from_on
from tallystick.provisioning.labels.letter import CardLetter, write
from tallystick.provisioning.labels.scanned import read_serial


@click.command()
@click.argument("serials", nargs=-1)
@click.option("--batch", metavar="NAME", help="The finished cards of a batch that have a user.")
@users_option
@click.option(
    "--from", "first", metavar="SERIAL", help="Of a batch: print again from this card on."
)
@language_option
@click.option("--firm", "firm_name", default="", help="The firm's name, if not as the server says.")
@click.option("--contact", default="", help="Where cards are handed out, if not as it says.")
@click.option("--output", type=FILE, required=True, help="FILE.pdf")
@journal_option
def letters(
    *,
    serials: tuple[str, ...],
    batch: str | None,
    users_file: Path | None,
    first: str | None,
    languages: tuple[str, ...],
    firm_name: str,
    contact: str,
    output: Path,
    journal: Path,
) -> None:
    """Write a letter (A4, for window envelopes) to whoever gets each card, with her name.

    Names and addresses are those of --users; without it, a letter has the login. It is written in
    the first of the firm's languages, or in each --language, a page each.
    """
    if output.suffix.lower() != ".pdf":
        raise BadInputError(f"{output} is no PDF.", todo="End its name in .pdf.")
    people = names_of(users_file)
    with closing(StationJournal(journal)) as book:
        firm = book.firm()
        of_batch = [r.serial for r in book.finished(batch) if r.user] if batch else []
        ordered = from_on(by_serial(dict.fromkeys(of_batch)), first)
        wanted = [read_serial(serial) for serial in serials] + ordered
        users = {serial: book.user_of(serial) for serial in wanted}
    nobodys = [serial for serial, user in users.items() if not user]
    if nobodys or not wanted:
        raise BadInputError(
            f"Nobody has {', '.join(nobodys)} by this station's journal."
            if nobodys
            else "There is no card to write a letter for.",
            todo="Name cards that were made for somebody (`--user`, `--users`), or a --batch.",
        )
    name, where = firm_name or firm.name, contact or firm.contact
    if not (name and where):
        raise BadInputError(
            "The letter would not say who sends it, or where cards come back.",
            todo="Give --firm and --contact, or have the firm's policy say it (desk_contact).",
        )
    today = datetime.fromtimestamp(moments.now(), UTC).astimezone(firm.zone).date()
    made = []
    for serial in wanted:
        user = users[serial]
        person = people.get(user.lower())
        made += [
            CardLetter(
                language, name, where, person.name if person else user, serial,
                person.address if person else (), day=day_in_words(today, language),
            )
            for language in languages or firm.languages[:1]
        ]  # fmt: skip
    output.write_bytes(write(made))
    err().print(f"{len(made)} letters in {output}", markup=False, highlight=False)
