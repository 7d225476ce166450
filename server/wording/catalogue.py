"""The catalogues: read from their sources (`.po`), so that nothing has to be compiled before the
server starts, and none can be older than its source."""

from __future__ import annotations

import gettext
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.common.moments import day_in_words, in_words
from tallystick.server.wording.languages import Language, speaking
from tallystick.server.wording.worded import Worded, WordedDay, WordedMoment

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

FOLDER = Path(__file__).parent / "catalogues"


def source(language: Language) -> Catalog:
    """A catalogue as its file has it."""
    from babel.messages.pofile import read_po  # noqa: PLC0415 - a firm may speak English alone

    with (FOLDER / f"{language.value}.po").open("rb") as file:
        return read_po(file, locale=language.value)


@cache
def translations(language: Language | None) -> gettext.NullTranslations:
    """Of a language; English, and one without a catalogue, say everything as it is written."""
    if language is None or not (FOLDER / f"{language.value}.po").is_file():
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo  # noqa: PLC0415 - as above

    compiled = io.BytesIO()
    write_mo(compiled, source(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def say(text: str, language: Language | None = None) -> str:
    """The text in a language (None: the one that is spoken now). What a `Worded` was made of is
    said in it, too; any other text is looked up as it is."""
    language = language or speaking()
    chosen = translations(language)
    if isinstance(text, WordedMoment):
        return in_words(text.seconds, text.zone, (language or Language.ENGLISH).value)
    if isinstance(text, WordedDay):
        return day_in_words(text.day, (language or Language.ENGLISH).value)
    if not isinstance(text, Worded):
        return chosen.gettext(text) if text else ""
    making = text.making
    if making.plural:
        said = chosen.ngettext(making.message, making.plural, making.count)
    else:
        said = chosen.gettext(making.message)
    if not making.values:
        return said
    values = {
        name: say(value, language)
        if isinstance(value, Worded | WordedMoment | WordedDay)
        else value
        for name, value in making.values.items()
    }
    return said.format(**values)
