"""The letter with a reader's first PIN. It goes another way than the reader: who gets hold of both
can take the reader for his own."""

from __future__ import annotations

from dataclasses import dataclass, field

from reportlab.pdfgen.canvas import Canvas

from tallystick.provisioning.labels.leaflet import paragraph
from tallystick.provisioning.labels.letter import LEFT, RIGHT, WIDTH, document, head


@dataclass(frozen=True)
class PinWords:
    """One language. {name}, {serial}, {count}: characters that a PIN must have."""

    subject: str
    dear: str
    first: str
    rules: tuple[str, ...]
    trouble: str
    regards: str


WORDS = {
    "en": PinWords(
        "First PIN of the fingerprint reader {serial}",
        "Dear {name},",
        "the reader {serial} comes to you separately. Its first PIN is:",
        (
            "It opens nothing: the reader wants a PIN of your own first, of at least {count} "
            "characters. Its leaflet says how that is changed.",
            "Choose one that only you know. We never ask for it.",
            "Tear this letter up once you have changed the PIN.",
        ),
        "The PIN is refused, or the reader does not ask for another one? Do not use it, and tell "
        "us:",
        "Kind regards",
    ),
    "de": PinWords(
        "Erste PIN des Fingerabdrucklesers {serial}",
        "Guten Tag, {name},",
        "der Leser {serial} kommt getrennt zu Ihnen. Seine erste PIN ist:",
        (
            "Sie öffnet nichts: Der Leser will zuerst eine eigene PIN von Ihnen, mit mindestens "
            "{count} Zeichen. Wie man sie ändert, steht auf seinem Merkblatt.",
            "Nehmen Sie eine, die nur Sie kennen. Wir fragen nie danach.",
            "Zerreißen Sie diesen Brief, sobald Sie die PIN geändert haben.",
        ),
        "Die PIN wird abgelehnt, oder der Leser verlangt keine neue? Nicht benutzen und uns "
        "melden:",
        "Mit freundlichen Grüßen",
    ),
    "fr": PinWords(
        "Premier code PIN du lecteur d’empreintes {serial}",
        "Bonjour {name},",
        "le lecteur {serial} vous parvient séparément. Son premier code PIN est :",
        (
            "Il n’ouvre rien : le lecteur veut d’abord un code à vous, d’au moins {count} "
            "caractères. La notice dit comment le changer.",
            "Choisissez-en un que vous seul connaissez. Nous ne le demandons jamais.",
            "Déchirez cette lettre dès que vous l’avez changé.",
        ),
        "Le code est refusé, ou le lecteur n’en demande pas un autre ? Ne l’utilisez pas et "
        "prévenez-nous :",
        "Cordialement",
    ),
    "es": PinWords(
        "Primer PIN del lector de huellas {serial}",
        "Buenos días, {name}:",
        "el lector {serial} le llega por separado. Su primer PIN es:",
        (
            "No abre nada: el lector quiere primero un PIN suyo, de al menos {count} caracteres. "
            "Su hoja dice cómo se cambia.",
            "Elija uno que solo usted conozca. Nunca lo pedimos.",
            "Rompa esta carta en cuanto haya cambiado el PIN.",
        ),
        "¿El PIN se rechaza, o el lector no pide otro? No lo use y avísenos:",
        "Atentamente",
    ),
    "nb": PinWords(
        "Første PIN-kode til fingeravtrykksleseren {serial}",
        "Hei, {name}!",
        "Leseren {serial} kommer til deg for seg selv. Den første PIN-koden er:",
        (
            "Den åpner ingenting: leseren vil først ha din egen PIN-kode, på minst {count} tegn. "
            "Bruksanvisningen sier hvordan den byttes.",
            "Velg en som bare du kjenner. Vi spør aldri etter den.",
            "Riv i stykker dette brevet når du har byttet PIN-koden.",
        ),
        "Blir koden avvist, eller ber ikke leseren om en ny? Ikke bruk den, og si fra til oss:",
        "Vennlig hilsen",
    ),
}


@dataclass(frozen=True)
class PinLetter:
    """address: lines below the name. day: as it is written in that language. The PIN does not show
    in a repr."""

    language: str
    firm: str
    contact: str
    name: str
    serial: str
    count: int
    pin: str = field(repr=False)
    address: tuple[str, ...] = ()
    day: str = ""


def write(letters: list[PinLetter]) -> bytes:
    """The document, a page each; the same letters give the same bytes."""
    return document("First PINs", letters, _page)


def _page(canvas: Canvas, letter: PinLetter) -> None:
    words, wide = WORDS[letter.language], WIDTH - LEFT - RIGHT
    said = {"name": letter.name, "serial": letter.serial, "count": letter.count}
    top = head(
        canvas, letter.firm, letter.contact, (letter.name, *letter.address), letter.day,
        words.subject.format(**said),
    )  # fmt: skip
    top = paragraph(canvas, words.dear.format(**said), LEFT, top - 5, 3.9, wide=wide)
    top = paragraph(canvas, words.first.format(**said), LEFT, top - 3, 3.9, wide=wide)
    canvas.setFont("Courier-Bold", 9)
    canvas.drawString(LEFT, top - 14, letter.pin, charSpace=1.5)  # no blanks: they would be typed
    top -= 20
    for rule in words.rules:
        paragraph(canvas, "•", LEFT, top - 1.6, 3.7)
        top = paragraph(canvas, rule.format(**said), LEFT + 4, top - 1.6, 3.7, wide=wide - 4)
    trouble = f"{words.trouble} {letter.contact}"
    top = paragraph(canvas, trouble, LEFT, top - 5, 3.9, bold=True, wide=wide)
    top = paragraph(canvas, words.regards, LEFT, top - 6, 3.9)
    paragraph(canvas, letter.firm, LEFT, top - 2, 3.9, bold=True)
