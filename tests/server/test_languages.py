"""Languages: nothing is left out, nothing is lost in translation, and whoever reads chooses."""

from __future__ import annotations

import gettext
import json
import re
from datetime import date
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.moments import SHORT_NAMES
from tallystick.server.accounts import people
from tallystick.server.accounts.policy import of_firm
from tallystick.server.errors import ApiError
from tallystick.server.messages import letters
from tallystick.server.portal import templating
from tallystick.server.rules.acts import WORDS
from tallystick.server.store.opened import opened
from tallystick.server.wording import catalogue
from tallystick.server.wording.languages import (
    NAMES,
    SPOKEN,
    Language,
    asked_for,
    in_language,
    speaking,
    spoken,
)
from tallystick.server.wording.worded import Worded, WordedDay, WordedMoment, counted, worded
from tallystick.tools.upkeep import words
from tallystick.tools.upkeep.project import root
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_portal import register_card

TRANSLATED = words.TRANSLATED
MARKS = re.compile(r"%\(\w+\)s|\{\w*(?:![rs])?\}|%%|<[^>]+>")

# the catalogues ------------------------------------------------------------------------------


def entries(language: Language) -> list[tuple[tuple[str, str], tuple[str, ...]]]:
    """→ (text, its plural or ""), what is said for it"""
    found = []
    for one in catalogue.source(language):
        if one.id:
            said = one.string if isinstance(one.string, tuple | list) else (one.string,)
            found.append((words._pair(one.id), tuple(said)))
    return found


def test_no_text_is_left_out_and_none_is_too_much():
    assert words.check(root()) == []
    assert {one.value for one in TRANSLATED} == {"de", "fr", "es"}


def test_a_catalogue_that_lacks_one_is_told(tmp_path, monkeypatch):
    for language in words.CATALOGUES:
        text = (words.FOLDER / f"{language.value}.po").read_text()
        (tmp_path / f"{language.value}.po").write_text(
            re.sub(r'(msgid "Audit"\nmsgstr )"[^"]+"', r'\1""', text)
            .replace('msgid "Policy"', 'msgid "Polizy"')
            .replace('msgid "Cards"\n', '#, fuzzy\nmsgid "Cards"\n')
        )
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    faults = "\n".join(words.check(root()))
    assert "de.po: 'Audit' is not translated" in faults
    assert "fr.po lacks 'Policy'" in faults and "es.po has 'Polizy', which nothing" in faults
    assert "es.po: 'Cards' is not translated" in faults


def test_an_error_that_is_put_together_is_told(tmp_path):
    (tmp_path / "server/portal/templates").mkdir(parents=True)
    (tmp_path / "server/portal/x.py").write_text(
        'raise ApiError(404, "x", f"No {y}.", kept="All.", todo="This" if z else worded("That"))'
    )
    found, astray = words.of_python(tmp_path)
    assert astray == ["server/portal/x.py:1"]
    assert {one.message for one in found} == {"All.", "This", "That"}


@pytest.mark.parametrize("language", words.CATALOGUES)
def test_what_stands_in_braces_stands_in_the_translation(language):
    for (one, many), said in entries(language):
        wanted = {tuple(sorted(MARKS.findall(text))) for text in (one, many or one)}
        for text in said:
            assert tuple(sorted(MARKS.findall(text))) in wanted, (one, text)
            # What a template says stands in attributes, too, as it is.
            assert '"' not in text and ("<" in one or not set("<>") & set(text)), (one, text)
            assert (text != text.lstrip()) == (one != one.lstrip()), (one, text)


@pytest.mark.parametrize("language", TRANSLATED)
def test_plurals_are_complete(language):
    rule = Catalog(locale=language.value)
    for (one, many), said in entries(language):
        assert len(said) == (rule.num_plurals if many else 1), one
    with in_language(language):
        singular, plural = (
            catalogue.say(counted("{count} was invited.", "{count} were invited.", number))
            for number in (1, 7)
        )
    assert singular.startswith("1 ") and plural.startswith("7 ")
    assert singular.replace("1", "7") != plural


@pytest.mark.parametrize("language", words.CATALOGUES)
def test_translations_end_as_the_text_does(language):
    ends, acts = ".:?", set(WORDS.values())
    for (one, _), said in entries(language):
        for text in said:
            if one[-1] in ends and one not in acts:  # those go on with a name
                assert text.rstrip().endswith(one[-1]), (one, text)


def test_cards_are_told_of_in_every_language():
    """Also in one that pages do not speak."""
    everything = words.gathered(root())
    about_cards = words.said_in(Language.NORWEGIAN, everything)
    assert 25 < len(about_cards) < 60 and len(words.said_in(Language.GERMAN, everything)) > 900
    assert {one.place.split(":")[0] for one in about_cards} == {"server/messages/letters.py"}
    assert set(words.CATALOGUES) == set(Language) - {Language.ENGLISH}
    for language in words.CATALOGUES:
        assert language.value in SHORT_NAMES
        said = dict(entries(language))
        for one in about_cards:
            assert one.message not in said[one.message, one.plural], (language, one.message)
            if one.message.startswith("{firm}: ") and "{serial}" in one.message:  # an SMS
                for text in said[one.message, one.plural]:
                    assert text.startswith("{firm}") and "{serial}" in text and "{desk}" in text


def test_a_text_remembers_what_it_was_made_of():
    inner = worded("Card {serial}", serial="A{0}")
    text = worded("There is nothing to undo for card {serial}: {why}.", serial=inner, why="%s {x}")
    assert text == "There is nothing to undo for card Card A{0}: %s {x}."
    said = catalogue.say(text, Language.GERMAN)
    assert said.startswith("Für die Karte Karte A{0} ") and said.endswith("%s {x}.")
    assert catalogue.say(text, Language.ENGLISH) == text and json.loads(json.dumps(text)) == text
    assert catalogue.say("", Language.GERMAN) == ""  # and not the catalogue's head
    assert catalogue.say("as it is", Language.FRENCH) == "as it is"
    assert catalogue.say(text, Language.NORWEGIAN) == text  # is not about cards
    when = WordedMoment.at(1_800_000_000, ZoneInfo("Europe/Oslo"))
    over = worded("{when} is over already.", when=when)
    assert over == "Fri 15 Jan 2027 09:00 CET is over already."
    day = worded("From {day} on a second factor is asked for.", day=WordedDay.of(date(2027, 3, 1)))
    assert day == "From 1 Mar 2027 on a second factor is asked for."
    assert catalogue.say(day, Language.GERMAN).startswith("Ab 1. März 2027 ")
    assert catalogue.say(over, Language.SPANISH) == "vie 15 ene 2027 09:00 CET ya ha pasado."


# which language ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("da, en-gb;q=0.8, en;q=0.7", "en"),  # RFC 9110, 12.5.4
        ("de", "de"),
        ("DE-at", "de"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("en;q=0.1, es-419;q=0.2", "es"),
        ("de;q=0, fr;q=0.001", "fr"),
        ("nb, sv", None),
        ("", None),
        ("*", None),
        ("de;q=2", None),
        (";;,,q=1;de", None),
        ("x" * 10_000, None),
        ("da," * 50 + "de", None),  # only so many are read
    ],
)
def test_what_a_browser_asks_for(accepted, language):
    assert asked_for(accepted) == language


@given(st.text())
def test_a_header_of_any_kind_is_read(text):
    assert asked_for(text) in (None, *SPOKEN)


def test_only_what_has_a_catalogue_is_spoken():
    assert spoken("nb") is None and spoken("../de") is None and spoken(None) is None
    assert set(NAMES) == set(SPOKEN)
    assert speaking() is None


class Page(HTMLParser):
    """Everything on a page that somebody reads or hears."""

    READ = ("aria-label", "alt", "placeholder", "title", "data-known", "data-failed", "data-again",
            "data-more", "data-simple", "data-enough", "data-good")  # fmt: skip

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[bool] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        if tag not in ("meta", "link", "input", "img", "br", "line", "rect"):
            quiet = (tag == "button" and "lang" in values) or values.get("translate") == "no"
            self.open.append(quiet or tag in ("script", "style"))
        self.texts += [values[name] for name in self.READ if values.get(name)]

    def handle_startendtag(self, tag, attrs) -> None:
        self.texts += [value for name, value in attrs if name in self.READ and value]

    def handle_endtag(self, tag) -> None:
        self.open.pop()

    def handle_data(self, data) -> None:
        if not any(self.open) and data.strip():
            self.texts.append(data.strip())


class Pseudo(gettext.NullTranslations):
    """A language in which everything that is translated stands between brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, one: str, many: str, count: int) -> str:
        return f"⟦{one if count == 1 else many}⟧"


# What is no word of ours: names, numbers, times, what people wrote.
DATA = re.compile(
    r"\S+@\S+|boss|ann|zoe|default|Nord|Room 12|Phone|TOTP|SCIM|LDAP|test|station"
    r"|python-httpx/[\d.]+|127\.0\.0\.1"
    r"|\b[A-Z][a-z]{2} \d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d UTC|\d+ [A-Z][a-z]{2}(?: \d{4})?"
    r"|[A-Z]*\d[\w.:-]*|FIDO|PEM|UTC|https?://\S+|lost|hardware|mail"
)


def left_out(html: str) -> list[str]:
    bare = []
    for text in Page(html).texts:
        rest = text
        while "⟦" in rest:  # the innermost first
            shorter = re.sub(r"⟦[^⟦⟧]*⟧", "", rest)
            if shorter == rest:
                break
            rest = shorter
        if re.search(r"[A-Za-z]{2}", DATA.sub("", rest)):
            bare.append(text)
    return bare


MEMBER = ("/", "/sign-in?again=1", "/recover", "/recover/help", "/enrol/totp", "/enrol/card",
          "/enrol/sms", "/enrol/email", "/enrol/webauthn", "/enrol/codes", "/password", "/address",
          "/prove", "/recover/prove?kind=sms")  # fmt: skip
STAFF = ("/overview", "/people", "/people/import", "/waiting", "/cards", "/invitations", "/behind",
         "/policy", "/face", "/audit", "/people/999")  # fmt: skip


@pytest.fixture
def firm(portal, container_class):
    """Something on every page. → the browser of an administrator"""
    register_card(portal, container_class, "1000000001")
    portal.policy(
        display_name="Nord", desk_contact="Room 12", colour="#ffff00",
        methods=["card", "totp", "sms", "email", "webauthn", "codes"],
    )  # fmt: skip
    portal.person("ann", email="ann@b.example")
    boss = portal.staff("boss", "administrator")
    boss.get("/people").post("/people", login="zoe", email="z@b.example", role="user")
    return boss


@pytest.fixture
def pseudo(monkeypatch):
    monkeypatch.setattr(catalogue, "translations", lambda language: Pseudo())
    monkeypatch.setattr(templating, "translations", lambda language: Pseudo())


def test_every_word_on_every_page_goes_through_the_catalogue(firm, pseudo):
    bare = {}
    for path in (*MEMBER, *STAFF):
        firm.get(path)
        assert firm.page.status_code in (200, 404), path
        if found := left_out(firm.page.text):
            bare[path] = found
    zoe = re.search(r"/people/(\d+)\">zoe<", firm.get("/people").page.text).group(1)
    for name, page in (
        ("person", firm.get(f"/people/{zoe}")),
        ("letter", firm.post(f"/people/{zoe}/invite/letter")),
        ("totp", firm.get("/enrol/totp").post("/enrol/totp", label="")),
        ("codes", firm.get("/enrol/codes").post("/enrol/codes", label="")),
        ("wrong", firm.get("/cards").post("/cards/1000000001/lend", user="anm", code="123456")),
        ("policy", firm.get("/policy").post("/policy", minimum_methods="9")),
        ("csv", firm.get("/people").post("/people/many/leave", **{"p.1": "yes", "count": "9"})),
    ):
        if found := left_out(page.page.text):
            bare[name] = found
    firm.http.cookies.clear()
    firm.get("/sign-in").post("/sign-in", login="ann", password="wrong")
    assert "⟦The name or the password is wrong.⟧" in firm.page.text
    for path in ("/sign-in", "/nowhere"):
        bare |= {path: found} if (found := left_out(firm.get(path).page.text)) else {}
    assert bare == {}


def test_the_walk_finds_a_word_that_is_left_out():
    assert left_out('<p>⟦All ⟦of⟧ it⟧ <b>bare</b></p><img alt="words">') == ["bare", "words"]
    assert left_out("<p>⟦last used⟧ Fri 15 Jan 2027 08:00 UTC</p>") == []


# who chooses ---------------------------------------------------------------------------------


def in_browser(portal, accepted: str, firm: str = "default") -> Browser:
    browser = portal.browser(firm)
    browser.http.headers["accept-language"] = accepted
    return browser


@pytest.mark.parametrize(
    ("accepted", "heading"),
    [("de-CH,de;q=0.9", "Anmelden"), ("fr", "Se connecter"), ("es", "Iniciar sesión"),
     ("nb", "Sign in"), ("", "Sign in")],
)  # fmt: skip
def test_a_page_is_in_the_browsers_language(portal, accepted, heading):
    browser = in_browser(portal, accepted).get("/sign-in")
    assert browser.heading == heading
    assert f'<html lang="{(accepted or "en")[:2]}"'.replace("nb", "en") in browser.page.text
    lost = in_browser(portal, accepted).get("/people/7/nowhere")
    assert lost.page.status_code == 404


def test_a_firm_says_what_those_read_whose_language_is_not_there(portal):
    portal.policy(languages=["nb", "de"])
    assert in_browser(portal, "nb").get("/sign-in").heading == "Anmelden"
    assert in_browser(portal, "fr").get("/sign-in").heading == "Se connecter"


def test_a_person_chooses_and_it_is_kept(portal):
    portal.person("ann")
    browser = in_browser(portal, "de").sign_in("ann").get("/")
    assert browser.heading == "Mein Konto"
    browser.post("/language", language="fr", next="/p/default/password")
    assert browser.page.url.path == "/p/default/password"
    assert browser.get("/").heading == "Mon compte"
    assert 'lang="fr" aria-current="true"' in browser.page.text
    other = in_browser(portal, "es").sign_in("ann").get("/")  # another browser of hers
    assert other.heading == "Mon compte"
    browser.get("/").post("/sign-out")
    assert browser.heading == "Se connecter"  # the browser keeps it, too
    assert in_browser(portal, "es").get("/sign-in").heading == "Iniciar sesión"  # nobody else's
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert people.by_login(connection, 1, "ann").language == "fr"


def test_choosing_before_signing_in(portal):
    browser = in_browser(portal, "de").get("/sign-in?next=%2Fp%2Fdefault%2Fpassword")
    here = re.search(r'name="next" value="(/p/default/sign-in[^"]*)"', browser.page.text).group(1)
    browser.post("/language", language="es", next=here)
    assert (
        browser.heading == "Iniciar sesión" and 'value="/p/default/password"' in browser.page.text
    )


@pytest.mark.parametrize("wanted", ["nb", "xx", "", "../../de", "de\n"])
def test_a_language_that_is_not_spoken(portal, wanted):
    browser = (
        portal.browser().get("/sign-in").post("/language", language=wanted, next="/p/default/")
    )
    assert browser.page.status_code == 422 and "not written in this language" in browser.page.text
    browser.http.cookies.set("tally_language", "xx", path="/p/default")
    assert browser.get("/sign-in").heading == "Sign in"


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/p/other/", "", "x"])
def test_choosing_leads_to_no_other_site(portal, back):
    browser = portal.browser().get("/sign-in")
    browser.http.follow_redirects = False
    browser.post("/language", language="de", next=back)
    assert browser.page.status_code == 303
    assert browser.page.headers["location"] == "/p/default/"


def test_a_form_of_elsewhere_chooses_nothing(portal):
    browser = portal.browser().get("/sign-in")
    answer = browser.http.post("/p/default/language", data={"language": "de", "csrf": "0" * 32})
    assert answer.status_code == 403 and "tally_language" not in browser.http.cookies


def test_errors_and_what_the_api_says(portal):
    browser = in_browser(portal, "fr").sign_in("ann", "wrong")
    assert browser.problem == "Le nom ou le mot de passe est faux."
    portal.person("ann")
    browser.sign_in("ann").get("/people")
    assert "Votre rôle ne le permet pas." in browser.page.text
    assert "Impossible – default</title>" in browser.page.text
    said = browser.http.get("/v1/people").json()["error"]  # for programs: as it was
    assert "credential" in said["what"] or "token" in said["what"]
    short = browser.get("/password").post(
        "/password", old=PASSWORD, password="court", again="court"
    )
    assert short.problem == "Le nouveau mot de passe a moins de 8 caractères."


def test_a_page_of_an_error_lets_its_reader_choose(portal):
    portal.person("ann")
    browser = in_browser(portal, "en").sign_in("ann").get("/people")
    assert "Your role does not allow this." in browser.page.text
    browser.post("/language", language="de", next="/p/default/people")
    assert str(browser.page.url).endswith("/p/default/people")
    assert "Ihre Rolle erlaubt dies nicht." in browser.page.text
    assert 'name="next" value="/p/default/people"' in browser.page.text
    # A browser without our cookie could send no form.
    stranger = browser.http.get("/p/default/nowhere", headers={"cookie": ""})
    assert 'action="/p/default/language"' not in stranger.text


def test_a_time_is_in_the_readers_words(portal):
    portal.person("ann")
    page = in_browser(portal, "de").sign_in("ann").get("/").page.text
    assert "zuletzt benutzt Fr 15. Jan 2027 08:00 UTC" in page


# messages ------------------------------------------------------------------------------------


def test_a_notice_is_in_the_language_of_its_reader(portal):
    portal.person("ann", email="ann@firm.example")
    portal.policy(languages=["en", "nb", "de"], display_name="Nord")
    before = len(portal.messages(0))
    browser = in_browser(portal, "fr").sign_in("ann")
    browser.get("/password").post(
        "/password", old=PASSWORD, password=PASSWORD + "!", again=PASSWORD + "!"
    )
    both = portal.messages(before + 1)[-1]
    english, german = both["text"].split("– – –")  # nobody has said: in the firm's languages
    assert "In your account at Nord, the password was changed (Fri 15 Jan 2027" in english
    assert "In Ihrem Konto bei Nord gab es eine Änderung: das Passwort wurde geändert" in german
    browser.post("/language", language="es", next="/p/default/")
    browser.get("/password").post(
        "/password", old=PASSWORD + "!", password=PASSWORD, again=PASSWORD
    )
    own = portal.messages(before + 2)[-1]
    assert own["subject"] == "Un cambio en su cuenta en Nord"
    assert "se cambió la contraseña (vie 15 ene 2027" in own["text"]
    assert "your account" not in own["text"]


def test_a_code_is_in_the_language_that_is_spoken(portal):
    portal.person("ann")
    browser = in_browser(portal, "de").sign_in("ann")
    browser.get("/enrol/sms").post("/enrol/sms", address="+4740000089")
    assert "unterwegs" in browser.page.text
    sms = portal.messages()[-1]
    assert re.fullmatch(r"\d{6} ist Ihr Code für default\. Er gilt 5 Minuten\. .*", sms["text"])
    browser.get("/").post("/language", language="fr", next="/p/default/")
    browser.get("/enrol/sms").post("/enrol/sms", address="+4740000090")
    assert " est votre code pour default. " in portal.messages(2)[-1]["text"]


def test_what_is_said_of_a_card_is_in_the_language_that_was_chosen(portal):
    portal.person("ann", email="ann@firm.example")
    in_browser(portal, "en").sign_in("ann").post("/language", language="es", next="")
    before = len(portal.messages(0))
    with opened(portal.settings) as parts, parts.database.write() as connection:
        person = people.by_login(connection, 1, "ann")
        policy = of_firm(connection, 1)
        letters.handed_over(
            connection, parts.ring, letters.Sender("default", policy), person, "A1",
            portal.clock(), until=None,
        )  # fmt: skip
    mail = portal.messages(before + 1)[-1]
    assert mail["subject"] == "Su tarjeta A1" and "Your card" not in mail["text"]


def test_an_error_keeps_its_parts():
    error = ApiError(409, "x", worded("Card {serial} is lost.", serial="A1"))
    assert isinstance(error.what, Worded) and error.body()["error"]["what"] == "Card A1 is lost."
    assert catalogue.say(error.what, Language.SPANISH) == "La tarjeta A1 está perdida."
