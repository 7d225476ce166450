"""A mail as it goes out: what filters look for (RFC 5322, 3834), and an HTML twin of the text."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr, formatdate, parseaddr

from tallystick.common import chance, moments

ADDRESS = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
STYLE = "font:16px/1.5 system-ui,sans-serif;color:#1b2430;max-width:38em"
LOGO = (160, 40)  # pixels at most
# Python takes them for line breaks, and refuses a header with one. They come along with a firm's
# name that was copied out of another document.
SEPARATORS = re.compile(r"\s*[\x85\u2028\u2029]\s*")


@dataclass(frozen=True)
class MailFace:
    """What a mail shows of the firm that it comes from. colour: readable on white, or "". logo: a
    PNG, or nothing. size: of the logo, in pixels."""

    name: str
    contact: str = ""
    colour: str = ""
    logo: bytes = b""
    size: tuple[int, int] = (0, 0)


NO_FACE = MailFace("")


def _identifier(now: float, domain: str) -> str:
    """Of a message or a part of it, unlike any other (RFC 5322 3.6.4)."""
    return f"<{int(now)}.{chance.token_hex(16)}@{domain}>"


def mail(
    *,
    sender: str,
    name: str,
    to: str,
    subject: str,
    text: str,
    face: MailFace = NO_FACE,
    now: float | None = None,
) -> EmailMessage:
    """sender: an address, or `Name <address>`. name: the firm's, "" where none is known; it stands
    in place of the sender's. now: seconds since 1970. Raises ValueError for a line break in a
    header."""
    own_name, address = parseaddr(sender)
    message = EmailMessage()
    message["From"] = formataddr((_in_one_line(name or own_name), address or sender))
    message["To"] = to
    message["Subject"] = _in_one_line(subject)
    moment = moments.now() if now is None else now
    message["Date"] = formatdate(moment, localtime=False, usegmt=True)
    domain = address.rpartition("@")[2] or "localhost"
    message["Message-ID"] = _identifier(moment, domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
    message["X-Auto-Response-Suppress"] = "All"  # the same, for Exchange
    own = text.removesuffix(f"\n\n{face.name}") if face.name else text
    message.set_content(own + _signature(face))
    logo = _identifier(moment, domain) if face.logo else ""
    message.add_alternative(as_html(subject, own, face, logo.strip("<>")), subtype="html")
    if logo:
        rich = message.get_body(("html",))
        assert isinstance(rich, EmailMessage)
        rich.add_related(
            face.logo, "image", "png", cid=logo, filename="logo.png", disposition="inline"
        )
    return message


def _in_one_line(text: str) -> str:
    return SEPARATORS.sub(" ", text).strip()


def _signature(face: MailFace) -> str:
    """Below the line that programs know a signature by (RFC 3676, 4.3)."""
    if not face.name:
        return ""
    return f"\n\n-- \n{face.name}" + (f"\n{face.contact}" if face.contact else "")


def as_html(subject: str, text: str, face: MailFace = NO_FACE, logo: str = "") -> str:
    """The same words: paragraphs, and addresses that can be followed. Nothing is loaded: the logo
    comes with the mail. logo: its Content-ID."""
    paragraphs = "".join(
        f"<p>{_linked(part).replace(chr(10), '<br>')}</p>"
        for part in text.strip().split("\n\n")
        if part.strip()
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f"<title>{html.escape(subject)}</title></head>"
        f'<body><div style="{STYLE}">{_head(face, logo)}{paragraphs}{_foot(face)}</div>'
        "</body></html>"
    )


def _head(face: MailFace, logo: str) -> str:
    if not face.name:
        return ""
    shown = html.escape(face.name)
    if logo:
        width, height = face.size
        scale = min(1.0, LOGO[0] / width, LOGO[1] / height)
        sides = f'width="{round(width * scale)}" height="{round(height * scale)}"'
        shown = f'<img src="cid:{logo}" alt="{html.escape(face.name, quote=True)}" {sides}>'
    colour = face.colour or "#1b2430"
    style = f"font-weight:700;color:{colour};border-bottom:3px solid {colour};padding:0 0 8px"
    return f'<p style="{style}">{shown}</p>'


def _foot(face: MailFace) -> str:
    if not face.name:
        return ""
    lines = [html.escape(face.name)] + ([_linked(face.contact)] if face.contact else [])
    style = "color:#566273;border-top:1px solid #cdd4dd;padding:8px 0 0"
    return f'<p style="{style}">{"<br>".join(lines)}</p>'


def _linked(text: str) -> str:
    done, at = [], 0
    for found in ADDRESS.finditer(text):
        link = html.escape(found.group(), quote=True)
        done += [html.escape(text[at : found.start()]), f'<a href="{link}">{link}</a>']
        at = found.end()
    return "".join([*done, html.escape(text[at:])])
