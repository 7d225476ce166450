"""One mutant: a source with one small change in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """In `function` of `file` (from the root of the tree), `statement` is changed as `change` says.

    `nth`: which of several changes that read the same, from 0. `line` is where the change begins
    and `until` where the statement ends; they move with the source, and are no part of what names
    the mutant. `text` is the whole source with the change, of as many lines as before.
    """

    file: str
    function: str
    statement: str
    change: str
    nth: int
    line: int = field(compare=False)
    until: int = field(compare=False)
    text: bytes = field(compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What stays the same when other lines come and go."""
        return self.file, self.function, self.statement, self.change, self.nth

    @property
    def name(self) -> str:
        """Twelve hex digits of the key."""
        return hashlib.sha256(repr(self.key).encode()).hexdigest()[:12]

    def row(self) -> dict[str, Any]:
        """As a report lists it."""
        return {
            "name": self.name, "file": self.file, "line": self.line, "function": self.function,
            "statement": self.statement, "change": self.change, "nth": self.nth,
        }  # fmt: skip
