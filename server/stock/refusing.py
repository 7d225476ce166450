"""How a token file is refused: the entry, the value, and what to do. Never a key."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NoReturn

from tallystick.server.errors import NOT_REGISTERED, ApiError

MAX_SHOWN = 80
ADDRESS = re.compile(r"(urn:|https?://)\S*")  # names an algorithm, and is no key
# 16 bytes and more in hexadecimal digits, base 32 or base 64, in groups or not.
LIKE_A_KEY = re.compile(r"[A-Za-z0-9+/_-]{22,}={0,6}")
GROUPING = re.compile(r"[\s:.,;]")
LEAVE_OUT = (
    "Leave such entries out (--skip-unusable), or have the maker send a corrected file: nobody "
    "else can change one that is signed, or has MACs."
)


class Weakness(StrEnum):
    """What is refused unless the importer says that he takes it.

    plain: keys in clear. unauthenticated: encrypted, but changes would not be seen. old: 3DES,
    Camellia, HMAC-MD5 and HMAC-RIPEMD160, or a passphrase with few iterations.
    mac-over-plaintext: MACs as draft-ietf-keyprov-pskc-02 has them, over what was encrypted.
    no-counter: an HOTP key that does not say where it is counts from 0.
    """

    PLAIN = "plain"
    UNAUTHENTICATED = "unauthenticated"
    OLD = "old"
    MAC_OVER_PLAINTEXT = "mac-over-plaintext"
    NO_COUNTER = "no-counter"


def refuse(code: str, what: str, *, todo: str = "", takes: Weakness | None = None) -> NoReturn:
    """Raise ApiError (422). takes: with what the importer could take it all the same."""
    if takes is not None:
        todo = f"Ask for one that is protected better, or take it with --take {takes.value}."
    raise ApiError(
        422,
        code,
        what,
        kept=NOT_REGISTERED,
        todo=todo or "Have the maker correct the file, and send it again.",
    ) from None


def is_like_a_key(text: str) -> bool:
    bare = GROUPING.sub("", text)
    return any(LIKE_A_KEY.search(one) for one in (bare, re.sub("0[xX]", "", bare)))


def shown(value: object) -> str:
    """A refused value of a file, in quotes, on one line and not too long. What could be a key is
    not shown: columns may be in another order than they should."""
    text = str(value)
    if not ADDRESS.fullmatch(text) and is_like_a_key(text):
        return f"(a value of {len(text)} characters that could be a key, and is not shown)"
    text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return "“" + "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text) + "”"
