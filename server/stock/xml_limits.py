"""Look through an XML document before a tree is made of it: no DTD, and nothing out of bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from tallystick.server.stock.refusing import refuse

MAX_DEPTH = 40
MAX_ELEMENTS = 250_000
MAX_NAME = 256  # of a tag or an attribute
MAX_VALUE = 2048  # of an attribute: names of namespaces are joined with every tag


def tree_of(text: str) -> ElementTree.Element:
    """The tree of a document that was looked through. Comments and processing instructions are left
    out, and the text around them joined: what is read is what a signature covers. Raises ApiError
    (422)."""
    try:
        return ElementTree.fromstring(text.encode())  # noqa: S314  (no DTD, and within bounds)
    except (ElementTree.ParseError, ValueError) as error:
        refuse("malformed-container", f"The file is not well-formed XML ({error}).")


@dataclass
class Looked:
    """root: the local name of the outermost element. prf: the text of a PRF element, which
    python-pskc writes, but reads from an attribute only."""

    root: str = ""
    prf: str = ""
    depth: int = 0
    elements: int = 0
    inside_prf: bool = False


def look_through(text: str) -> Looked:
    """Raises ApiError (422)."""
    looked = Looked()

    def found(*_: object) -> NoReturn:
        refuse(
            "malformed-container",
            "The container has a document type declaration: entities are never read.",
            todo="Have the maker send it without one.",
        )

    def start(name: str, attributes: dict[str, str]) -> None:
        local = name.rsplit(":", 1)[-1]
        looked.root = looked.root or local
        looked.depth += 1
        looked.elements += 1
        looked.inside_prf = local == "PRF"
        if looked.depth > MAX_DEPTH or looked.elements > MAX_ELEMENTS:
            refuse(
                "malformed-container",
                f"The container has more than {MAX_ELEMENTS} elements, or {MAX_DEPTH} in each "
                "other.",
                todo="Have the maker send it in parts.",
            )
        long = any(len(k) > MAX_NAME or len(v) > MAX_VALUE for k, v in attributes.items())
        if len(name) > MAX_NAME or long:
            refuse("malformed-container", "The container has a name or attribute that is too long.")

    def end(_name: str) -> None:
        looked.depth -= 1
        looked.inside_prf = False

    def characters(data: str) -> None:
        looked.prf += data[:MAX_NAME] if looked.inside_prf and len(looked.prf) < MAX_NAME else ""

    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = found
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        refuse("malformed-container", f"The file is not well-formed XML ({error}).")
    return looked
