"""What a campaign has covered, written down as it goes: one JSON object a line.

The first line says of what (plan, image). Then one line for each scenario, with every state that
its first cuts leave, then one for each explored state with every state that cuts of its recovery
leave, in the order in which they were explored, and at last the counts. A process that is killed
leaves whole lines and perhaps the beginning of one. `commands/audit.py` reads it without this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.image import Image

FORMAT = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What an unfinished record holds. Rows by scenario, and rows of states in their order."""

    scenarios: dict[str, Row]
    states: list[Row]


def of_image(image: Image) -> str:
    """What tells a firmware from every other."""
    told = hashlib.sha256()
    for address, content in image.segments:
        told.update(f"{address} {len(content)} ".encode() + content)
    return told.hexdigest()


class CampaignRecord:
    """The record in `file`. `key`: what it is of; one of something else is not gone on with.
    anew: how it is begun again, in words."""

    def __init__(self, file: Path, key: Row, anew: str = "--anew, which replaces it") -> None:
        self._file = file
        self._key = key
        self._anew = anew
        self._writing: TextIO | None = None

    def open(self) -> Kept:
        """What an earlier run has left; from now on rows are added to it. A finished record is
        begun anew. Raises BadInputError for one that is of something else, or is damaged."""
        rows = self.open_rows()
        return Kept(
            {row["scenario"]: row for row in rows if "roots" in row},
            [row for row in rows if "state" in row],
        )

    def open_rows(self) -> list[Row]:
        """The same, all rows but the first in their order."""
        whole = list(self._whole_lines())
        rows = [row for _, row in whole]
        if rows and "end" in rows[-1]:
            rows, whole = [], []
        if rows:
            self._check(rows[0])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        with self._file.open("r+b") as file:
            file.truncate(sum(size for size, _ in whole))
        self._writing = self._file.open("a", encoding="utf-8")
        if not rows:
            self.add({"campaign": FORMAT, **self._key})
        return rows[1:]

    def _whole_lines(self) -> Iterator[tuple[int, Row]]:
        """(bytes, row) of every line but a last one that was not written whole."""
        if not self._file.is_file():
            return
        lines = self._file.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                if number == len(lines) - 1:
                    return
                raise self._refused(f"line {number + 1} is no JSON") from None
            if not isinstance(row, dict):
                raise self._refused(f"line {number + 1} is no row of a record")
            yield len(line), row

    def _check(self, first: Row) -> None:
        wanted = {"campaign": FORMAT, **self._key}
        for name in dict.fromkeys((*wanted, *first)):
            is_, should = first.get(name), json.loads(json.dumps(wanted.get(name)))
            if is_ == should:
                continue
            if name == "image":
                raise self._refused("it is of another firmware")
            if isinstance(is_, dict) and isinstance(should, dict):
                part = next(one for one in {**is_, **should} if is_.get(one) != should.get(one))
                raise self._refused(_differing(part, is_.get(part), should.get(part)))
            raise self._refused(_differing(name, is_, should))

    def _refused(self, why: str) -> BadInputError:
        return BadInputError(
            f"{self._file} is not gone on with: {why}.",
            todo=f"Give the options it was begun with, or {self._anew}.",
        )

    def differs(self, what: str) -> BadInputError:
        """The error for a record that says otherwise than what is seen now."""
        return self._refused(f"{what} comes out otherwise now")

    def add(self, row: Row) -> None:
        """Adds a row, out of this process's hands when it returns: kill −9 does not take it."""
        assert self._writing is not None, "open() comes first"
        self._writing.write(json.dumps(row, separators=(",", ":")) + "\n")
        self._writing.flush()

    def close(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None


def _differing(name: str, is_: object, should: object) -> str:
    return f"it is of {name} {_told(is_)}, not {_told(should)}"


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
