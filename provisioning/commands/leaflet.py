"""`tally station leaflet`: what whoever gets a card is handed with it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from tallystick.common.console import err
from tallystick.common.errors import BadInputError
from tallystick.common.moments import in_words
from tallystick.provisioning.commands.options import FILE, language_option, operator_option
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.labels.leaflet import PAPERS, Leaflet, write
from tallystick.provisioning.labels.scanned import read_serial


@click.command()
@click.argument("serials", nargs=-1)
@language_option
@click.option(
    "--paper", type=click.Choice(list(PAPERS)), default="a6", show_default=True, help="Its size."
)
@click.option("--for-good", is_flag=True, help="For a card of one's own: without a loan's end.")
@click.option("--firm", default="", help="The firm's name, if not as the server has it.")
@click.option("--contact", default="", help="Where cards are handed out, if not as it has it.")
@click.option("--output", type=FILE, required=True, help="FILE.pdf")
@operator_option
def leaflet(
    *,
    serials: tuple[str, ...],
    languages: tuple[str, ...],
    paper: str,
    for_good: bool,
    firm: str,
    contact: str,
    output: Path,
    operator_file: Path,
) -> None:
    """Write a leaflet: how a card is used, with pictures, and where it comes back.

    One page in each of the firm's languages. Without SERIALS one with room to write. With them, one
    for each card; the ends of loans are printed where somebody is signed in at this desk.
    """
    if output.suffix.lower() != ".pdf":
        raise BadInputError(f"{output} is no PDF.", todo="End its name in .pdf.")
    ends: dict[str, int] = {}
    zone: ZoneInfo | None = None
    wanted = [read_serial(serial) for serial in serials]
    if not (firm and contact and languages) or wanted:
        with closing(Desk(operator.load(operator_file))) as server:
            terms = server.terms()
            firm, contact = firm or terms.firm, contact or terms.contact
            languages = languages or terms.languages
            zone = terms.zone
            for serial in wanted:
                card = server.card(serial)
                if card is not None and card.loan_until is not None:
                    ends[serial] = card.loan_until
    if not contact:
        raise BadInputError(
            "The leaflet would not say where cards come back.",
            todo="Give --contact, or have the firm's policy say it (desk_contact).",
        )
    made = [
        Leaflet(
            language, firm, contact, not for_good, serial,
            in_words(ends[serial], zone, language) if serial in ends else "",
        )
        for serial in wanted or [""]
        for language in languages
    ]  # fmt: skip
    output.write_bytes(write(made, paper))
    err().print(f"{len(made)} leaflets in {output}", markup=False, highlight=False)
