"""Base 64 for addresses and JSON Web structures, without padding (RFC 4648 5, RFC 7515 2)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_TEXT = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Padding is not asked for, and let pass. Raises ValueError for anything else that is not base
    64; Python's own decoder leaves out what it does not know."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise ValueError("no base 64")
    bare = text.rstrip("=")
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
