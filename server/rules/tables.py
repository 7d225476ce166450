"""Tables as CSV that a table program may open without running anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARK = "'"
MARKED = (*FORMULA, MARK)  # an own apostrophe, too: else it could not be told from the mark


def line(values: Iterable[str]) -> str:
    """One line (RFC 4180). A cell that begins like a formula, or with an apostrophe, gets an
    apostrophe in front."""
    text = io.StringIO()
    csv.writer(text).writerow([f"{MARK}{one}" if one.startswith(MARKED) else one for one in values])
    return text.getvalue()


def bare(cell: str) -> str:
    """What `line` was given."""
    return cell[1:] if cell[:1] == MARK and cell[1:].startswith(MARKED) else cell
