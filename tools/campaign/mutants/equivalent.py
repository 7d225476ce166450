"""Mutants that no test can tell from the original, each with the reason.

They are named by function and text, so that lines may come and go; one that no mutant fits any more
is an error, and is taken out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.mutants.mutant import Mutant

FILE = Path(__file__).with_name("equivalent.json")
_ENTRY = {"file", "function", "statement", "change", "nth", "reason"}
_Key = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class Equivalents:
    """`reasons`: key of a mutant → why nothing can notice it."""

    reasons: dict[_Key, str]

    @classmethod
    def load(cls, path: Path = FILE) -> Equivalents:
        """Raises BadInputError for an entry that is malformed, there twice, or without reason."""
        reasons: dict[_Key, str] = {}
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if set(entry) != _ENTRY or not entry["reason"].strip():
                raise BadInputError(f"{path.name} has a malformed entry: {entry}.")
            key = (entry["file"], entry["function"], entry["statement"], entry["change"],
                   int(entry["nth"]))  # fmt: skip
            if key in reasons:
                raise BadInputError(f"{path.name} has an entry twice: {key}.")
            reasons[key] = entry["reason"]
        return cls(reasons)

    def check(self, mutants: list[Mutant]) -> None:
        """Raises BadInputError for an entry of one of these mutants' files that fits none of
        them."""
        there = {mutant.key for mutant in mutants}
        files = {mutant.file for mutant in mutants}
        stale = [key for key in self.reasons if key[0] in files and key not in there]
        if stale:
            file, function, statement, change, _ = stale[0]
            raise BadInputError(
                f"An equivalent mutant is not there any more: {file} {function}: {statement!r} "
                f"({change}).",
                kept=f"{len(stale)} of {len(self.reasons)} entries of {FILE.name} are stale.",
                todo="Take it out; if its statement was only rewritten, write it anew.",
            )
