"""What became of every mutant, written down one by one, so that a run that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tallystick.tools.campaign.mutants.mutant import Mutant

Outcome = Literal["killed", "survived", "equivalent"]


@dataclass(frozen=True)
class Result:
    """by: the test or the scenario that noticed it; of a survivor, how many tests did not."""

    name: str
    outcome: Outcome
    by: str


class Results:
    """The file `path`: what it was made of, then a line a mutant. `digest`: of the tree."""

    def __init__(self, path: Path, digest: str) -> None:
        self._path = path
        self.found: dict[str, Result] = {}
        self.before: dict[str, Result] = {}
        """Of the last runs in other trees; not all of them need have been of the same files."""
        rows = list(_rows(path))
        known = {row["name"]: Result(**row) for row in rows if "name" in row}
        self.before = {row["before"]["name"]: Result(**row["before"])
                       for row in rows if "before" in row}  # fmt: skip
        if rows and rows[0].get("tree") == digest:
            self.found = known
            return
        self.before |= known
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [{"tree": digest}, *({"before": asdict(one)} for one in self.before.values())]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def add(self, result: Result) -> None:
        self.found[result.name] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """The lines; one that a kill has cut off is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def report(mutants: list[Mutant], found: dict[str, Result]) -> dict[str, Any]:
    """The counts, and the survivors one by one. `left`: not hunted yet."""
    counts = {"mutants": len(mutants), "killed": 0, "equivalent": 0, "survived": 0, "left": 0}
    files: dict[str, dict[str, int]] = {}
    survivors: list[dict[str, Any]] = []
    for mutant in mutants:
        result = found.get(mutant.name)
        what = result.outcome if result else "left"
        row = files.setdefault(mutant.file, dict.fromkeys(counts, 0))
        for one in (counts, row):
            one[what] += 1
        row["mutants"] += 1
        if result is not None and what == "survived":
            survivors.append({**mutant.row(), "why": result.by})
    return {**counts, "files": files, "survivors": survivors}
