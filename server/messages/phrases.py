"""Messages about cards, sentence by sentence, in each language that a firm may choose."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.server.wording.languages import Language


@dataclass(frozen=True)
class Said:
    """One message. short: as an SMS."""

    subject: str
    first: str
    back: str
    short: str


@dataclass(frozen=True)
class Phrases:
    """{serial}, {firm}, {desk}, {end}: as known then. {given}: `in_place_of`, or nothing."""

    use: str
    help_desk: str
    in_place_of: str
    not_yours: str
    assigned: Said
    lent: Said
    ends_soon: Said
    overdue: Said
    pool_short: tuple[str, str]  # subject, text; {left}, {minimum}: cards
    invited: tuple[str, tuple[str, ...]]  # subject, paragraphs; {name}, {login}, {link}
    reminded: tuple[str, tuple[str, ...]]  # {asked}: `asked_from`, or nothing
    asked_from: str  # {day}


PHRASES: dict[Language, Phrases] = {
    Language.ENGLISH: Phrases(
        use="How to use it: when a sign-in page asks for a code, press the button of the card and "
        "type the digits on its display. Each code is good once; press again, when the display is "
        "dark, for the next one. Give the card and its codes to nobody.",
        help_desk="the help desk of {firm}",
        in_place_of=" in place of {lost}, which verifies nothing any more",
        not_yours="You did not get this card? Tell {desk} at once.",
        assigned=Said(
            "Your card {serial}",
            "The card {serial} was assigned to you{given}. It is yours until further notice.",
            "If it is lost or broken, tell {desk} at once.",
            "{firm}: card {serial} is assigned to you. Lost? Tell {desk}.",
        ),
        lent=Said(
            "Card {serial} is lent to you until {end}",
            "The card {serial} was lent to you{given}, until {end}. After that it verifies "
            "nothing.",
            "Bring it back before then: {desk}. If it is lost, tell them at once.",
            "{firm}: card {serial} is lent to you until {end}. Return: {desk}.",
        ),
        ends_soon=Said(
            "Bring card {serial} back until {end}",
            "The loan of card {serial} ends {end}. After that it verifies nothing.",
            "Bring it back before then, or ask for a longer loan: {desk}.",
            "{firm}: the loan of card {serial} ends {end}. Return: {desk}.",
        ),
        overdue=Said(
            "Card {serial} is overdue",
            "The loan of card {serial} was over {end}. It verifies nothing since then.",
            "Bring it back: {desk}. If it is lost, tell them at once.",
            "{firm}: card {serial} is overdue since {end}. Return: {desk}.",
        ),
        pool_short=(
            "{firm}: {left} cards are left in the pool",
            "The pool of {firm} has {left} cards left; {minimum} should be there. Have more made, "
            "or ask for those that are overdue.",
        ),
        invited=(
            "{firm}: set up your account",
            (
                "Hello {name},",
                "{firm} has made an account for you. Your login name is {login}. With this link "
                "you choose a password, and a second way to prove that it is you:",
                "{link}",
                "It is good once, until {end}. Give it to nobody.",
                "You did not expect this? Tell {desk}.",
            ),
        ),
        reminded=(
            "{firm}: add a second way to sign in",
            (
                "Hello {name},",
                "your account {login} has a password only. Whoever finds that out can get in."
                "{asked} Add a second factor; it takes two minutes:",
                "{link}",
                "If you need help: {desk}.",
            ),
        ),
        asked_from=" From {day} on it is asked for.",
    ),
    Language.GERMAN: Phrases(
        use="So wird sie benutzt: Fragt eine Anmeldeseite nach einem Code, drücken Sie die Taste "
        "der Karte und tippen die Ziffern der Anzeige ein. Jeder Code gilt einmal; für den "
        "nächsten wieder drücken, wenn die Anzeige dunkel ist. Geben Sie Karte und Codes "
        "niemandem.",
        help_desk="Ausgabe von {firm}",
        in_place_of=" an Stelle von {lost}, die nichts mehr bestätigt",
        not_yours="Sie haben diese Karte nicht bekommen? Sagen Sie es sofort: {desk}.",
        assigned=Said(
            "Ihre Karte {serial}",
            "Die Karte {serial} wurde Ihnen zugewiesen{given}. Sie gehört bis auf Weiteres Ihnen.",
            "Ist sie verloren oder kaputt, melden Sie es sofort: {desk}.",
            "{firm}: Karte {serial} ist Ihnen zugewiesen. Verloren? Sofort melden: {desk}.",
        ),
        lent=Said(
            "Karte {serial} ist Ihnen bis {end} geliehen",
            "Die Karte {serial} wurde Ihnen geliehen{given}, bis {end}. Danach bestätigt sie "
            "nichts mehr.",
            "Bringen Sie sie vorher zurück: {desk}. Ist sie verloren, melden Sie es dort sofort.",
            "{firm}: Karte {serial} ist Ihnen bis {end} geliehen. Rückgabe: {desk}.",
        ),
        ends_soon=Said(
            "Bitte Karte {serial} bis {end} zurückbringen",
            "Die Leihe der Karte {serial} endet {end}. Danach bestätigt sie nichts mehr.",
            "Bringen Sie sie vorher zurück, oder lassen Sie die Leihe verlängern: {desk}.",
            "{firm}: Die Leihe der Karte {serial} endet {end}. Rückgabe: {desk}.",
        ),
        overdue=Said(
            "Karte {serial} ist überfällig",
            "Die Leihe der Karte {serial} endete {end}. Seitdem bestätigt sie nichts mehr.",
            "Bringen Sie sie zurück: {desk}. Ist sie verloren, melden Sie es dort sofort.",
            "{firm}: Karte {serial} ist seit {end} überfällig. Rückgabe: {desk}.",
        ),
        pool_short=(
            "{firm}: noch {left} Karten im Vorrat",
            "Im Vorrat von {firm} sind noch {left} Karten; {minimum} sollten es sein. Lassen Sie "
            "neue machen, oder fordern Sie überfällige zurück.",
        ),
        invited=(
            "{firm}: Richten Sie Ihr Konto ein",
            (
                "Guten Tag {name},",
                "{firm} hat ein Konto für Sie angelegt. Ihr Anmeldename ist {login}. Mit diesem "
                "Link wählen Sie ein Passwort und einen zweiten Nachweis, dass Sie es sind:",
                "{link}",
                "Er gilt einmal, bis {end}. Geben Sie ihn niemandem.",
                "Sie haben das nicht erwartet? Sagen Sie es hier: {desk}.",
            ),
        ),
        reminded=(
            "{firm}: Fügen Sie einen zweiten Nachweis hinzu",
            (
                "Guten Tag {name},",
                "Ihr Konto {login} hat nur ein Passwort. Wer es herausfindet, kommt hinein."
                "{asked} Fügen Sie einen zweiten Faktor hinzu; es dauert zwei Minuten:",
                "{link}",
                "Wenn Sie Hilfe brauchen: {desk}.",
            ),
        ),
        asked_from=" Ab {day} wird danach gefragt.",
    ),
    Language.FRENCH: Phrases(
        use="Mode d’emploi : quand une page de connexion demande un code, appuyez sur le bouton de "
        "la carte et tapez les chiffres de son écran. Chaque code sert une fois ; pour le suivant, "
        "appuyez de nouveau quand l’écran est éteint. Ne donnez ni la carte ni ses codes à "
        "personne.",
        help_desk="le guichet de {firm}",
        in_place_of=" à la place de {lost}, qui ne valide plus rien",
        not_yours="Vous n’avez pas reçu cette carte ? Dites-le aussitôt : {desk}.",
        assigned=Said(
            "Votre carte {serial}",
            "La carte {serial} vous a été attribuée{given}. Elle est à vous jusqu’à nouvel ordre.",
            "Si elle est perdue ou cassée, prévenez aussitôt : {desk}.",
            "{firm} : la carte {serial} vous est attribuée. Perdue ? Prévenez : {desk}.",
        ),
        lent=Said(
            "La carte {serial} vous est prêtée jusqu’à {end}",
            "La carte {serial} vous a été prêtée{given}, jusqu’à {end}. Ensuite elle ne valide "
            "plus rien.",
            "Rendez-la avant : {desk}. Si elle est perdue, prévenez-y aussitôt.",
            "{firm} : la carte {serial} vous est prêtée jusqu’à {end}. Retour : {desk}.",
        ),
        ends_soon=Said(
            "Rendez la carte {serial} avant {end}",
            "Le prêt de la carte {serial} se termine {end}. Ensuite elle ne valide plus rien.",
            "Rendez-la avant, ou demandez un prêt plus long : {desk}.",
            "{firm} : le prêt de la carte {serial} se termine {end}. Retour : {desk}.",
        ),
        overdue=Said(
            "La carte {serial} est en retard",
            "Le prêt de la carte {serial} s’est terminé {end}. Depuis, elle ne valide plus rien.",
            "Rendez-la : {desk}. Si elle est perdue, prévenez-y aussitôt.",
            "{firm} : la carte {serial} est en retard depuis {end}. Retour : {desk}.",
        ),
        pool_short=(
            "{firm} : il reste {left} cartes en réserve",
            "La réserve de {firm} compte encore {left} cartes ; il en faudrait {minimum}. "
            "Faites-en préparer, ou réclamez celles qui sont en retard.",
        ),
        invited=(
            "{firm} : préparez votre compte",
            (
                "Bonjour {name},",
                "{firm} a créé un compte pour vous. Votre nom d’utilisateur est {login}. Avec ce "
                "lien, vous choisissez un mot de passe et une seconde preuve que c’est vous :",
                "{link}",
                "Il sert une fois, jusqu’à {end}. Ne le donnez à personne.",
                "Vous ne vous y attendiez pas ? Dites-le : {desk}.",
            ),
        ),
        reminded=(
            "{firm} : ajoutez une seconde preuve",
            (
                "Bonjour {name},",
                "votre compte {login} n’a qu’un mot de passe. Qui le découvre peut entrer."
                "{asked} Ajoutez un second facteur ; il faut deux minutes :",
                "{link}",
                "Si vous avez besoin d’aide : {desk}.",
            ),
        ),
        asked_from=" À partir du {day}, il est demandé.",
    ),
    Language.SPANISH: Phrases(
        use="Cómo se usa: cuando una página de acceso pida un código, pulse el botón de la tarjeta "
        "y escriba las cifras de su pantalla. Cada código sirve una vez; para el siguiente, vuelva "
        "a pulsar cuando la pantalla se haya apagado. No dé a nadie la tarjeta ni sus códigos.",
        help_desk="el servicio de ayuda de {firm}",
        in_place_of=" en lugar de {lost}, que ya no confirma nada",
        not_yours="¿No ha recibido esta tarjeta? Avise enseguida: {desk}.",
        assigned=Said(
            "Su tarjeta {serial}",
            "Se le ha asignado la tarjeta {serial}{given}. Es suya hasta nuevo aviso.",
            "Si se pierde o se estropea, avise enseguida: {desk}.",
            "{firm}: se le ha asignado la tarjeta {serial}. ¿Perdida? Avise: {desk}.",
        ),
        lent=Said(
            "Se le presta la tarjeta {serial} hasta {end}",
            "Se le ha prestado la tarjeta {serial}{given}, hasta {end}. Después ya no confirma "
            "nada.",
            "Devuélvala antes: {desk}. Si se pierde, avise allí enseguida.",
            "{firm}: se le presta la tarjeta {serial} hasta {end}. Devolución: {desk}.",
        ),
        ends_soon=Said(
            "Devuelva la tarjeta {serial} antes de {end}",
            "El préstamo de la tarjeta {serial} termina {end}. Después ya no confirma nada.",
            "Devuélvala antes, o pida un préstamo más largo: {desk}.",
            "{firm}: el préstamo de la tarjeta {serial} termina {end}. Devolución: {desk}.",
        ),
        overdue=Said(
            "La tarjeta {serial} está sin devolver",
            "El préstamo de la tarjeta {serial} terminó {end}. Desde entonces no confirma nada.",
            "Devuélvala: {desk}. Si se ha perdido, avise allí enseguida.",
            "{firm}: la tarjeta {serial} está sin devolver desde {end}. Devolución: {desk}.",
        ),
        pool_short=(
            "{firm}: quedan {left} tarjetas en reserva",
            "En la reserva de {firm} quedan {left} tarjetas; debería haber {minimum}. Encargue "
            "más, o reclame las que están sin devolver.",
        ),
        invited=(
            "{firm}: prepare su cuenta",
            (
                "Buenos días, {name}:",
                "{firm} ha creado una cuenta para usted. Su nombre de usuario es {login}. Con este "
                "enlace elige una contraseña y una segunda prueba de que es usted:",
                "{link}",
                "Sirve una vez, hasta {end}. No se lo dé a nadie.",
                "¿No lo esperaba? Avise: {desk}.",
            ),
        ),
        reminded=(
            "{firm}: añada una segunda prueba",
            (
                "Buenos días, {name}:",
                "su cuenta {login} tiene solo una contraseña. Quien la averigüe puede entrar."
                "{asked} Añada un segundo factor; se tarda dos minutos:",
                "{link}",
                "Si necesita ayuda: {desk}.",
            ),
        ),
        asked_from=" A partir del {day} se pedirá.",
    ),
    Language.NORWEGIAN: Phrases(
        use="Slik brukes det: Når en innloggingsside ber om en kode, trykker du på knappen på "
        "kortet og skriver tallene på skjermen. Hver kode gjelder én gang; trykk igjen når "
        "skjermen er mørk, for den neste. Gi kortet og kodene til ingen.",
        help_desk="skranken hos {firm}",
        in_place_of=" i stedet for {lost}, som ikke lenger bekrefter noe",
        not_yours="Har du ikke fått dette kortet? Si fra med en gang: {desk}.",
        assigned=Said(
            "Kortet ditt {serial}",
            "Kortet {serial} er tildelt deg{given}. Det er ditt inntil videre.",
            "Er det mistet eller ødelagt, si fra med en gang: {desk}.",
            "{firm}: kortet {serial} er tildelt deg. Mistet? Si fra: {desk}.",
        ),
        lent=Said(
            "Kortet {serial} er lånt ut til deg til {end}",
            "Kortet {serial} er lånt ut til deg{given}, til {end}. Etter det bekrefter det ikke "
            "noe.",
            "Lever det tilbake før det: {desk}. Er det mistet, si fra der med en gang.",
            "{firm}: kortet {serial} er lånt ut til deg til {end}. Leveres: {desk}.",
        ),
        ends_soon=Said(
            "Lever kortet {serial} tilbake innen {end}",
            "Lånet av kortet {serial} slutter {end}. Etter det bekrefter det ikke noe.",
            "Lever det tilbake før det, eller be om lengre lån: {desk}.",
            "{firm}: lånet av kortet {serial} slutter {end}. Leveres: {desk}.",
        ),
        overdue=Said(
            "Kortet {serial} er ikke levert i tide",
            "Lånet av kortet {serial} sluttet {end}. Siden da bekrefter det ikke noe.",
            "Lever det tilbake: {desk}. Er det mistet, si fra der med en gang.",
            "{firm}: kortet {serial} skulle vært levert {end}. Leveres: {desk}.",
        ),
        pool_short=(
            "{firm}: {left} kort igjen i beholdningen",
            "Beholdningen hos {firm} har {left} kort igjen; det bør være {minimum}. "
            "Få laget flere, eller be om dem som ikke er levert.",
        ),
        invited=(
            "{firm}: gjør kontoen din klar",
            (
                "Hei {name},",
                "{firm} har laget en konto til deg. Brukernavnet ditt er {login}. Med denne "
                "lenken velger du et passord og et bevis til på at det er deg:",
                "{link}",
                "Den gjelder én gang, til {end}. Gi den til ingen.",
                "Ventet du ikke dette? Si fra: {desk}.",
            ),
        ),
        reminded=(
            "{firm}: legg til et bevis til",
            (
                "Hei {name},",
                "kontoen din {login} har bare et passord. Den som finner det ut, kommer inn."
                "{asked} Legg til en faktor til; det tar to minutter:",
                "{link}",
                "Trenger du hjelp: {desk}.",
            ),
        ),
        asked_from=" Fra {day} blir du spurt om den.",
    ),
}
