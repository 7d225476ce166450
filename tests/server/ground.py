"""The table of faults in docs/reference/server.md: each row is what a test saw when it caused it.

python -m pytest tests/server/test_ground.py     compares
TALLY_WRITE_GROUND=1 … the same                  writes the rows that it saw
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

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


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    needs.own_mounts.or_skip()
    needs.root.or_skip()
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def bounded_memory(processes: Iterable[str], more: int) -> Iterator[Callable[[], int]]:
    """The processes may take so many bytes more, together, until the kernel ends one (a control
    group of their own, of version 2 or 1). → how many it has ended"""
    needs.own_memory.or_skip()
    group = needs.memory_groups() / f"tally-test-{uuid4().hex}"
    group.mkdir()
    second = (group / "memory.max").exists()
    try:
        for process in processes:  # what they have by now counts elsewhere
            (group / "cgroup.procs").write_text(process)
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(more))
        events = group / ("memory.events" if second else "memory.oom_control")
        yield lambda: int(dict(map(str.split, events.read_text().splitlines()))["oom_kill"])
    finally:
        while not _gone(group):
            os.sched_yield()


def _gone(group: Path) -> bool:
    """Whoever is left is moved out; one that was ended takes a moment to leave."""
    for process in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (group.parent / "cgroup.procs").write_text(process)
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
