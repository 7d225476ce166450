"""Which font a text is printed in: Helvetica, which every PDF reader has, for what Western Europe
writes; else Noto Sans, for Latin, Greek and Cyrillic of all kinds. It has one weight here."""

from __future__ import annotations

from functools import cache
from importlib import resources

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from tallystick.common.errors import BadInputError

WIDE = "NotoSans"


def font_for(text: str, *, bold: bool = False) -> str:
    """The name of the font in a document. Raises BadInputError for characters that none has."""
    if _is_western(text):
        return "Helvetica-Bold" if bold else "Helvetica"
    if missing := unprintable(text):
        raise BadInputError(
            f"{text!r} cannot be printed: no font here has {missing!r}.",
            todo="Write it in Latin, Greek or Cyrillic letters.",
        )
    return WIDE


def unprintable(text: str) -> str:
    """The characters of it that no font here has."""
    if _is_western(text):
        return ""
    return "".join(sorted({sign for sign in text if ord(sign) not in _wide()}))


def _is_western(text: str) -> bool:
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


@cache
def _wide() -> frozenset[int]:
    """Characters of the wide font, which is registered at the first use."""
    place = resources.files("fontpkg_noto_sans") / "files" / "NotoSans[wdth,wght].ttf"
    with resources.as_file(place) as path:
        font = TTFont(WIDE, str(path))
    pdfmetrics.registerFont(font)
    return frozenset(font.face.charToGlyph)
