"""Jinja, and the headers of every page."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tallystick.common.moments import day_in_words, in_words
from tallystick.server.methods import METHODS, at_hand
from tallystick.server.portal.browsers import in_short
from tallystick.server.wording.catalogue import say, translations
from tallystick.server.wording.languages import NAMES, SPOKEN, Language, speaking
from tallystick.server.wording.worded import Worded, worded

# Everything comes from this server; no inline script or style; nobody may frame a page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def page_headers() -> dict[str, str]:
    return {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "publickey-credentials-get=(self), "
        "publickey-credentials-create=(self)",
        # With `no-referrer`, browsers send forms with "Origin: null", which is refused here.
        "referrer-policy": "same-origin",
        "x-frame-options": "DENY",
    }


def local_time(seconds: int | None, zone: str) -> str:
    """A time with weekday and zone, in the firm's time zone, in the language that is spoken."""
    if seconds is None:
        return say(worded("never"))
    return in_words(seconds, ZoneInfo(zone), _language())


def local_day(seconds: int, zone: str) -> str:
    """The day of a time, in the firm's time zone, in the language that is spoken."""
    return day(datetime.fromtimestamp(seconds, ZoneInfo(zone)).date())


def last_used(seconds: int | None, zone: str) -> str:
    """Of a method or a session."""
    if seconds is None:
        return say(worded("never used"))
    return say(worded("last used {when}", when=local_time(seconds, zone)))


def day(which: date) -> str:
    return day_in_words(which, _language())


def iso_day(day: str) -> str:
    """day: as 2027-01-31."""
    return day_in_words(date.fromisoformat(day), _language())


def short_day(day: str) -> str:
    """Without its year."""
    return iso_day(day).rsplit(" ", 1)[0]


def shown(label: str) -> str:
    """What somebody has named so is shown as it is; what we have named, in her language."""
    return say(label) if isinstance(label, Worded) else label


def _language() -> str:
    return (speaking() or Language.ENGLISH).value


def _gettext(message: str) -> str:
    return translations(speaking()).gettext(message)


def _ngettext(one: str, many: str, count: int) -> str:
    return translations(speaking()).ngettext(one, many, count)


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.i18n"],
)
TEMPLATES.policies["ext.i18n.trimmed"] = True
TEMPLATES.install_gettext_callables(  # type: ignore[attr-defined]
    _gettext, _ngettext, newstyle=True
)
TEMPLATES.filters["said"] = say
for name, function in (
    ("local_time", local_time), ("local_day", local_day), ("last_used", last_used), ("day", day),
    ("iso_day", iso_day), ("short_day", short_day), ("shown", shown),
    ("at_hand", at_hand), ("in_short", in_short), ("language", _language),
):  # fmt: skip
    TEMPLATES.globals[name] = function
TEMPLATES.globals["methods"] = METHODS
TEMPLATES.globals["spoken"] = [(one.value, NAMES[one]) for one in SPOKEN]
