"""Tables as CSV that a table program may open without running anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

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


def lacks(cells: Sequence[str], before: Sequence[str]) -> bool:
    """Whether a line has less than the one before it: cells, or something in the last of them."""
    if len(cells) != len(before):
        return len(cells) < len(before)
    return bool(before) and not cells[-1].strip() and bool(before[-1].strip())
