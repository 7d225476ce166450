"""An XML document, a piece at a time: no DTD, nothing out of bounds, never a tree of all of it.

A document is looked through first, from its first to its last byte. Only then are its elements
read, one after the other: those right below the outermost one, each as a tree of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from tallystick.server.stock.refusing import refuse

MAX_DEPTH = 40
MAX_ELEMENTS = 20_000  # in one element below the outermost: an entry, or a part of what is before
MAX_TEXT = 4 * 1024 * 1024  # characters in one of them
MAX_TOKEN = 4 * 1024 * 1024  # bytes of a comment, a tag, or whatever the parser holds at once
MAX_BESIDE = 100  # elements beside the entries
MAX_NAME = 256  # of a tag or an attribute
MAX_VALUE = 2048  # of an attribute: names of namespaces are joined with every tag


@dataclass
class Looked:
    """root: the outermost element, with what is in it beside the entries, and local names only.
    prf: the text of a PRF element, which python-pskc writes, but reads from an attribute only."""

    root: ElementTree.Element
    prf: str = ""


@dataclass
class _Looking:
    entries: tuple[str, ...]
    prf: str = ""
    inside_prf: bool = False
    depth: int = 0
    elements: int = 0
    text: int = 0
    beside: int = 0
    in_entry: bool = False
    built: ElementTree.TreeBuilder = field(default_factory=ElementTree.TreeBuilder)

    def doctype(self, *_: object) -> NoReturn:
        refuse(
            "malformed-container",
            "The container has a document type declaration: entities are never read.",
            todo="Have the maker send it without one.",
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rsplit(":", 1)[-1]
        self.depth += 1
        if self.depth <= 2:
            self.elements = self.text = 0
            self.in_entry = self.depth == 2 and local in self.entries
            self.beside += not self.in_entry
        self.elements += 1
        self.inside_prf = local == "PRF"
        if self.depth > MAX_DEPTH or self.elements > MAX_ELEMENTS or self.beside > MAX_BESIDE:
            refuse(
                "malformed-container",
                f"The container has more than {MAX_ELEMENTS} elements in an entry, {MAX_DEPTH} in "
                f"each other, or {MAX_BESIDE} beside the entries.",
                todo="Have the maker send it in parts.",
            )
        long = any(len(k) > MAX_NAME or len(v) > MAX_VALUE for k, v in attributes.items())
        if len(name) > MAX_NAME or long:
            refuse("malformed-container", "The container has a name or attribute that is too long.")
        if not self.in_entry:
            self.built.start(local, attributes)

    def end(self, name: str) -> None:
        if not self.in_entry:
            self.built.end(name.rsplit(":", 1)[-1])
        self.depth -= 1
        self.inside_prf = False
        self.in_entry &= self.depth > 1

    def characters(self, data: str) -> None:
        self.text += len(data)
        if self.text > MAX_TEXT:
            refuse("malformed-container", "The container has an entry that is too long.")
        if self.inside_prf and len(self.prf) < MAX_NAME:
            self.prf += data[:MAX_NAME]
        if self.depth > 1 and not self.in_entry:
            self.built.data(data)


def look_through(pieces: Iterable[str], entries: tuple[str, ...] = ()) -> Looked:
    """pieces: the document, in order. entries: names of elements below the outermost one that are
    not kept. Raises ApiError (422)."""
    looking = _Looking(entries)
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = looking.doctype
    parser.StartElementHandler, parser.EndElementHandler = looking.start, looking.end
    parser.CharacterDataHandler = looking.characters
    parser.buffer_text = True
    fed = 0
    try:
        for piece in pieces:
            content = piece.encode()
            fed += len(content)
            parser.Parse(content, False)
            if fed - parser.CurrentByteIndex > MAX_TOKEN:
                refuse("malformed-container", "The container has a part that is too long.")
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError) as error:
        refuse("malformed-container", f"The file is not well-formed XML ({error}).")
    return Looked(looking.built.close(), looking.prf)


def root_of(pieces: Iterable[str]) -> str:
    """The local name of the outermost element: nothing more is read. Raises ApiError (422)."""
    found: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _Looking(()).doctype
    parser.StartElementHandler = lambda name, _: found.append(name.rsplit(":", 1)[-1])
    fed = 0
    try:
        for piece in pieces:
            parser.Parse(piece.encode(), False)
            fed += len(piece)
            if found:
                return found[0]
            if fed > MAX_TOKEN:
                refuse("malformed-container", "The file has no element where it begins.")
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError) as error:
        if found:
            return found[0]
        refuse("malformed-container", f"The file is not well-formed XML ({error}).")
    return found[0]


def elements_of(pieces: Iterable[str]) -> Iterator[ElementTree.Element]:
    """Each element below the outermost one, of a document that was looked through. Comments and
    processing instructions are left out, and the text around them joined: what is read is what a
    signature covers. Raises ApiError (422)."""
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    opened: list[ElementTree.Element] = []
    try:
        for piece in pieces:
            parser.feed(piece.encode())
            for event, element in parser.read_events():
                if event == "start":
                    opened.append(element)
                    continue
                opened.pop()
                if len(opened) == 1:
                    yield element
                    opened[0].clear()
    except (ElementTree.ParseError, ValueError) as error:
        refuse("malformed-container", f"The file is not well-formed XML ({error}).")
