"""`tally campaign refusals`: the refusals of the guards that no test executes.

A refusal is a `raise` of an error, or a `return` of one. One that cannot happen in a test stands in
`unexecuted.json` with its reason; an entry that fits nothing, or that a test executes, is an error.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools.campaign.mutants import scope
from tallystick.tools.campaign.mutants.contexts import Contexts

REASONED = Path(__file__).with_name("unexecuted.json")
_RETURNED = re.compile(r"(Error|_?reject|_?refus\w*|_?denied)$")
_NONE = {"NotImplementedError", "AssertionError"}
_ENTRY = {"file", "function", "refusal", "nth", "reason"}


@dataclass(frozen=True)
class Refusal:
    """`text` in `function` of `file`; `nth`: which of several that read the same."""

    file: str
    function: str
    text: str
    nth: int
    lines: range

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.file, self.function, self.text, self.nth


def refusals(file: str, source: str) -> list[Refusal]:
    """Those of a module, in the order of its lines."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for function, node in _statements(ast.parse(source), ""):
        if _refuses(node):
            text = ast.unparse(node)[:120]
            nth, seen[function, text] = seen[function, text], seen[function, text] + 1
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found.append(Refusal(file, function, text, nth, lines))
    return found


def _statements(node: ast.AST, function: str) -> Iterator[tuple[str, ast.stmt]]:
    for child in ast.iter_child_nodes(node):
        inner = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{function}.{child.name}".lstrip(".")
        elif isinstance(child, ast.stmt):
            yield function, child
        yield from _statements(child, inner)


def _refuses(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise) and node.exc is not None:
        what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.unparse(what) not in _NONE
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
        called = ast.unparse(node.value.func).split(".")[-1]
        reasons = any(ast.unparse(one).startswith("Reason.") for one in node.value.args)
        return bool(_RETURNED.search(called)) or reasons
    return False


def reasoned(path: Path = REASONED) -> dict[tuple[str, str, str, int], str]:
    """Refusal → why no test can execute it. Raises BadInputError for a malformed entry."""
    found = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if set(entry) != _ENTRY or not entry["reason"].strip():
            raise BadInputError(f"{path.name} has a malformed entry: {entry}.")
        key = (entry["file"], entry["function"], entry["refusal"], int(entry["nth"]))
        found[key] = entry["reason"]
    return found


def judge(
    there: list[Refusal], contexts: Contexts, reasons: dict[tuple[str, str, str, int], str]
) -> tuple[list[Refusal], list[tuple[str, str, str, int]]]:
    """(those that no test executes, without a reason; reasons for what is not so)."""
    silent = {one.key: one for one in there if not contexts.tests(one.file, one.lines)}
    files = {one.file for one in there}
    stale = [key for key in reasons if key[0] in files and key not in silent]
    return [one for key, one in silent.items() if key not in reasons], stale


@click.command("refusals")
@click.option("--only", help="Of this file or folder.")
@json_option
def refusals_command(*, only: str | None, as_json: bool) -> None:
    """Find the refusals of the guards that no test executes.

    The map of the tests is made with `tally campaign mutants --map`; `make coverage` does both.
    """
    there = [
        refusal
        for file in scope.files(only)
        if not file.startswith("firmware/")
        for refusal in refusals(file, (scope.ROOT / file).read_text(encoding="utf-8"))
    ]
    reasons = reasoned()
    missing, stale = judge(there, Contexts.load(scope.MAP), reasons)
    if as_json:
        rows = [
            {"file": one.file, "line": one.lines.start, "function": one.function,
             "refusal": one.text} for one in missing
        ]  # fmt: skip
        print_json({"refusals": len(there), "reasoned": len(reasons), "missing": rows,
                    "stale": [list(key) for key in stale]})  # fmt: skip
    else:
        for one in missing:
            out().print(f"{one.file}:{one.lines.start} {one.function}: {one.text}", markup=False)
        for key in stale:
            out().print(f"{REASONED.name} has a reason that is not needed: {key}", markup=False)
        err().print(f"{len(there)} refusals, {len(missing)} of them executed by no test")
    if missing or stale:
        raise SystemExit(ExitCode.FAILED)
