"""The text of a token file, whatever encoding it came in, a piece at a time."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import NoReturn

from tallystick.server.stock.refusing import refuse, shown
from tallystick.server.store.sealed_file import SealedFile

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
MAX_LINE = 256 * 1024
BLANKS = b" \t\r\n"


class XmlText:
    """An XML document without mark and declaration. A byte-order mark counts for more than what is
    declared, and what the first bytes show, too (appendix F). Raises ApiError (422)."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        content, marked = _marked(file.head(HEAD))
        self._mark = len(file.head(HEAD)) - len(content)
        if not marked:
            content = content.lstrip(BLANKS)
        seen = marked or next((name for start, name in BEGINNINGS if content.startswith(start)), "")
        declared = DECLARED.search(_declaration(content.decode(seen or "latin-1", "ignore")))
        name = seen
        if declared and (not seen or seen == "cp037"):
            name = _known(declared.group(1))
        if not seen and name.startswith(WIDE):
            name = ""  # one byte a character: whoever wrote this forgot to convert it
        self._name = name or "utf-8"
        self._declared = declared.group(1) if declared else ""
        self._blanks_go = not marked

    def pieces(self) -> Iterator[str]:
        """Raises ApiError (422) where a byte is of another encoding."""
        says = "says no encoding"
        if self._declared:
            says = f"says that it is in {shown(self._declared)}"
        texts = _decoded(self._file, self._name, skip=self._mark, says=says)
        beginning = ""
        for text in texts:
            beginning += text
            if self._blanks_go:
                beginning = beginning.lstrip(BLANKS.decode())
            if len(beginning) >= HEAD:
                break
        yield beginning[len(_declaration(beginning)) :]
        yield from texts


class PlainText:
    """A text file that declares nothing: by its mark, or UTF-8, or UTF-16 by its zeros, else
    Windows-1252. Raises ApiError (422)."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        content, name = _marked(file.head(HEAD))
        self._mark = len(file.head(HEAD)) - len(content)
        guesses = [name] if name else _guesses(content)
        self._name = next((one for one in guesses if self._is(one)), "")
        if not self._name:
            refuse("unreadable-file", "The file is not a text in UTF-8, UTF-16 or Windows-1252.")

    def _is(self, name: str) -> bool:
        try:
            for _ in _decoded(self._file, name, skip=self._mark):
                pass
        except UnicodeDecodeError:
            return False
        return True

    def pieces(self) -> Iterator[str]:
        return _decoded(self._file, self._name, skip=self._mark)

    def head(self, size: int) -> str:
        """Its first characters, as many as asked for or as there are."""
        head = ""
        for piece in self.pieces():
            head += piece
            if len(head) >= size:
                break
        return head[:size]

    def lines(self) -> Iterator[str]:
        """Without their ends, which are those of any system. Raises ApiError (422) for a line that
        is longer than any."""
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        rest = ""
        for piece in chain(self.pieces(), [None]):
            text = newlines.decode(piece or "", final=piece is None)
            *lines, rest = (rest + text).split("\n")
            if any(len(line) > MAX_LINE for line in (*lines, rest)):
                refuse("unreadable-file", f"The file has a line of more than {MAX_LINE} letters.")
            yield from lines
        yield rest

    def unended(self) -> str:
        """What comes after the last line end: nothing, in a file whose last line has one."""
        rest = ""
        for piece in self.pieces():
            end = max(piece.rfind("\n"), piece.rfind("\r"))
            rest = rest + piece if end < 0 else piece[end + 1 :]
        return rest


def _decoded(file: SealedFile, name: str, *, skip: int, says: str = "") -> Iterator[str]:
    """The text behind the first bytes, in pieces. says: for a message; without it, raises
    UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(name)()
    at = 0
    for piece in file.pieces():
        content = piece[max(0, skip - at) :]
        at += len(piece) - len(content)
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(content)
        except UnicodeDecodeError as error:
            _refuse_byte(error, at - held, says, name)
        at += len(content)
        yield text
    held = len(decoder.getstate()[0])
    try:
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        _refuse_byte(error, at - held, says, name)


def _refuse_byte(error: UnicodeDecodeError, before: int, says: str, name: str) -> NoReturn:
    if not says:
        raise error
    refuse(
        "malformed-container",
        f"The file {says}, but its byte {before + error.start + 1} is not of {name.upper()}.",
        todo="Save it in the encoding that its first line declares, or have the maker do so.",
    )


def looks_like_xml(head: bytes) -> bool:
    """head: the first bytes of a file."""
    head, name = _marked(head[:HEAD])
    if head.startswith(BEGINNINGS[-1][0]):
        return True
    return head.replace(b"\0", b"").lstrip().startswith(b"<") or (
        bool(name) and head.decode(name, "ignore").lstrip().startswith("<")
    )


def _guesses(content: bytes) -> Iterator[str]:
    if b"\0" in content:
        yield "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
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
