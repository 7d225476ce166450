"""Which tests execute a line, as `recorder.py` has noted it. Made once, folder by folder, and kept
under build/: what has changed since is recorded anew when it is next asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.mutants import recorder


@dataclass
class Contexts:
    """`seconds`: of each test; `breadth`: how many lines it executes; `by_line`: (file, line) →
    tests."""

    seconds: dict[str, float] = field(default_factory=dict)
    breadth: dict[str, int] = field(default_factory=dict)
    by_line: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Contexts:
        """All that is in the folder. Raises BadInputError when nothing is."""
        found = cls()
        for path in sorted(folder.glob("*.json")):
            for test, row in json.loads(path.read_text(encoding="utf-8"))["tests"].items():
                found.seconds[test] = row["seconds"]
                found.breadth[test] = sum(map(len, row["lines"].values()))
                for file, lines in row["lines"].items():
                    for line in lines:
                        found.by_line.setdefault((file, line), set()).add(test)
        if not found.seconds:
            raise BadInputError(
                f"There is no map of the tests in {folder}.",
                todo="Make it: tally campaign mutants --map tests/server (and other folders).",
            )
        return found

    def tests(self, file: str, lines: range) -> list[str]:
        """Those that execute any of the lines; first those that execute little else."""
        found: set[str] = set()
        for line in lines:
            found |= self.by_line.get((file, line), set())
        return sorted(found, key=lambda test: (self.breadth[test], test))


def record(folder: Path, tests: tuple[str, ...], root: Path, jobs: int = 1) -> bool:
    """Runs tests, and notes what each of them executes. → whether all of them passed; those that
    did not are left out of the map. jobs: 0: as many as there are processors."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", recorder.__name__, *tests]
    if jobs != 1:  # a module's tests stay together: its file is written by one process
        command += ["-n", str(jobs or "auto"), "--dist", "loadfile"]
    environment = {**os.environ, recorder.ENVIRONMENT: str(folder.resolve())}
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode == 0
