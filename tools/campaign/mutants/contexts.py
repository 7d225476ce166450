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
        return self._narrow_first(found)

    def beside(self, tests: list[str]) -> list[str]:
        """The others of their modules: one that only looks at a constant executes no line of the
        module that it is in."""
        modules = {_module(test) for test in tests}
        return self._narrow_first(
            {one for one in self.seconds if _module(one) in modules} - set(tests)
        )

    def _narrow_first(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: (self.breadth[test], test))


def _module(test: str) -> str:
    return test.split("::", maxsplit=1)[0]


def outdated(folder: Path, files: set[str], tests: set[str], root: Path) -> list[str]:
    """What has to be run for a map that holds for these files: test modules that have changed, or
    that execute one of the files that has; and those in the folders `tests` that it has not got."""
    found, there = set(), set()
    for path in folder.glob("*.json"):
        row = json.loads(path.read_text(encoding="utf-8"))
        module, sources = row["module"], row.get("sources", {})
        if not (root / module).is_file():
            path.unlink()
            continue
        there.add(module)
        wanted = {module, *(files & sources.keys())}
        if any(recorder.digest(root / one) != sources.get(one) for one in wanted):
            found.add(module)
    for name in tests:
        modules = {str(one.relative_to(root)) for one in (root / name).rglob("test_*.py")}
        found |= {name} if modules and not modules & there else modules - there
    return sorted(found)


def record(
    folder: Path, tests: tuple[str, ...], root: Path, jobs: int = 1, *, aside: bool = False
) -> bool:
    """Runs tests, and notes what each of them executes. → whether all of them passed; those that
    did not are left out of the map. jobs: 0: as many as there are processors. aside: what pytest
    says goes to standard error."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", recorder.__name__, *tests]
    if jobs != 1:  # a module's tests stay together: its file is written by one process
        command += ["-n", str(jobs or "auto"), "--dist", "loadfile"]
    environment = {**os.environ, recorder.ENVIRONMENT: str(folder.resolve())}
    told = 2 if aside else None
    done = subprocess.run(command, cwd=root, env=environment, check=False, stdout=told)
    return done.returncode == 0
