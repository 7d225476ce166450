"""`tally station keys rotate|rotation` and `tally station rekey`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.moments import day_in_words
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.commands.keys import keys as keys_group
from tallystick.provisioning.commands.options import KeyOptions, journal_option, key_options
from tallystick.provisioning.custody.trial import need_tried
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.rekey import rekey as rekey_card


@keys_group.command()
@key_options
@journal_option
@click.option("--until", metavar="DAY", help="When all cards shall have it: 2027-03-31.")
@json_option
def rotate(*, ring: KeyOptions, journal: Path, until: str | None, as_json: bool) -> None:
    """Make a new firm master. Back it up; then new cards get it, and cards in service with
    `tally station rekey`. `keys rotation` shows how many are left."""
    day = _day(until)
    store = ring.store()
    version = store.rotate(ring.passphrase())
    with closing(StationJournal(journal)) as book:
        book.begin_rotation(version, day)
        book.note("firm master rotated", store.name, f"version {version:02X}")
    if as_json:
        print_json({"firm_version": f"{version:02X}"})
    else:
        out().print(f"firm master version {version:02X} is current; back it up now")


@keys_group.command()
@click.option("--list", "listed", is_flag=True, help="The serial numbers of those that are left.")
@journal_option
@json_option
def rotation(*, listed: bool, journal: Path, as_json: bool) -> None:
    """How far a rotation is: which cards in service have which version of the firm's keys, as this
    station has seen them, and how many are left. Needs no key."""
    with closing(StationJournal(journal)) as book:
        found, zone = book.rotation(), book.firm().zone
    today = datetime.fromtimestamp(moments.now(), UTC).astimezone(zone).date()
    overdue = bool(found.left and found.until and today > date.fromisoformat(found.until))
    if as_json:
        print_json(
            {
                "current": found.current and f"{found.current:02X}",
                "cards": {f"{version:02X}": len(cards) for version, cards in found.cards.items()},
                "unknown": len(found.unknown), "left": found.left, "until": found.until,
                "overdue": overdue,
            }
        )  # fmt: skip
        return
    for version, cards in found.cards.items():
        use = "current" if version == found.current else "older"
        out().print(f"version {version:02X} ({use}): {len(cards)} cards", markup=False)
    if found.unknown:
        out().print(
            f"unknown: {len(found.unknown)} cards, made before versions were noted, or of other "
            "makers",
            markup=False,
        )
    until = ""
    if found.until:
        day = day_in_words(date.fromisoformat(found.until))
        until = f", until {day}{': OVERDUE' if overdue else ''}"
    out().print(f"left to rekey: {len(found.left)}{until}", markup=False)
    for serial in found.left if listed else ():
        out().print(f"  {serial}", markup=False, highlight=False)


@click.command()
@click.option("--port", required=True, metavar="DEV", help="Port of the card's dock.")
@key_options
@journal_option
@json_option
def rekey(*, port: str, ring: KeyOptions, journal: Path, as_json: bool) -> None:
    """Give a card the firm's current keys after `keys rotate`; its seed stays."""
    told = err()
    with ring.open() as custody, CardConnection.open(port) as connection:
        need_tried(custody)
        waiting = Waiting(keepalive=lambda: told.print("press the button now"))
        done = rekey_card(connection, custody, waiting)
    with closing(StationJournal(journal)) as book:
        book.note_key_version(done.serial, done.after)
        if done.before != done.after:
            book.note("card rekeyed", done.serial, f"{done.before:02X} to {done.after:02X}")
    if as_json:
        print_json(asdict(done))
    else:
        out().print(f"card {done.serial}: key version {done.before:02X} to {done.after:02X}")


def _day(text: str | None) -> str | None:
    """Raises BadInputError for what is no day to come."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day < datetime.fromtimestamp(moments.now(), UTC).date():
        raise BadInputError(
            f"{text} is no day to come.", kept="Nothing was rotated.", todo="Write 2027-03-31."
        )
    return day.isoformat()
