"""A mail as it goes out: what filters look for (RFC 5322, 3834), and an HTML twin of the text."""

from __future__ import annotations

import html
import re
from email.message import EmailMessage
from email.utils import formataddr, formatdate, make_msgid, parseaddr

ADDRESS = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
STYLE = "font:16px/1.5 system-ui,sans-serif;color:#1b2430;max-width:38em"


def mail(
    *, sender: str, name: str, to: str, subject: str, text: str, now: float | None = None
) -> EmailMessage:
    """sender: an address, or `Name <address>`. name: the firm's, "" where none is known; it stands
    in place of the sender's. now: seconds since 1970. Raises ValueError for a line break in a
    header."""
    own_name, address = parseaddr(sender)
    message = EmailMessage()
    message["From"] = formataddr((name or own_name, address or sender))
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = formatdate(now, localtime=False, usegmt=True)
    domain = address.rpartition("@")[2] or "localhost"
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
    message["X-Auto-Response-Suppress"] = "All"  # the same, for Exchange
    message.set_content(text)
    message.add_alternative(as_html(subject, text), subtype="html")
    return message


def as_html(subject: str, text: str) -> str:
    """The same words: paragraphs, and addresses that can be followed. Nothing is loaded."""
    paragraphs = "".join(
        f"<p>{_linked(part).replace(chr(10), '<br>')}</p>"
        for part in text.strip().split("\n\n")
        if part.strip()
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f"<title>{html.escape(subject)}</title></head>"
        f'<body><div style="{STYLE}">{paragraphs}</div></body></html>'
    )


def _linked(text: str) -> str:
    done, at = [], 0
    for found in ADDRESS.finditer(text):
        link = html.escape(found.group(), quote=True)
        done += [html.escape(text[at : found.start()]), f'<a href="{link}">{link}</a>']
        at = found.end()
    return "".join([*done, html.escape(text[at:])])
