"""Logs on standard error: text for people, or one JSON object a line. Tokens never get through."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

# What a token, a PSK or a seed in hexadecimal or base 32, a code of the help desk, and a one-time
# code look like. Digits that go on before or after a dot, a colon or a hyphen are a time or an
# address.
SECRET_SHAPES = re.compile(
    r"tally_[A-Za-z0-9_-]{20,}|[0-9a-fA-F]{32,}|[A-Za-z0-9_-]{43,}|[A-Z2-7]{32,}"
    r"|\b[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}\b"
    r"|(?<!\d)(?<!\d[.:-])\d{6,8}(?!\d|[.:-]\d)"
)


def scrub(text: str) -> str:
    """The text with everything that looks like a secret taken out."""
    return SECRET_SHAPES.sub("…", text)


class TextFormatter(logging.Formatter):
    """time level logger: message"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        head, sep, rest = super().format(record).partition(f" {record.levelname} ")
        return head + sep + scrub(rest)


class JsonFormatter(logging.Formatter):
    """{"at", "level", "logger", "message"}, and "trace" for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrub(record.getMessage()),
        }
        if record.exc_info:
            entry["trace"] = scrub(self.formatException(record.exc_info))
        return json.dumps(entry)


def set_up(*, as_json: bool) -> None:
    """Send everything of level warning and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
