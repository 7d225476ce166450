"""A page for each person at a key ceremony: what to check, what to sign, where it goes. A4; the
lower part is the slip that the share is written on by hand, to be cut off and sealed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from tallystick.provisioning.custody.interface import KeyDescription
from tallystick.provisioning.labels.leaflet import paragraph
from tallystick.provisioning.labels.letter import HEIGHT, LEFT, RIGHT, WIDTH

_GROUPS, _LETTERS = 8, 7  # of a share, as custody/ceremony.py writes it
_SLIP = 92.0  # mm from the bottom: where it is cut off
_BOX = 4.6  # mm
_NEWEST = 6  # firm masters that a page has room for, beside the transport master
_WIDE = WIDTH - LEFT - RIGHT


@dataclass(frozen=True)
class PageWords:
    """One language. {name}, {share}, {file}, {digest}, {kept}."""

    title: str
    rehearsal: str
    check: str
    master: str
    checks: tuple[str, ...]
    checks_module: tuple[str, ...]
    sign: str
    statement: str
    statement_module: str
    lines: tuple[str, str, str]
    goes: str
    places: tuple[str, ...]
    places_module: tuple[str, ...]
    slip: str
    write: str


WORDS = {
    "en": PageWords(
        "Key ceremony: {name}", "REHEARSAL: worth nothing", "1. Check, and tick",
        "master",
        (
            "The check values on the screen (`tally station keys show`) are these.",
            "The backup {file} has this SHA-256 (`sha256sum`): {digest}",
            "Nobody but you has seen your share: no colleague, no camera, no copy.",
            "You have typed your share back from the slip, and the station said: restore tried.",
        ),
        (
            "The check values on the screen (`tally station keys show`) are these.",
            "The maker's tool has copied {kept} to a second token, with the maker's own backup.",
            "The copy has answered the station's question (`keys prove`), and the station said: "
            "restore tried.",
            "What opens the copy is in your hands alone, or in those of the other person.",
        ),
        "2. Sign",
        "I hold share {share}. I give it to nobody, and use it only together with the holder of "
        "the other one, to restore these keys.",
        "I hold what opens the copy of the module. I use it only together with the other person, "
        "to restore these keys.",
        ("Place and day", "Signature", "Witness"),
        "3. Where it goes",
        (
            "This page: to the firm's records. It has no secret on it.",
            "The slip: cut it off, into an envelope, signed across the flap, into a safe that you "
            "alone open. Not into the house of the other slip, and not to the backup.",
            "The backup: to two places. It is worth nothing without both slips.",
        ),
        (
            "This page: to the firm's records. It has no secret on it.",
            "The copy: to another house than the module. What opens it: not to the copy.",
        ),
        "Share {share} of {name}",
        "Write it here by hand, as the screen shows it.",
    ),
    "de": PageWords(
        "Schlüsselzeremonie: {name}", "PROBE: ohne Wert", "1. Prüfen und abhaken",
        "Hauptschlüssel",
        (
            "Die Prüfwerte auf dem Bildschirm (`tally station keys show`) sind diese.",
            "Die Sicherung {file} hat diese SHA-256 (`sha256sum`): {digest}",
            "Niemand außer Ihnen hat Ihren Teil gesehen: kein Kollege, keine Kamera, keine Kopie.",
            "Sie haben Ihren Teil vom Zettel wieder eingetippt, und die Station hat gesagt: "
            "restore tried.",
        ),
        (
            "Die Prüfwerte auf dem Bildschirm (`tally station keys show`) sind diese.",
            "Das Werkzeug des Herstellers hat {kept} auf einen zweiten Token gesichert.",
            "Die Kopie hat die Frage der Station beantwortet (`keys prove`), und die Station hat "
            "gesagt: restore tried.",
            "Was die Kopie öffnet, haben nur Sie, oder nur die andere Person.",
        ),
        "2. Unterschreiben",
        "Ich habe Teil {share}. Ich gebe ihn niemandem und benutze ihn nur zusammen mit dem "
        "Inhaber des anderen, um diese Schlüssel wiederherzustellen.",
        "Ich habe, was die Kopie des Moduls öffnet. Ich benutze es nur zusammen mit der anderen "
        "Person, um diese Schlüssel wiederherzustellen.",
        ("Ort und Tag", "Unterschrift", "Zeuge"),
        "3. Wohin damit",
        (
            "Dieses Blatt: zu den Akten der Firma. Es enthält kein Geheimnis.",
            "Der Zettel: abschneiden, in einen Umschlag, über der Klappe unterschreiben, in einen "
            "Tresor, den nur Sie öffnen. Nicht ins Haus des anderen Zettels, nicht zur Sicherung.",
            "Die Sicherung: an zwei Orte. Ohne beide Zettel ist sie wertlos.",
        ),
        (
            "Dieses Blatt: zu den Akten der Firma. Es enthält kein Geheimnis.",
            "Die Kopie: in ein anderes Haus als das Modul. Was sie öffnet: nicht zur Kopie.",
        ),
        "Teil {share} von {name}",
        "Hier von Hand eintragen, wie der Bildschirm ihn zeigt.",
    ),
    "fr": PageWords(
        "Cérémonie des clés : {name}", "RÉPÉTITION : sans valeur", "1. Vérifiez et cochez",
        "clé maîtresse",
        (
            "Les valeurs de contrôle à l’écran (`tally station keys show`) sont celles-ci.",
            "La sauvegarde {file} a ce SHA-256 (`sha256sum`) : {digest}",
            "Personne d’autre n’a vu votre part : ni collègue, ni caméra, ni copie.",
            "Vous avez retapé votre part depuis le talon, et la station a dit : restore tried.",
        ),
        (
            "Les valeurs de contrôle à l’écran (`tally station keys show`) sont celles-ci.",
            "L’outil du fabricant a copié {kept} vers un second jeton.",
            "La copie a répondu à la question de la station (`keys prove`), et la station a dit : "
            "restore tried.",
            "Ce qui ouvre la copie est entre vos seules mains, ou celles de l’autre personne.",
        ),
        "2. Signez",
        "Je détiens la part {share}. Je ne la donne à personne et ne l’utilise qu’avec le "
        "détenteur de l’autre, pour restaurer ces clés.",
        "Je détiens ce qui ouvre la copie du module. Je ne l’utilise qu’avec l’autre personne, "
        "pour restaurer ces clés.",
        ("Lieu et jour", "Signature", "Témoin"),
        "3. Où cela va",
        (
            "Cette page : aux archives de la firme. Elle ne contient aucun secret.",
            "Le talon : découpez-le, sous enveloppe signée sur le rabat, dans un coffre que vous "
            "seul ouvrez. Ni dans la maison de l’autre talon, ni avec la sauvegarde.",
            "La sauvegarde : en deux lieux. Sans les deux talons elle ne vaut rien.",
        ),
        (
            "Cette page : aux archives de la firme. Elle ne contient aucun secret.",
            "La copie : dans une autre maison que le module. Ce qui l’ouvre : pas avec la copie.",
        ),
        "Part {share} de {name}",
        "À écrire ici à la main, comme l’écran la montre.",
    ),
    "es": PageWords(
        "Ceremonia de claves: {name}", "ENSAYO: sin valor", "1. Compruebe y marque",
        "clave maestra",
        (
            "Los valores de control de la pantalla (`tally station keys show`) son estos.",
            "La copia {file} tiene este SHA-256 (`sha256sum`): {digest}",
            "Nadie más ha visto su parte: ningún colega, ninguna cámara, ninguna copia.",
            "Ha vuelto a teclear su parte desde el talón, y la estación dijo: restore tried.",
        ),
        (
            "Los valores de control de la pantalla (`tally station keys show`) son estos.",
            "La herramienta del fabricante ha copiado {kept} a un segundo token.",
            "La copia ha respondido a la pregunta de la estación (`keys prove`), y la estación "
            "dijo: restore tried.",
            "Lo que abre la copia está solo en sus manos, o en las de la otra persona.",
        ),
        "2. Firme",
        "Tengo la parte {share}. No la doy a nadie y solo la uso junto con quien tiene la otra, "
        "para restaurar estas claves.",
        "Tengo lo que abre la copia del módulo. Solo lo uso junto con la otra persona, para "
        "restaurar estas claves.",
        ("Lugar y día", "Firma", "Testigo"),
        "3. Adónde va",
        (
            "Esta hoja: al archivo de la empresa. No contiene ningún secreto.",
            "El talón: recórtelo, en un sobre firmado sobre la solapa, en una caja fuerte que solo "
            "usted abra. Ni en la casa del otro talón, ni con la copia.",
            "La copia: a dos lugares. Sin los dos talones no vale nada.",
        ),
        (
            "Esta hoja: al archivo de la empresa. No contiene ningún secreto.",
            "La copia: a otra casa que el módulo. Lo que la abre: no con la copia.",
        ),
        "Parte {share} de {name}",
        "Escríbala aquí a mano, como la muestra la pantalla.",
    ),
    "nb": PageWords(
        "Nøkkelseremoni: {name}", "ØVELSE: uten verdi", "1. Kontroller og kryss av",
        "hovednøkkel",
        (
            "Kontrollverdiene på skjermen (`tally station keys show`) er disse.",
            "Sikkerhetskopien {file} har denne SHA-256 (`sha256sum`): {digest}",
            "Ingen andre enn du har sett delen din: ingen kollega, intet kamera, ingen kopi.",
            "Du har skrevet inn delen din igjen fra lappen, og stasjonen sa: restore tried.",
        ),
        (
            "Kontrollverdiene på skjermen (`tally station keys show`) er disse.",
            "Produsentens verktøy har kopiert {kept} til et annet token.",
            "Kopien har svart på stasjonens spørsmål (`keys prove`), og stasjonen sa: restore "
            "tried.",
            "Det som åpner kopien, har bare du, eller bare den andre personen.",
        ),
        "2. Skriv under",
        "Jeg har del {share}. Jeg gir den til ingen, og bruker den bare sammen med den som har den "
        "andre, for å gjenopprette disse nøklene.",
        "Jeg har det som åpner kopien av modulen. Jeg bruker det bare sammen med den andre "
        "personen, for å gjenopprette disse nøklene.",
        ("Sted og dag", "Underskrift", "Vitne"),
        "3. Hvor det skal",
        (
            "Dette arket: til firmaets arkiv. Det har ingen hemmelighet.",
            "Lappen: klipp den av, i en konvolutt, skriv over lokket, i en safe som bare du åpner. "
            "Ikke i samme hus som den andre lappen, og ikke sammen med kopien.",
            "Sikkerhetskopien: til to steder. Uten begge lappene er den ingenting verdt.",
        ),
        (
            "Dette arket: til firmaets arkiv. Det har ingen hemmelighet.",
            "Kopien: i et annet hus enn modulen. Det som åpner den: ikke sammen med kopien.",
        ),
        "Del {share} til {name}",
        "Skriv den her for hånd, slik skjermen viser den.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class CeremonyPage:
    """share: 1 or 2; 0 at a module, which gives none. file, digest: of the backup; kept: the name
    of what holds the keys. when: in words."""

    language: str
    name: str
    share: int
    keys: Sequence[KeyDescription]
    when: str
    kept: str = ""
    file: str = ""
    digest: str = ""
    rehearsal: bool = False


def write(pages: list[CeremonyPage]) -> bytes:
    """The document, a page each; the same pages give the same bytes. No secret is in it."""
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=(WIDTH * mm, HEIGHT * mm), invariant=1)
    canvas.setTitle("Key ceremony")
    for page in pages:
        canvas.saveState()
        canvas.scale(mm, mm)
        _page(canvas, page)
        canvas.restoreState()
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def _page(canvas: Canvas, page: CeremonyPage) -> None:
    words = WORDS[page.language]
    digest = " ".join(page.digest[at : at + 8] for at in range(0, len(page.digest), 8))
    said = {
        "name": page.name, "share": page.share, "file": page.file, "digest": digest,
        "kept": page.kept,
    }  # fmt: skip
    top = HEIGHT - 16
    if page.rehearsal:
        top = paragraph(canvas, words.rehearsal, LEFT, top, 5.5, bold=True, colour="#a4262c") - 1
    top = paragraph(canvas, words.title.format(**said), LEFT, top, 6, bold=True, wide=_WIDE)
    top = paragraph(canvas, page.when, LEFT, top - 1, 3.4, wide=_WIDE, colour="#566273")
    top = paragraph(canvas, words.check, LEFT, top - 4, 4.4, bold=True)
    for number, check in enumerate(words.checks if page.share else words.checks_module):
        top = _tick(canvas, check.format(**said), top - 2)
        if number == 0:
            for key in [*page.keys[:1], *page.keys[1:][-_NEWEST:]]:
                row = f"{words.master} {key.name} {key.version:02X}: {key.check_value.upper()}"
                top = paragraph(canvas, row, LEFT + 7, top - 0.8, 3.5, bold=True, wide=_WIDE)
    top = paragraph(canvas, words.sign, LEFT, top - 5, 4.4, bold=True)
    statement = (words.statement if page.share else words.statement_module).format(**said)
    top = paragraph(canvas, statement, LEFT, top - 2, 3.6, wide=_WIDE)
    top = _signatures(canvas, words.lines, top - 12)
    top = paragraph(canvas, words.goes, LEFT, top - 4, 4.4, bold=True)
    for place in words.places if page.share else words.places_module:
        top = _tick(canvas, place, top - 2)
    if page.share:
        _slip(canvas, words, said)


def _tick(canvas: Canvas, text: str, top: float) -> float:
    canvas.setStrokeColor(HexColor("#1b2430"))
    canvas.setLineWidth(0.3)
    canvas.rect(LEFT, top - 3.6, 3.4, 3.4, fill=0)
    return paragraph(canvas, text, LEFT + 7, top, 3.6, wide=_WIDE - 7)


def _signatures(canvas: Canvas, lines: Sequence[str], top: float) -> float:
    wide = (_WIDE - 12) / 3
    canvas.setStrokeColor(HexColor("#1b2430"))
    canvas.setLineWidth(0.2)
    lowest = top
    for number, name in enumerate(lines):
        left = LEFT + number * (wide + 6)
        canvas.line(left, top, left + wide, top)
        lowest = min(
            lowest, paragraph(canvas, name, left, top - 0.8, 3, wide=wide, colour="#566273")
        )
    return lowest


def _slip(canvas: Canvas, words: PageWords, said: dict[str, object]) -> None:
    canvas.setStrokeColor(HexColor("#566273"))
    canvas.setLineWidth(0.25)
    canvas.setDash(2, 1.5)
    canvas.line(8, _SLIP, WIDTH - 8, _SLIP)
    canvas.setDash()
    top = paragraph(canvas, words.slip.format(**said), LEFT, _SLIP - 6, 5, bold=True, wide=_WIDE)
    top = paragraph(canvas, words.write, LEFT, top - 1, 3.4, wide=_WIDE, colour="#566273")
    paragraph(canvas, f"{said['share']}:", LEFT, top - 5, 6, bold=True)
    canvas.setStrokeColor(HexColor("#1b2430"))
    for group in range(_GROUPS):
        row, column = divmod(group, 4)
        left, bottom = LEFT + 12 + column * (_LETTERS * _BOX + 4), top - 12 - row * 14
        for letter in range(_LETTERS):
            canvas.rect(left + letter * _BOX, bottom, _BOX, 7, fill=0)
