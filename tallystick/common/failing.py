"""Why somebody far away could not be asked, in words for whoever runs the server."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator


def why(error: BaseException) -> str:
    """Libraries wrap what has happened: what lies deepest says most. No text of theirs is repeated,
    for it may have what was sent in it; where nothing is known, the error's name."""
    for one in _within(error):
        if words := _words(one):
            return words
    return type(error).__name__


def _within(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came of; the deepest first."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return reversed(chain)


def _words(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known here: look at DNS (/etc/resolv.conf)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if status := _status(error):
        return status
    known = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return (error.strerror or "") if known else ""  # type: ignore[attr-defined]


def _status(error: BaseException) -> str:
    """Of an answer that says no: of a mail server, or by HTTP."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"refuses our name and password: {error.smtp_code}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answers {error.smtp_code}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"it answers {status}" if isinstance(status, int) else ""
