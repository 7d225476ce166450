"""What a barcode scanner types: it is a keyboard, and ends with Enter or Tab."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial

# Scanners can be set to say first what kind of code it was (ISO/IEC 15424: ]C1, ]Q3).
_SYMBOLOGY = re.compile(r"^\][A-Za-z][0-9]")


def read_scan(text: str) -> str:
    """The content of the label: without the kind of code, and what is no character of it."""
    shown = "".join(sign for sign in text if sign.isprintable()).strip()
    return _SYMBOLOGY.sub("", shown).strip()


def read_serial(text: str) -> str:
    """The serial number of one of our cards, as scanned or typed; also where Caps Lock turned its
    letters round. Raises BadInputError."""
    return check_serial(read_scan(text).upper())


@dataclass
class BoxScan:
    """Labels scanned one after another. twice: those that came again, problems: what was no serial
    number, as it was read."""

    serials: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_box(lines: Iterable[str]) -> BoxScan:
    """Of each line one label, or several with white space, commas or semicolons between them."""
    made = BoxScan()
    for line in lines:
        for part in re.split(r"[\s,;]+", line.strip()):
            if not read_scan(part):
                continue
            try:
                serial = read_serial(part)
            except BadInputError:
                made.problems.append(read_scan(part)[:40])
                continue
            (made.twice if serial in made.serials else made.serials).append(serial)
    return made
