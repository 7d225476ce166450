"""The letter that a card comes with: to its holder by name, with pictures of how it is used.

A page of A4, folded twice: the address stands in the window of a DL or C5/6 envelope (DIN 5008,
form B)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from tallystick.provisioning.labels.layout import STOCKS, draw
from tallystick.provisioning.labels.leaflet import LANGUAGES, paragraph, pictures

T = TypeVar("T")

WIDTH, HEIGHT = 210.0, 297.0  # mm
LEFT, RIGHT = 25.0, 20.0
WINDOW_TOP = 62.7 - 17.7  # below the line of the sender
FOLDS = (105.0, 210.0)


@dataclass(frozen=True)
class LetterWords:
    """One language. {name}, {serial}, {until}."""

    dear: str
    yours: str
    lent: str
    use: str
    regards: str
    card: str


WORDS = {
    "en": LetterWords(
        "Dear {name},",
        "with this letter you get the card {serial}. It is yours: whenever a sign-in page asks for "
        "a code, the card shows it.",
        "with this letter you are lent the card {serial}, until {until}. Whenever a sign-in page "
        "asks for a code, the card shows it.",
        "How it is used",
        "Kind regards",
        "Card",
    ),
    "de": LetterWords(
        "Guten Tag, {name},",
        "mit diesem Brief bekommen Sie die Karte {serial}. Sie gehört Ihnen: Fragt eine "
        "Anmeldeseite nach einem Code, zeigt ihn die Karte.",
        "mit diesem Brief leihen wir Ihnen die Karte {serial}, bis {until}. Fragt eine "
        "Anmeldeseite nach einem Code, zeigt ihn die Karte.",
        "So wird sie benutzt",
        "Mit freundlichen Grüßen",
        "Karte",
    ),
    "fr": LetterWords(
        "Bonjour {name},",
        "voici votre carte {serial}. Elle est à vous : quand une page de connexion demande un "
        "code, la carte l’affiche.",
        "voici la carte {serial}, qui vous est prêtée jusqu’à {until}. Quand une page de connexion "
        "demande un code, la carte l’affiche.",
        "Mode d’emploi",
        "Cordialement",
        "Carte",
    ),
    "es": LetterWords(
        "Buenos días, {name}:",
        "con esta carta recibe la tarjeta {serial}. Es suya: cuando una página de acceso pida un "
        "código, la tarjeta lo muestra.",
        "con esta carta se le presta la tarjeta {serial}, hasta {until}. Cuando una página de "
        "acceso pida un código, la tarjeta lo muestra.",
        "Cómo se usa",
        "Atentamente",
        "Tarjeta",
    ),
    "nb": LetterWords(
        "Hei, {name}!",
        "Med dette brevet får du kortet {serial}. Det er ditt: når en innloggingsside ber om en "
        "kode, viser kortet den.",
        "Med dette brevet låner du kortet {serial}, til {until}. Når en innloggingsside ber om en "
        "kode, viser kortet den.",
        "Slik brukes det",
        "Vennlig hilsen",
        "Kort",
    ),
}


@dataclass(frozen=True)
class CardLetter:
    """address: lines below the name. until: of a loan; empty: the card is for good. day: as it is
    written in that language."""

    language: str
    firm: str
    contact: str
    name: str
    serial: str
    address: tuple[str, ...] = ()
    until: str = ""
    day: str = ""


def write(letters: list[CardLetter]) -> bytes:
    """The document, a page each; the same letters give the same bytes."""
    return document("Letters with cards", letters, _page)


def document(title: str, letters: Sequence[T], page: Callable[[Canvas, T], None]) -> bytes:
    """A page of A4 for each letter, which `page` draws in mm."""
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=(WIDTH * mm, HEIGHT * mm), invariant=1)
    canvas.setTitle(title)
    for letter in letters:
        canvas.saveState()
        canvas.scale(mm, mm)
        page(canvas, letter)
        canvas.restoreState()
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def head(
    canvas: Canvas, firm: str, contact: str, to: Sequence[str], day: str, subject: str
) -> float:
    """What every letter begins with, and its folds. to: the lines of the address, the name first.
    The unit is mm. → where the text goes on"""
    paragraph(canvas, firm, LEFT, HEIGHT - 18, 6, bold=True, wide=WIDTH - LEFT - RIGHT)
    sender = " · ".join(part for part in (firm, contact) if part)
    paragraph(canvas, sender, LEFT, HEIGHT - WINDOW_TOP, 2.3, wide=80, colour="#566273")
    top = HEIGHT - WINDOW_TOP - 9
    for line in to:
        top = paragraph(canvas, line, LEFT, top, 3.9, wide=80)
    if day:
        paragraph(canvas, day, WIDTH - RIGHT - 45, HEIGHT - 90, 3.7, wide=45)
    canvas.setStrokeColor(HexColor("#9aa5b4"))
    canvas.setLineWidth(0.2)
    for fold in FOLDS:
        canvas.line(4, HEIGHT - fold, 9, HEIGHT - fold)
    return paragraph(canvas, subject, LEFT, HEIGHT - 98, 4.2, bold=True)


def _page(canvas: Canvas, letter: CardLetter) -> None:
    words, use = WORDS[letter.language], LANGUAGES[letter.language]
    wide = WIDTH - LEFT - RIGHT
    top = head(
        canvas, letter.firm, letter.contact, (letter.name, *letter.address), letter.day,
        f"{words.card} {letter.serial}",
    )  # fmt: skip
    top = paragraph(canvas, words.dear.format(name=letter.name), LEFT, top - 5, 3.9, wide=wide)
    first = (words.lent if letter.until else words.yours).format(
        serial=letter.serial, until=letter.until
    )
    top = paragraph(canvas, first, LEFT, top - 3, 3.9, wide=wide)
    top = paragraph(canvas, words.use, LEFT, top - 5, 4.2, bold=True)
    top = pictures(canvas, use, LEFT, top - 3, wide * 0.75, size=3.4)
    for rule in use.rules:
        paragraph(canvas, "•", LEFT, top - 1.6, 3.7)
        top = paragraph(canvas, rule, LEFT + 4, top - 1.6, 3.7, wide=wide - 4)
    named = [(use.back, letter.contact)] if letter.until else []
    for label, value in [*named, (use.lost, letter.contact)]:
        top = paragraph(canvas, f"{label} {value}", LEFT, top - 3, 3.9, bold=True, wide=wide)
    top = paragraph(canvas, words.regards, LEFT, top - 6, 3.9)
    paragraph(canvas, letter.firm, LEFT, top - 2, 3.9, bold=True)
    _label(canvas, letter.serial)


def _label(canvas: Canvas, serial: str) -> None:
    """The card's label once more, to be scanned: which card belongs to this letter."""
    stock = STOCKS["50x25"]
    drawing = draw(serial, stock)
    left, bottom = WIDTH - RIGHT - stock.width, 14.0
    canvas.setFillColor(HexColor("#000000"))
    for x, y, w, h in drawing.bars:
        canvas.rect(left + x, bottom + stock.height - y - h, w, h, stroke=0, fill=1)
    for text in drawing.texts:
        canvas.setFont("Helvetica-Bold", text.size)
        canvas.drawString(left + text.x, bottom + stock.height - text.y, text.content)
