"""The leaflet for whoever gets a reader that was made ready for him: his own PIN first, then a
finger, then the portal."""

from __future__ import annotations

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from tallystick.provisioning.labels.leaflet import Edition, Words

_INK, _ACCENT, _WHITE = (HexColor(c) for c in ("#1b2430", "#0b5cad", "#ffffff"))

LANGUAGES = {
    "en": Words(
        "Your fingerprint reader",
        ("Plug it in.", "Change its PIN.", "Add your finger."),
        (
            "Its first PIN comes to you in a letter of its own. It opens nothing until you have "
            "changed it: choose one that only you know, and no birthday.",
            "Chrome or Edge: Settings, Manage security keys. Windows: Sign-in options, Security "
            "key. Linux: fido2-token\u00a0-C\u00a0/dev/hidraw0.",
            "Then sign in at the portal with your password; it asks for your finger. The reader is "
            "enrolled for you already.",
            "The first PIN is refused, or was changed before you? Do not use the reader, and tell "
            "us.",
        ),
        "This reader is lent to you.",
        "Bring it back by:",
        "Where:",
        "Lost? Tell us at once:",
    ),
    "de": Words(
        "Ihr Fingerabdruckleser",
        ("Einstecken.", "PIN ändern.", "Finger anlernen."),
        (
            "Die erste PIN kommt in einem eigenen Brief. Sie öffnet nichts, bis Sie sie geändert "
            "haben: Nehmen Sie eine, die nur Sie kennen, und keinen Geburtstag.",
            "Chrome oder Edge: Einstellungen, Sicherheitsschlüssel verwalten. Windows: "
            "Anmeldeoptionen, Sicherheitsschlüssel. Linux: fido2-token\u00a0-C\u00a0/dev/hidraw0.",
            "Dann im Portal mit dem Passwort anmelden; es fragt nach dem Finger. Der Leser ist "
            "schon für Sie eingetragen.",
            "Die erste PIN wird abgelehnt, oder jemand hat sie schon geändert? Leser nicht "
            "benutzen und uns melden.",
        ),
        "Dieser Leser ist Ihnen geliehen.",
        "Zurück bis:",
        "Wohin:",
        "Verloren? Sofort melden:",
    ),
    "fr": Words(
        "Votre lecteur d’empreintes",
        ("Branchez-le.", "Changez le code PIN.", "Ajoutez votre doigt."),
        (
            "Le premier code PIN arrive par un courrier à part. Il n’ouvre rien tant que vous ne "
            "l’avez pas changé : choisissez-en un que vous seul connaissez, pas un anniversaire.",
            "Chrome ou Edge : Paramètres, Gérer les clés de sécurité. Windows : Options de "
            "connexion, Clé de sécurité. Linux : fido2-token\u00a0-C\u00a0/dev/hidraw0.",
            "Connectez-vous ensuite au portail avec votre mot de passe ; il demande votre doigt. "
            "Le lecteur est déjà enregistré pour vous.",
            "Le premier code PIN est refusé, ou quelqu’un l’a déjà changé\u00a0? N’utilisez pas le "
            "lecteur et prévenez-nous.",
        ),
        "Ce lecteur vous est prêté.",
        "À rendre avant :",
        "Où :",
        "Perdu ? Prévenez-nous aussitôt :",
    ),
    "es": Words(
        "Su lector de huellas",
        ("Conéctelo.", "Cambie su PIN.", "Añada su dedo."),
        (
            "Su primer PIN le llega en una carta aparte. No abre nada hasta que lo haya cambiado: "
            "elija uno que solo usted conozca, y ningún cumpleaños.",
            "Chrome o Edge: Configuración, Gestionar llaves de seguridad. Windows: Opciones de "
            "inicio de sesión, Clave de seguridad. Linux: fido2-token\u00a0-C\u00a0/dev/hidraw0.",
            "Después inicie sesión en el portal con su contraseña; le pedirá el dedo. El lector ya "
            "está registrado a su nombre.",
            "¿El primer PIN se rechaza, o alguien lo cambió antes? No use el lector y avísenos.",
        ),
        "Este lector se le ha prestado.",
        "Devuélvalo antes de:",
        "Dónde:",
        "¿Perdido? Avise enseguida:",
    ),
    "nb": Words(
        "Fingeravtrykksleseren din",
        ("Koble den til.", "Bytt PIN-koden.", "Legg til fingeren."),
        (
            "Den første PIN-koden kommer i et eget brev. Den åpner ingenting før du har byttet "
            "den: velg en som bare du kjenner, og ingen fødselsdag.",
            "Chrome eller Edge: Innstillinger, Administrer sikkerhetsnøkler. Windows: "
            "Påloggingsalternativer, Sikkerhetsnøkkel. Linux: "
            "fido2-token\u00a0-C\u00a0/dev/hidraw0.",
            "Logg så inn i portalen med passordet; den ber om fingeren. Leseren er alt registrert "
            "på deg.",
            "Blir den første PIN-koden avvist, eller har noen byttet den før deg? Ikke bruk "
            "leseren, og si fra til oss.",
        ),
        "Denne leseren er lånt ut til deg.",
        "Lever den tilbake innen:",
        "Hvor:",
        "Mistet? Si fra med en gang:",
    ),
}


def _reader(canvas: Canvas, x: float, y: float, wide: float, tall: float, step: int) -> None:
    """step: 0 shows the plug, 1 a PIN in a field, 2 a finger on the glass."""
    canvas.setLineWidth(0.35)
    canvas.setStrokeColor(_INK)
    canvas.setFillColor(_WHITE)
    if step == 1:
        canvas.roundRect(x, y, wide, tall, 2, fill=1)
        canvas.setFillColor(HexColor("#f3f5f8"))
        canvas.roundRect(x + 2.5, y + tall * 0.36, wide - 5, tall * 0.3, 1, fill=1)
        canvas.setFillColor(_ACCENT)
        for dot in range(6):
            canvas.circle(x + wide / 2 + (dot - 2.5) * 2.6, y + tall * 0.51, 0.7, stroke=0, fill=1)
        return
    box = (x + wide * 0.3, y, wide * 0.7, tall)
    canvas.roundRect(*box, 2, fill=1)
    middle = (box[0] + box[2] / 2, y + tall / 2)
    canvas.circle(*middle, tall * 0.34, fill=1)
    canvas.setStrokeColor(_ACCENT if step == 0 else _INK)
    canvas.line(x + wide * 0.14, middle[1], box[0], middle[1])
    canvas.setFillColor(_ACCENT if step == 0 else _WHITE)
    canvas.rect(x, middle[1] - 1.3, wide * 0.14, 2.6, fill=1)
    if step == 2:
        canvas.setStrokeColor(_ACCENT)
        for ridge in (0.26, 0.18, 0.1):
            radius = tall * ridge
            canvas.arc(
                middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius,
                -20, 220,
            )  # fmt: skip


READER = Edition(LANGUAGES, _reader)
