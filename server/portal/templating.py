"""Jinja, and the headers of every page."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tallystick.common.moments import in_words
from tallystick.server.methods import METHODS, at_hand
from tallystick.server.portal.browsers import in_short

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
    """A time with weekday and zone, in the firm's time zone."""
    if seconds is None:
        return "never"
    return in_words(seconds, ZoneInfo(zone))


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals["local_time"] = local_time
TEMPLATES.globals["methods"] = METHODS
TEMPLATES.globals["at_hand"] = at_hand
TEMPLATES.globals["in_short"] = in_short
