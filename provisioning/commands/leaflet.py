"""`tally station leaflet`: what whoever gets a card is handed with it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from tallystick.common.console import err
from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial
from tallystick.provisioning.commands.options import FILE, operator_option
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.labels.leaflet import LANGUAGES, PAPERS, Leaflet, write


@click.command()
@click.argument("serials", nargs=-1)
@click.option(
    "--language",
    type=click.Choice(list(LANGUAGES)),
    default="en",
    show_default=True,
    help="Of the text.",
)
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
    language: str,
    paper: str,
    for_good: bool,
    firm: str,
    contact: str,
    output: Path,
    operator_file: Path,
) -> None:
    """Write a leaflet: how a card is used, with pictures, and where it comes back.

    Without SERIALS one with room to write. With them, one for each card; the ends of loans are
    printed where somebody is signed in at this desk.
    """
    if output.suffix.lower() != ".pdf":
        raise BadInputError(f"{output} is no PDF.", todo="End its name in .pdf.")
    ends: dict[str, str] = {}
    wanted = [check_serial(serial) for serial in serials]
    if not (firm and contact) or wanted:
        with closing(Desk(operator.load(operator_file))) as server:
            terms = server.terms()
            firm, contact = firm or terms.firm, contact or terms.contact
            for serial in wanted:
                card = server.card(serial)
                if card is not None and card.loan_until is not None:
                    ends[serial] = terms.words(card.loan_until)
    if not contact:
        raise BadInputError(
            "The leaflet would not say where cards come back.",
            todo="Give --contact, or have the firm's policy say it (desk_contact).",
        )
    made = [
        Leaflet(language, firm, contact, not for_good, serial, ends.get(serial, ""))
        for serial in wanted or [""]
    ]
    output.write_bytes(write(made, paper))
    err().print(f"{len(made)} leaflets in {output}", markup=False, highlight=False)
