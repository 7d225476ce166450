"""One mutant: put into the copy, and looked for by what executes it, and little else, first."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.mutants import cuts, scope
from tallystick.tools.campaign.mutants.contexts import Contexts
from tallystick.tools.campaign.mutants.mutant import Mutant
from tallystick.tools.campaign.mutants.patch import changed
from tallystick.tools.campaign.mutants.results import Result
from tallystick.tools.campaign.mutants.tree import Tree

_SLOWER = 10.0  # times as long as a test took when its lines were noted, and it hangs
_CPU_S = 10.0  # more than a child needs before its first test
_PIECES = (10, 100, 100_000)  # tests at a time: most mutants fall to the first
_FIRMWARE_S = 600.0


@dataclass(frozen=True)
class Hunter:
    """deeper: second cuts of each scenario, at most; 0: none. start_s: until pytest has begun, on a
    machine with other work."""

    tree: Tree
    contexts: Contexts
    scenario_lines: Callable[[str], cuts.ScenarioLines]
    deeper: int = 0
    start_s: float = 60.0
    passes: dict[tuple[str, bool], bool] = field(default_factory=dict)
    """(test, warm) → whether it passes here without any mutant: one that does not tells nothing."""

    def hunt(self, mutant: Mutant) -> Result:
        if mutant.file.startswith("firmware/"):
            return self._firmware(mutant)
        return self._host(mutant)

    def _host(self, mutant: Mutant) -> Result:
        at_import = _runs_at_import(mutant)
        if at_import:  # before any test began, or in whichever was the first to import it
            tests = self.contexts.tests(mutant.file, range(mutant.text.count(b"\n") + 2))
            tests += self.contexts.beside(tests)
        else:
            tests = self.contexts.tests(mutant.file, range(mutant.line, mutant.until + 1))
        if not tests:
            return Result(mutant.name, "survived", "no test executes it")
        path = self.tree.root / mutant.file
        original = path.read_text(encoding="utf-8")
        warm = not at_import and changed(original, mutant.text.decode(), mutant.file) is not None
        patch = {"file": str(path), "original": original} if warm else None
        at = 0
        for size in _PIECES:
            some = tests[at : at + size]
            at += size
            while some:
                answer = self._tried(mutant, some, patch)
                if answer["end"] == "passed":
                    break
                if answer["by"] not in some or self._passes(answer["by"], warm=warm):
                    return Result(mutant.name, "killed", answer["by"])
                some.remove(answer["by"])
        return Result(mutant.name, "survived", f"{len(tests)} tests pass")

    def _tried(
        self, mutant: Mutant | None, tests: list[str], patch: dict[str, str] | None
    ) -> dict[str, Any]:
        """Runs tests with the mutant in place; patch: in functions that are imported already."""
        if patch is not None:
            self.tree.warm(tests)
        spent = sum(self.contexts.seconds[test] for test in tests)
        asked = {"tests": tests, "seconds": self.start_s + _SLOWER * spent,
                 "cpu": math.ceil(_CPU_S + _SLOWER * spent)}  # fmt: skip
        if mutant is None:
            return self.tree.ask(patch, **asked)
        before = self.tree.put(mutant)
        try:
            answer = self.tree.ask(patch, **asked)
            return self.tree.ask(None, **asked) if answer["end"] == "cold" else answer
        finally:
            self.tree.restore(mutant, before)

    def _passes(self, test: str, *, warm: bool) -> bool:
        """Here, without any mutant."""
        if (test, warm) not in self.passes:
            answer = self._tried(None, [test], {} if warm else None)
            self.passes[test, warm] = answer["end"] == "passed"
        return self.passes[test, warm]

    def _firmware(self, mutant: Mutant) -> Result:
        """By its tests, which are quick, and then by every cut of the scenarios that execute it."""
        suites = scope.tests_of(mutant.file)
        for tests in suites:
            answer = self._tried_warm(mutant, list(tests))
            if answer["end"] != "passed" and self._suite_passes(tests):
                return Result(mutant.name, "killed", answer["by"])
        board = cuts.board_of(mutant.file)
        scenarios = [
            name
            for name, files in self.scenario_lines(board).items()
            if set(range(mutant.line, mutant.until + 1)) & set(files.get(mutant.file, ()))
        ]
        if scenarios:
            asked = {"board": board, "firmware": str(self.tree.root / "firmware"),
                     "scenarios": scenarios, "deeper": self.deeper}  # fmt: skip
            before = self.tree.put(mutant)
            try:
                answer = self.tree.ask(cuts=asked, seconds=_FIRMWARE_S * (1 + self.deeper))
            finally:
                self.tree.restore(mutant, before)
            if answer["end"] != "passed":
                return Result(mutant.name, "killed", answer["by"])
        by = f"{len(scenarios)} scenarios and {len(suites)} suites pass"
        return Result(mutant.name, "survived", by)

    def _tried_warm(self, mutant: Mutant, tests: list[str]) -> dict[str, Any]:
        """Firmware is read anew by every test process; only tests are imported before."""
        self.tree.warm(tests)
        before = self.tree.put(mutant)
        try:
            return self.tree.ask({}, tests=tests, seconds=_FIRMWARE_S)
        finally:
            self.tree.restore(mutant, before)

    def _suite_passes(self, tests: tuple[str, ...]) -> bool:
        """Here, without any mutant. Raises BadInputError when it does not: nothing can be said."""
        for test in tests:
            if (test, True) not in self.passes:
                answer = self.tree.ask({}, tests=[test], seconds=_FIRMWARE_S)
                if answer["end"] != "passed":
                    raise BadInputError(
                        f"{answer['by']} fails without any mutant: it cannot hunt one.",
                        todo=f"Look why: pytest {test}",
                    )
                self.passes[test, True] = True
        return True


def _runs_at_import(mutant: Mutant) -> bool:
    """A constant, a member of a class, what an argument is where nothing is given, or a function
    that makes a table for the module."""
    tree = ast.parse(mutant.text)
    functions = [
        one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = [
        one for one in functions if one.body[0].lineno <= mutant.line <= (one.end_lineno or 0)
    ]
    makes = {
        one.func.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for one in ast.walk(node)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
    }
    return all(one.name in makes for one in inside)
