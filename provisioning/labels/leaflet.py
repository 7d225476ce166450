"""A leaflet for whoever gets a device: pictures of it, how it is used, where it comes back. One
page, drawn for A6; A4 is the same twice as large. Here that of the card."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

from tallystick.provisioning.labels.fonts import font_for

WIDTH, HEIGHT = 105.0, 148.0  # mm
PAPERS = {"a6": 1.0, "a4": 2.0}
MARGIN = 8.0
_INK, _SOFT, _GLASS, _ACCENT = (HexColor(c) for c in ("#1b2430", "#566273", "#dfe7dc", "#0b5cad"))
_BOLD = "Helvetica-Bold"


@dataclass(frozen=True)
class Words:
    """One language. until: before the end of a loan, which is written in by hand or printed."""

    title: str
    steps: tuple[str, str, str]
    rules: tuple[str, ...]
    lent: str
    until: str
    back: str
    lost: str


LANGUAGES = {
    "en": Words(
        "Your code card",
        ("Press the button.", "Read the digits.", "Type them where you sign in."),
        (
            "Each code is good once. For the next one, wait until the display is dark and press "
            "again.",
            "Press only when you need a code: a card that was pressed too often has to be found "
            "again at the desk.",
            "Give the card and its codes to nobody. We never ask for a code by telephone or mail.",
            "The display stays dark, or a code is refused twice? Come to the desk.",
        ),
        "This card is lent to you.",
        "Bring it back by:",
        "Where:",
        "Lost? Tell us at once:",
    ),
    "de": Words(
        "Ihre Code-Karte",
        ("Taste drücken.", "Ziffern ablesen.", "Beim Anmelden eintippen."),
        (
            "Jeder Code gilt einmal. Für den nächsten warten, bis die Anzeige dunkel ist, und "
            "wieder drücken.",
            "Nur drücken, wenn Sie einen Code brauchen: Eine zu oft gedrückte Karte muss an der "
            "Ausgabe neu abgeglichen werden.",
            "Geben Sie Karte und Codes niemandem. Wir fragen nie per Telefon oder Mail nach einem "
            "Code.",
            "Die Anzeige bleibt dunkel, oder ein Code wird zweimal abgelehnt? Kommen Sie zur "
            "Ausgabe.",
        ),
        "Diese Karte ist Ihnen geliehen.",
        "Zurück bis:",
        "Wohin:",
        "Verloren? Sofort melden:",
    ),
    "fr": Words(
        "Votre carte à codes",
        ("Appuyez sur le bouton.", "Lisez les chiffres.", "Tapez-les pour vous connecter."),
        (
            "Chaque code sert une fois. Pour le suivant, attendez que l’écran s’éteigne et appuyez "
            "de nouveau.",
            "N’appuyez que si vous avez besoin d’un code : une carte pressée trop souvent doit "
            "être resynchronisée au guichet.",
            "Ne donnez ni la carte ni ses codes à personne. Nous ne demandons jamais de code par "
            "téléphone ou par courriel.",
            "L’écran reste noir, ou un code est refusé deux fois ? Venez au guichet.",
        ),
        "Cette carte vous est prêtée.",
        "À rendre avant :",
        "Où :",
        "Perdue ? Prévenez-nous aussitôt :",
    ),
    "es": Words(
        "Su tarjeta de códigos",
        ("Pulse el botón.", "Lea las cifras.", "Escríbalas para entrar."),
        (
            "Cada código sirve una vez. Para el siguiente, espere a que la pantalla se apague y "
            "vuelva a pulsar.",
            "Pulse solo cuando necesite un código: una tarjeta pulsada demasiadas veces hay que "
            "resincronizarla en el mostrador.",
            "No dé a nadie la tarjeta ni sus códigos. Nunca pedimos un código por teléfono ni por "
            "correo.",
            "¿La pantalla sigue apagada, o un código se rechaza dos veces? Venga al mostrador.",
        ),
        "Esta tarjeta se le ha prestado.",
        "Devuélvala antes de:",
        "Dónde:",
        "¿Perdida? Avise enseguida:",
    ),
    "nb": Words(
        "Kodekortet ditt",
        ("Trykk på knappen.", "Les tallene.", "Skriv dem der du logger inn."),
        (
            "Hver kode gjelder én gang. For den neste: vent til skjermen er mørk, og trykk igjen.",
            "Trykk bare når du trenger en kode: et kort som er trykket for ofte, må finnes igjen i "
            "skranken.",
            "Gi kortet og kodene til ingen. Vi spør aldri etter en kode på telefon eller e-post.",
            "Er skjermen mørk, eller blir en kode avvist to ganger? Kom til skranken.",
        ),
        "Dette kortet er lånt ut til deg.",
        "Lever det tilbake innen:",
        "Hvor:",
        "Mistet? Si fra med en gang:",
    ),
}


@dataclass(frozen=True)
class Leaflet:
    """firm, contact: whose card it is, and where cards are handed out. lent: with the lines of a
    loan. serial, until: printed where they are known, else there is room to write."""

    language: str
    firm: str
    contact: str
    lent: bool = True
    serial: str = ""
    until: str = ""


@dataclass(frozen=True)
class Edition:
    """The leaflet of a kind of device. draw: one of its pictures into a frame: left, bottom, width
    and height in mm, and its number from 0."""

    languages: Mapping[str, Words]
    draw: Callable[[Canvas, float, float, float, float, int], None]


def write(leaflets: list[Leaflet], paper: str, edition: Edition | None = None) -> bytes:
    """The document, a page each; the same leaflets give the same bytes. edition: None: the
    card's."""
    edition = edition or CARD
    scale = PAPERS[paper]
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=(WIDTH * mm * scale, HEIGHT * mm * scale), invariant=1)
    canvas.setTitle(edition.languages[leaflets[0].language].title)
    for leaflet in leaflets:
        canvas.saveState()
        canvas.scale(scale * mm, scale * mm)
        _page(canvas, leaflet, edition)
        canvas.restoreState()
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def _page(canvas: Canvas, leaflet: Leaflet, edition: Edition) -> None:
    words = edition.languages[leaflet.language]
    top = paragraph(canvas, words.title, MARGIN, HEIGHT - MARGIN, 5.6, bold=True)
    top = paragraph(canvas, leaflet.firm, MARGIN, top - 1, 3.2, colour="#566273")
    top = pictures(canvas, words, MARGIN, top - 3, WIDTH - 2 * MARGIN, draw=edition.draw)
    for rule in words.rules:
        paragraph(canvas, "•", MARGIN, top - 1.2, 3.1)
        top = paragraph(canvas, rule, MARGIN + 3.5, top - 1.2, 3.1)
    _foot(canvas, words, leaflet, top - 3)


def pictures(
    canvas: Canvas,
    words: Words,
    x: float,
    top: float,
    room: float,
    *,
    size: float = 3.0,
    draw: Callable[[Canvas, float, float, float, float, int], None] | None = None,
) -> float:
    """Three pictures, side by side, with a line under each. The unit is mm: x, top, room, size (of
    the text). draw: as of an Edition; None: the card. → where they end"""
    wide = (room - 8) / 3
    tall = wide * 0.63
    lowest = top
    for number, line in enumerate(words.steps):
        left = x + number * (wide + 4)
        (draw or _card)(canvas, left, top - tall, wide, tall, number)
        said = f"{number + 1}. {line}"
        under = paragraph(canvas, said, left, top - tall - 1, size, bold=True, wide=wide)
        lowest = min(lowest, under)
    return lowest - 1


def _card(canvas: Canvas, x: float, y: float, wide: float, tall: float, step: int) -> None:
    """step: 0 shows the press, 1 the digits, 2 the digits going into a field."""
    canvas.setLineWidth(0.35)
    canvas.setStrokeColor(_INK)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.roundRect(x, y, wide, tall, 2, fill=1)
    if step == 2:
        canvas.setFillColor(HexColor("#f3f5f8"))
        canvas.roundRect(x + 2.5, y + tall * 0.36, wide - 5, tall * 0.3, 1, fill=1)
        canvas.setFillColor(_ACCENT)
        canvas.setFont(_BOLD, 4)
        canvas.drawCentredString(x + wide / 2, y + tall * 0.44, "492 039")
        return
    glass = (x + 2.5, y + tall * 0.42, wide * 0.56, tall * 0.36)
    canvas.setFillColor(_GLASS)
    canvas.roundRect(*glass, 0.8, fill=1)
    if step == 1:
        canvas.setFillColor(_INK)
        canvas.setFont(_BOLD, 3.6)
        canvas.drawCentredString(glass[0] + glass[2] / 2, glass[1] + glass[3] * 0.3, "492 039")
    middle = (x + wide * 0.82, y + tall * 0.6)
    canvas.setFillColor(_ACCENT if step == 0 else HexColor("#ffffff"))
    canvas.circle(*middle, 2.1, fill=1)
    if step == 0:
        canvas.setStrokeColor(_ACCENT)
        for ring in (3.1, 3.9):
            canvas.circle(*middle, ring, fill=0)


CARD = Edition(LANGUAGES, _card)


def _foot(canvas: Canvas, words: Words, leaflet: Leaflet, top: float) -> None:
    canvas.setStrokeColor(_SOFT)
    canvas.setLineWidth(0.2)
    canvas.line(MARGIN, top, WIDTH - MARGIN, top)
    top -= 1
    lines = []
    if leaflet.lent:
        top = paragraph(canvas, words.lent, MARGIN, top, 3.2, bold=True)
        lines = [(words.until, leaflet.until or "_" * 22), (words.back, leaflet.contact)]
    lines.append((words.lost, leaflet.contact))
    for name, value in lines:
        said = f"<b>{escape(name)}</b> {escape(value)}"
        top = paragraph(canvas, said, MARGIN, top - 0.6, 3.1, raw=True)
    if leaflet.serial:
        paragraph(canvas, leaflet.serial, MARGIN, top - 1, 3.1, colour="#566273")


def paragraph(
    canvas: Canvas,
    text: str,
    x: float,
    top: float,
    size: float,
    *,
    bold: bool = False,
    wide: float | None = None,
    colour: str = "#1b2430",
    raw: bool = False,
) -> float:
    """Text in lines as wide as there is room. The unit is mm: x, top, size, wide. raw: markup.
    → where it ends"""
    style = ParagraphStyle(
        "leaflet",
        fontName=font_for(re.sub(r"</?b>", "", text), bold=bold),
        fontSize=size,
        leading=size * 1.25,
        textColor=colour,
    )
    made = Paragraph(text if raw else escape(text), style)
    _, tall = made.wrap(wide or WIDTH - MARGIN - x, HEIGHT)
    made.drawOn(canvas, x, top - tall)
    return float(top - tall)
