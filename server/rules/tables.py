"""Tables as CSV that a table program may open without running anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line(values: Iterable[str]) -> str:
    """One line (RFC 4180). A cell that begins like a formula gets an apostrophe in front."""
    text = io.StringIO()
    csv.writer(text).writerow([f"'{one}" if one.startswith(FORMULA) else one for one in values])
    return text.getvalue()


def bare(cell: str) -> str:
    """What `line` was given."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell
