"""The table of faults in docs/reference/server.md: each row is what a test saw when it caused it.

python -m pytest tests/server/test_ground.py     compares
TALLY_WRITE_GROUND=1 … the same                  writes the rows that it saw
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tests import needs

PAGE = needs.ROOT / "docs/reference/server.md"
BEGIN, END = "<!-- ground: begin -->\n", "<!-- ground: end -->"


@dataclass(frozen=True)
class GroundRow:
    """people: what whoever asks sees. doctor: its finding. log, metric: what tells of it. todo."""

    fault: str
    people: str
    doctor: str
    log: str
    metric: str
    todo: str

    def line(self) -> str:
        cells = (self.fault, self.people, self.doctor, self.log, self.metric, self.todo)
        return "| " + " | ".join(cell.replace("|", "/") or "–" for cell in cells) + " |"


def compare(row: GroundRow) -> None:
    """The page has this row, as it was seen."""
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index(BEGIN) + len(BEGIN)
    end = text.index(END)
    lines = text[begin:end].splitlines()
    if os.environ.get("TALLY_WRITE_GROUND"):
        kept = [line for line in lines if not line.startswith(f"| {row.fault} |")]
        made = "\n".join([*kept, row.line()]) + "\n"
        PAGE.write_text(text[:begin] + made + text[end:], encoding="utf-8")
        return
    assert row.line() in lines


def plain(text: str) -> str:
    """Without what is otherwise each time: paths, numbers of ports."""
    text = re.sub(r"/[^\s,;]*/", "…/", text)
    return re.sub(r":\d{4,5}\b", "", text)
