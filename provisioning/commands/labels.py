"""`tally station labels`: labels for cards or a batch."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from tallystick.common.console import err
from tallystick.common.errors import BadInputError
from tallystick.provisioning.commands.options import journal_option, users_option
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.labels import pdf, svg, zpl
from tallystick.provisioning.labels.layout import (
    STOCKS,
    Drawing,
    Stock,
    blanks,
    by_serial,
    draw,
    from_on,
)
from tallystick.provisioning.labels.scanned import read_serial
from tallystick.provisioning.people import ListedPerson, read_people

FORMATS = ("svg", "pdf", "zpl")


@click.command()
@click.argument("serials", nargs=-1)
@click.option("--batch", metavar="NAME", help="The finished cards of a batch.")
@click.option(
    "--stock",
    "stock_name",
    type=click.Choice(list(STOCKS)),
    default="50x25",
    help="Size of the labels in mm, or columns and rows on A4.",
)
@click.option("--caption", default="", help="A short line above the serial number.")
@click.option("--names", is_flag=True, help="The user of each card in place of the caption.")
@users_option
@click.option(
    "--from", "first", metavar="SERIAL", help="Of a batch: print again from this card on."
)
@click.option(
    "--start",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Place of the first label on a used sheet, row by row.",
)
@click.option(
    "--order",
    type=click.Choice(["serial", "finished"]),
    default="serial",
    show_default=True,
    help="Of a batch. SERIALS come as they are given.",
)
@click.option(
    "--certificates",
    is_flag=True,
    help="The QR code is the card's certificate (of a job with a ticket), not its serial number.",
)
@click.option("--dpi", type=click.Choice(["203", "300"]), default="203", help="Of a ZPL printer.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="FILE.svg, FILE.pdf or FILE.zpl.",
)
@journal_option
def labels(
    *,
    serials: tuple[str, ...],
    batch: str | None,
    stock_name: str,
    caption: str,
    names: bool,
    users_file: Path | None,
    first: str | None,
    start: int,
    order: str,
    certificates: bool,
    dpi: str,
    output: Path,
    journal: Path,
) -> None:
    """Write labels for SERIALS or a batch: text, Code 128 and QR code of the serial number."""
    stock = STOCKS[stock_name]
    kind = output.suffix.lstrip(".")
    if kind not in FORMATS:
        raise BadInputError(
            f"{output} is none of the formats that labels come in.",
            todo="End its name in .svg, .pdf or .zpl.",
        )
    with closing(StationJournal(journal)) as book:
        finished = book.finished(batch) if batch else []
        of_batch = list(dict.fromkeys(r.serial for r in finished))
        if order == "serial":
            of_batch = by_serial(of_batch)
        wanted = [read_serial(serial) for serial in serials] + from_on(of_batch, first)
        if not wanted:
            raise BadInputError(
                "There is no card to make a label for.",
                todo="Name serial numbers, or a --batch that has finished cards.",
            )
        known = names_of(users_file)
        names = names or users_file is not None
        dot = zpl.dot_mm(int(dpi)) if kind == "zpl" else None
        drawings = [
            draw(
                serial,
                stock,
                _name(book, serial, known) if names else caption,
                dot=dot,
                certificate=_certificate(book, serial) if certificates else "",
            )
            for serial in wanted
        ]
        written = _write(blanks(stock, start) + drawings, stock, kind, int(dpi), output)
        for record in finished:
            if record.state is CardState.LOCKED and record.serial in wanted:
                book.finish(record, CardState.LABELLED)
    files = ", ".join(str(path) for path in written)
    err().print(f"{len(drawings)} labels in {files}", markup=False)


def names_of(users_file: Path | None) -> dict[str, ListedPerson]:
    """By login, in small letters."""
    people = read_people(users_file) if users_file is not None else []
    return {one.login.lower(): one for one in people}


def _name(book: StationJournal, serial: str, known: dict[str, ListedPerson]) -> str:
    login = book.user_of(serial)
    return known[login.lower()].name if login.lower() in known else login


def _certificate(book: StationJournal, serial: str) -> str:
    noted = book.certificate(serial)
    if noted is None or noted.jws is None:
        raise BadInputError(
            f"Card {serial} has no certificate.",
            kept="No label was written.",
            todo="Cards that are made on a ticket get one; `tally station job certificates` asks "
            "the server for those that are missing.",
        )
    return noted.jws


def _write(drawings: list[Drawing], stock: Stock, kind: str, dpi: int, output: Path) -> list[Path]:
    if kind == "pdf":
        output.write_bytes(pdf.write(drawings, stock))
    elif kind == "zpl":
        output.write_text(zpl.write(drawings, dpi), encoding="utf-8")
    else:
        return _write_svg(drawings, stock, output)
    return [output]


def _write_svg(drawings: list[Drawing], stock: Stock, output: Path) -> list[Path]:
    """An SVG has one page, so that more than that takes several files."""
    written = []
    pages = svg.pages(drawings, stock)
    for number, page in enumerate(pages, 1):
        path = output if len(pages) == 1 else output.with_stem(f"{output.stem}-{number}")
        path.write_text(svg.write(page, stock), encoding="utf-8")
        written.append(path)
    return written
