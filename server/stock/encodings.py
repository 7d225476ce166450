"""The text of a token file, whatever encoding it came in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from tallystick.server.stock.refusing import refuse, shown

BYTE_ORDER_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# How “<?” looks without a mark (XML 1.0, appendix F.1).
BEGINNINGS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
    (b"\x4c\x6f\xa7\x94", "cp037"),  # EBCDIC: enough of it to read the declaration
)
DECLARATION = re.compile(r"\s*<\?xml\s[^<>]{0,200}?\?>")
DECLARED = re.compile(r"""encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")
# Codecs of Python that are not encodings of text files.
ODD = {"utf-7", "unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined"}
WIDE = ("utf-16", "utf-32")
HEAD = 4096


def xml_text(content: bytes) -> str:
    """An XML document without mark and declaration. A byte-order mark counts for more than what is
    declared, and what the first bytes show, too (appendix F). Raises ApiError (422)."""
    content, marked = _marked(content)
    if not marked:
        content = content.lstrip(b" \t\r\n")
    seen = marked or next((name for start, name in BEGINNINGS if content.startswith(start)), "")
    declared = DECLARED.search(_declaration(content[:HEAD].decode(seen or "latin-1", "ignore")))
    name = seen
    if declared and (not seen or seen == "cp037"):
        name = _known(declared.group(1))
    if not seen and name.startswith(WIDE):
        name = ""  # one byte a character: whoever wrote this forgot to convert it
    text = _decoded(content, name or "utf-8", declared.group(1) if declared else "")
    return text[len(_declaration(text)) :]


def plain_text(content: bytes) -> str:
    """A text file that declares nothing: by its mark, or UTF-8, or UTF-16 by its zeros, else
    Windows-1252. Raises ApiError (422)."""
    content, name = _marked(content)
    for guess in [name] if name else _guesses(content):
        try:
            return content.decode(guess)
        except UnicodeDecodeError:
            continue
    refuse("unreadable-file", "The file is not a text in UTF-8, UTF-16 or Windows-1252.")
    return None


def looks_like_xml(content: bytes) -> bool:
    content, name = _marked(content)
    head = content[:HEAD]
    if head.startswith(BEGINNINGS[-1][0]):
        return True
    return head.replace(b"\0", b"").lstrip().startswith(b"<") or (
        bool(name) and head.decode(name, "ignore").lstrip().startswith("<")
    )


def _guesses(content: bytes) -> Iterator[str]:
    head = content[:HEAD]
    if b"\0" in head:
        yield "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        return
    yield "utf-8"
    yield "cp1252"


def _marked(content: bytes) -> tuple[bytes, str]:
    for mark, name in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            while content.startswith(mark):  # a program that adds one does not look for another
                content = content[len(mark) :]
            return content, name
    return content, ""


def _declaration(text: str) -> str:
    found = DECLARATION.match(text)
    return found.group() if found else ""


def _known(name: str) -> str:
    try:
        found = codecs.lookup(name)
        " ".encode(name)  # a codec of bytes, such as bz2, raises here
    except (LookupError, ValueError, TypeError):
        found = None
    if found is None or found.name.replace("_", "-") in ODD:
        refuse(
            "malformed-container",
            f"The file says that it is in {shown(name)}, which is unknown.",
            todo="Have the maker name its encoding as XML has it: UTF-8, or windows-1252.",
        )
    return found.name


def _decoded(content: bytes, name: str, declared: str) -> str:
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        says = f"says that it is in {shown(declared)}" if declared else "says no encoding"
        refuse(
            "malformed-container",
            f"The file {says}, but its byte {error.start + 1} is not of {name.upper()}.",
            todo="Save it in the encoding that its first line declares, or have the maker do so.",
        )
