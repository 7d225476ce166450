"""Keys, passphrases and certificates as people have them in files."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from pathlib import Path
from unicodedata import category

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret

MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
KEY_SIZES = (16, 24, 32)  # bytes: AES, Camellia; 3DES takes 24
MIN_SIZE, MAX_SIZE = 8, 64
MAX_FILE = 64 * 1024
# Whatever is no letter, and of no base 64 (and `-` all the same, as more often between digits).
AROUND_HEX = re.compile(r"(0|\\)[xX]|[^\w+/=]")
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
NOTHING = "Nothing was registered."
EXPECTED = (
    "Put the key there in hexadecimal digits, 32 for 128 bits, 48 or 64 for more (with blanks, "
    "colons or 0x, if you like), or in base 64, or as 16, 24 or 32 bytes."
)


def key_of(file: Path) -> Secret:
    """The key in a file: hexadecimal digits whatever is around them, base 64, or its bytes. What
    reads as hexadecimal digits is never taken as anything else. Raises BadInputError, which says
    what is expected and nothing of the content."""
    content = _content(file)
    text = _text(content)
    if text is None or not _is_text(text):
        raw = _without_line_end(content)
        if len(raw) in KEY_SIZES:
            return Secret(raw)
        raise _no_key(file, f"holds {len(raw)} bytes that are no text")
    digits = AROUND_HEX.sub("", text)
    if digits and re.fullmatch(r"[0-9A-Fa-f]+", digits):
        if len(digits) % 2 or not MIN_SIZE <= len(digits) // 2 <= MAX_SIZE:
            raise _no_key(file, f"holds {len(digits)} hexadecimal digits")
        return Secret(bytes.fromhex(digits))
    bare = re.sub(r"\s", "", text).strip("\"'")
    if BASE64.fullmatch(bare):
        standard = bare.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) in KEY_SIZES:
            return Secret(raw)
    raise _no_key(file, f"holds a text of {len(text.strip())} characters that is no key")


def passphrase_of(file: Path) -> Secret:
    """The passphrase in a file, in UTF-8, without a byte-order mark and the blanks and line ends
    around it. Raises BadInputError."""
    text = _text(_content(file))
    if text is None:
        raise BadInputError(
            f"{file} is not a text in UTF-8 or UTF-16.",
            kept=NOTHING,
            todo="Save the passphrase in UTF-8: a key is derived from its bytes.",
        )
    if not text.strip():
        raise BadInputError(f"{file} is empty.", kept=NOTHING, todo="Put the passphrase there.")
    return Secret(text.strip().encode())


def token_of(file: Path) -> str:
    """The token of a credential. Raises BadInputError."""
    text = (_text(_content(file)) or "").strip()
    if not text or not text.isascii() or not text.isprintable():
        raise BadInputError(
            f"{file} holds no token.", kept=NOTHING, todo="Put the token there, and nothing else."
        )
    return text


def certificate_of(file: Path) -> str:
    """A certificate in PEM; what is in DER is converted. Raises BadInputError."""
    content = _content(file)
    text = _text(content)
    if text is not None and "-----BEGIN" in text:
        return text.strip()
    if content.startswith(b"\x30\x82"):
        return ssl.DER_cert_to_PEM_cert(content)
    raise BadInputError(
        f"{file} holds no certificate.", kept=NOTHING, todo="Give it in PEM, or in DER."
    )


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise BadInputError(
            f"{file} has more than {MAX_FILE // 1024} KiB: it is another file.", kept=NOTHING
        )
    return content


def _text(content: bytes) -> str | None:
    for mark, name in MARKS:
        if content.startswith(mark):
            while content.startswith(mark):
                content = content[len(mark) :]
            return _decoded(content, name)
    if content[1:2] == b"\0" and len(content) not in KEY_SIZES:
        return _decoded(content, "utf-16-le")
    return _decoded(content, "utf-8")


def _decoded(content: bytes, name: str) -> str | None:
    try:
        return content.decode(name)
    except UnicodeDecodeError:
        return None


def _is_text(text: str) -> bool:
    return all(one.isprintable() or one.isspace() or category(one) == "Cf" for one in text)


def _without_line_end(content: bytes) -> bytes:
    for end in (b"\r\n", b"\n"):
        if content.endswith(end) and len(content) - len(end) in KEY_SIZES:
            return content[: -len(end)]
    return content


def _no_key(file: Path, what: str) -> BadInputError:
    return BadInputError(f"{file} {what}.", kept=NOTHING, todo=EXPECTED)
