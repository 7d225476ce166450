"""One mutant: put into the copy, and looked for by what executes it, and little else, first."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from tallystick.tools.campaign.mutants import cuts, scope
from tallystick.tools.campaign.mutants.contexts import Contexts
from tallystick.tools.campaign.mutants.mutant import Mutant
from tallystick.tools.campaign.mutants.results import Result
from tallystick.tools.campaign.mutants.tree import Tree

_SLOWER = 10.0  # times as long as a test took when its lines were noted, and it hangs
_PIECES = (10, 100, 100_000)  # tests at a time: most mutants fall to the first
_FIRMWARE_S = 600.0

ScenarioLines = Callable[[str], dict[str, dict[str, list[int]]]]
"""Board → scenario → file → lines."""


@dataclass(frozen=True)
class Hunter:
    """deeper: second cuts of each scenario, at most; 0: none. start_s: until pytest has begun, on a
    machine with other work."""

    tree: Tree
    contexts: Contexts
    scenario_lines: ScenarioLines
    deeper: int = 0
    start_s: float = 60.0

    def hunt(self, mutant: Mutant) -> Result:
        before = self.tree.put(mutant)
        try:
            if mutant.file.startswith("firmware/"):
                return self._firmware(mutant)
            return self._host(mutant)
        finally:
            self.tree.restore(mutant, before)

    def _host(self, mutant: Mutant) -> Result:
        tests = self.contexts.tests(mutant.file, range(mutant.line, mutant.until + 1))
        if not tests and _runs_at_import(mutant):  # before any test began
            tests = self.contexts.tests(mutant.file, range(mutant.text.count(b"\n") + 2))
        if not tests:
            return Result(mutant.name, "survived", "no test executes it")
        at = 0
        for size in _PIECES:
            some = tests[at : at + size]
            if not some:
                break
            at += size
            spent = sum(self.contexts.seconds[test] for test in some)
            answer = self.tree.ask(tests=some, seconds=self.start_s + _SLOWER * spent)
            if answer["end"] != "passed":
                return Result(mutant.name, "killed", answer["by"])
        return Result(mutant.name, "survived", f"{len(tests)} tests pass")

    def _firmware(self, mutant: Mutant) -> Result:
        board = cuts.board_of(mutant.file)
        scenarios = [
            name
            for name, files in self.scenario_lines(board).items()
            if set(range(mutant.line, mutant.until + 1)) & set(files.get(mutant.file, ()))
        ]
        if scenarios:
            asked = {"board": board, "firmware": str(self.tree.root / "firmware"),
                     "scenarios": scenarios, "deeper": self.deeper}  # fmt: skip
            answer = self.tree.ask(cuts=asked, seconds=_FIRMWARE_S * (1 + self.deeper))
            if answer["end"] != "passed":
                return Result(mutant.name, "killed", answer["by"])
        tests = scope.tests_of(mutant.file)
        for test in tests:
            answer = self.tree.ask(tests=[test], seconds=_FIRMWARE_S)
            if answer["end"] != "passed":
                return Result(mutant.name, "killed", answer["by"])
        by = f"{len(scenarios)} scenarios and {len(tests)} suites pass"
        return Result(mutant.name, "survived", by)


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
